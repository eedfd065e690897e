"""Whether a fault is our own: when nothing at all can be reached, it is our network or resolver, not the hosts."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial

from imagesys_lib.reasons import ImageFault

SILENCE = frozenset({"dns", "connect", "timeout"})
"""Reasons that speak of our own network when every host has them at once."""

_FEWEST_HOSTS = 2
_FEWEST_FAULTS = 10
_FEWEST_NAMES = 2
_REACH_SECONDS = 5.0
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class Ground:
    """Keeps what speaks against our own network. Pure: it is told of results and asked.

    One host alone proves nothing, whatever it does: that is what its breaker is for. Names are judged apart: while
    the resolver is down, hosts that are connected already, or have no name, go on answering.
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
        else:
            self.silent.clear()

    def holds(self) -> None:
        """Note that the ground was found to hold by other means."""
        self.silent.clear()
        self.unresolved.clear()

    @property
    def is_doubtful(self) -> bool:
        """True when more than one host, and all that were asked since, could not be reached or resolved."""
        return len(self.silent) >= _FEWEST_HOSTS or len(self.unresolved) >= _FEWEST_NAMES

    @property
    def gave_way(self) -> bool:
        """True when that went on for so many requests that our own network must be asked about."""
        silent = len(self.silent) >= _FEWEST_HOSTS and sum(self.silent.values()) >= _FEWEST_FAULTS
        return silent or len(self.unresolved) >= _FEWEST_NAMES


def resolver_works(hosts: Iterable[str]) -> bool:
    """Say whether the resolver says anything of one of ``hosts`` within seconds, if only that there is no such name."""
    return _any_of([partial(_is_answered, _doors(host)[0][0]) for host in hosts])


def reachable(hosts: Iterable[str]) -> bool:
    """Say whether one of ``hosts`` (``name`` or ``name:port``) resolves and takes a connection within seconds.

    Nothing is sent. In threads, as a resolver that is down holds its caller far longer than that.
    """
    return _any_of([partial(_connects, *door) for host in hosts for door in _doors(host)])


def _any_of(questions: Sequence[Callable[[], bool]]) -> bool:
    if not questions:
        return False
    pool = ThreadPoolExecutor(len(questions), thread_name_prefix="imagesys-ground")
    try:
        pending = {pool.submit(question) for question in questions}
        deadline = time.monotonic() + _REACH_SECONDS
        while pending and (left := deadline - time.monotonic()) > 0:
            done, pending = wait(pending, timeout=left, return_when=FIRST_COMPLETED)
            if any(future.result() for future in done):
                return True
        return False
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


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


def _connects(name: str, port: int) -> bool:
    try:
        socket.create_connection((name, port), timeout=_REACH_SECONDS).close()
    except (OSError, UnicodeError):
        return False
    return True
