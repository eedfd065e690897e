"""Whether a fault is our own: when nothing at all can be reached, it is our network or resolver, not the hosts."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from ipaddress import ip_address

from imagesys_lib.reasons import ImageFault

SILENCE = frozenset({"dns", "connect", "timeout"})
"""Reasons that speak of our own network when every host has them at once."""

_FEWEST_FAULTS = 10
_REACH_SECONDS = 4.0  # less than a task that is stopped may take
_LOOK = 0.25
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class Ground:
    """Keeps what speaks against our own network. Pure: it is told of results and asked.

    A silence proves nothing by itself: it is the reason to look whether others can be reached. Names are judged
    apart: while the resolver is down, hosts that are connected already, or have no name, go on answering.
    """

    def __init__(self) -> None:
        self.silent: dict[str, int] = {}  # hosts that could not be reached since the last answer of any
        self.unresolved: dict[str, int] = {}  # hosts whose names did not resolve since they last did

    def tell(self, host: str, fault: ImageFault | None) -> None:
        """Note how a request to ``host`` ended."""
        code = fault.reason.code if fault else ""
        if code == "dns":
            self.unresolved[host] = self.unresolved.get(host, 0) + 1
            return
        self.unresolved.pop(host, None)
        if code in SILENCE:
            self.silent[host] = self.silent.get(host, 0) + 1
        elif code != "blocked_address":  # nobody was asked
            self.silent.clear()

    def holds(self) -> None:
        """Note that the ground was found to hold by other means."""
        self.silent.clear()
        self.unresolved.clear()

    @property
    def is_doubtful(self) -> bool:
        """True when a host, and all that were asked since, could not be reached or resolved."""
        return bool(self.silent or self.unresolved)

    @property
    def gave_way(self) -> bool:
        """True when that went on for so many requests that our own network must be asked about."""
        return sum(self.silent.values()) >= _FEWEST_FAULTS or bool(self.unresolved)


def resolver_works(hosts: Iterable[str], stop: threading.Event | None = None) -> bool:
    """Say whether the resolver says anything of one of ``hosts`` within seconds, if only that there is no such name."""
    return _any_of([partial(_is_answered, _doors(host)[0][0]) for host in hosts], stop)


def reachable(
    hosts: Iterable[str], refused: Callable[[str], bool] = lambda _: False, stop: threading.Event | None = None
) -> bool:
    """Say whether one of ``hosts`` (``name`` or ``name:port``) resolves and takes a connection within seconds.

    Nothing is sent, and no address is tried that is ``refused``: a name may lead elsewhere than it did.
    """
    return _any_of([partial(_connects, *door, refused) for host in hosts for door in _doors(host)], stop)


def has_name(host: str) -> bool:
    """Say whether ``host`` is one that a resolver is asked about, and not an address."""
    try:
        ip_address(_doors(host)[0][0].partition("%")[0])
    except ValueError:
        return True
    return False


def _any_of(questions: Sequence[Callable[[], bool]], stop: threading.Event | None) -> bool:
    """Ask all at once, in threads that nobody waits for: a resolver that is down holds its caller for long."""
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def ask(question: Callable[[], bool]) -> None:
        answers.put(question())

    for question in questions:
        threading.Thread(target=ask, args=(question,), name="imagesys-ground", daemon=True).start()
    left, deadline = len(questions), time.monotonic() + _REACH_SECONDS
    while left and time.monotonic() < deadline and not (stop and stop.is_set()):
        try:
            if answers.get(timeout=_LOOK):
                return True
        except queue.Empty:
            continue
        left -= 1
    return False


def _is_answered(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except socket.gaierror as error:
        return error.errno in _NO_SUCH_NAME
    except (OSError, UnicodeError):
        return False
    return True


def _doors(host: str) -> list[tuple[str, int]]:
    name, _, port = host.rpartition(":")
    if name and port.isdigit():
        return [(name.strip("[]"), int(port))]
    return [(host.strip("[]"), 443), (host.strip("[]"), 80)]


def _connects(name: str, port: int, refused: Callable[[str], bool]) -> bool:
    try:
        for family, kind, protocol, _, at in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM):
            if refused(str(at[0])):
                continue
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as door:
                door.settimeout(_REACH_SECONDS)
                door.connect(at)
                return True
    except (OSError, UnicodeError):
        return False
    return False
