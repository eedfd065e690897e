"""Whether nothing at all can be reached: then our own network or resolver is out, and no host or image is to blame."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from imagesys_lib.images.reasons import ImageFault

SILENCE = frozenset({"dns", "connect", "timeout"})
"""Reasons that speak of our own network when every host has them at once."""

_FEWEST_FAULTS = 10
_MOST_ASKED = 12
_SECONDS = 3.0  # that a check may take: less than a task that is stopped may
_PROVEN, _AGAIN = 30.0, 1.0  # seconds until another check, where the network was found to be up, or not
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class Network:
    """Watches how requests end and, in doubt, checks whether any host can be reached.

    A silence proves nothing by itself: it is the reason to check. Names are judged apart: while the resolver is down,
    hosts that are connected already, or have no name, go on answering. ``references`` returns hosts that may show that
    all is well, more of them where it is called with True: names are asked about. No address is connected to that is
    ``refused``: a name may lead elsewhere than it did.
    """

    def __init__(
        self, references: Callable[[bool], list[str]], refused: Callable[[str], bool] = lambda _address: False
    ) -> None:
        self._references, self._refused = references, refused
        self._silent: Counter[str] = Counter()  # hosts that could not be reached since the last answer of any
        self._unresolved: set[str] = set()  # hosts whose names did not resolve since they last did
        self._works, self._check_at = True, 0.0

    def note(self, host: str, fault: ImageFault | None) -> None:
        """Note how a request to ``host`` ended."""
        code = fault.reason.code if fault else ""
        if code == "dns":
            self._unresolved.add(host)
            return
        self._unresolved.discard(host)
        if code in SILENCE:
            self._silent[host] += 1
        elif code != "blocked_address":  # nobody was asked
            self._silent.clear()

    def forget(self) -> None:
        """Forget which hosts were silent: it is known whose fault the silence was."""
        self._silent.clear()
        self._unresolved.clear()

    @property
    def is_doubtful(self) -> bool:
        """True when a host, and all that were asked since, could not be reached or resolved."""
        return bool(self._silent or self._unresolved)

    @property
    def is_in_question(self) -> bool:
        """True when hosts could not be reached or resolved for so many requests that it is time to check."""
        return self._silent.total() >= _FEWEST_FAULTS or bool(self._unresolved)

    def works(self) -> bool:
        """Check, where in doubt, whether a host can be connected to; nothing is sent.

        Where nothing is known of any other host, one that is silent alone is at fault itself; several are not.
        """
        if self.is_doubtful and time.monotonic() >= self._check_at:
            silent = [*self._unresolved, *self._silent]
            names = bool(self._unresolved)
            others = [host for host in self._references(names) if host not in silent and (_has_name(host) or not names)]
            if not others and len(set(silent)) == 1:
                self.forget()
                return True
            self._works = _any([*others, *silent][:_MOST_ASKED], self._answers)
            self._check_at = time.monotonic() + (_PROVEN if self._works else _AGAIN)
        if self._works:
            self.forget()
        return self._works or not self.is_doubtful

    def _answers(self, host: str) -> bool:
        """Say whether ``host`` takes a connection, or the resolver at least answers that there is no such name."""
        parts = urlsplit(f"//{host}")
        for port in [parts.port] if parts.port else [443, 80]:
            try:
                found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                return host in self._unresolved and getattr(error, "errno", None) in _NO_SUCH_NAME
            for address in {str(at[0]) for *_, at in found}:
                with suppress(OSError):
                    if not self._refused(address):
                        socket.create_connection((address, port), _SECONDS / 2).close()
                        return True
        return False


def _has_name(host: str) -> bool:
    """Say whether ``host`` is one that a resolver is asked about, and not an address."""
    return not host.startswith("[") and not host.partition(":")[0].replace(".", "").isdigit()


def _any(hosts: Sequence[str], question: Callable[[str], bool]) -> bool:
    """Ask of all at once, in threads that nobody waits for: a resolver that is down holds its caller for long."""
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
    for host in hosts:
        threading.Thread(target=lambda host=host: answers.put(question(host)), daemon=True).start()
    deadline = time.monotonic() + _SECONDS
    with suppress(queue.Empty):
        return any(answers.get(timeout=max(0.0, deadline - time.monotonic())) for _ in hosts)
    return False
