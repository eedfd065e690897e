"""Name lookups in turn: only so many at once, and one a host, so that those that hang are no fault of the others.

Libcurl looks names up in a pool of twenty threads a multi handle (two for a name: IPv4 and IPv6), which pycurl cannot
enlarge. A name that waits for a thread has its connect time-out running; here it waits without. A lookup that curl
has given up holds its threads until the system's resolver gives up too.
"""

from __future__ import annotations

import itertools
import math
from collections import deque

AT_ONCE = 8
KNOWN_FOR = 240.0  # seconds; less than curl keeps an address
HANGS_FOR = 20.0  # seconds; two tries of five seconds at two servers, which is glibc's default


class Lookups:
    """Which hosts' names are known, being looked up, or waiting for that. Times are monotonic, in seconds."""

    def __init__(self, at_once: float = AT_ONCE) -> None:
        self._at_once = at_once
        self._known: dict[str, float] = {}
        self._under_way: set[str] = set()
        self._hanging: deque[float] = deque()  # until when a lookup that was given up counts
        self._waiting: dict[str, None] = {}  # in order

    def may_ask(self, host: str, now: float) -> bool:
        """Say whether a request to ``host`` may begin. If not, it is named by a later :meth:`end` or :meth:`due`."""
        if now < self._known.get(host, 0.0):
            return True
        if host in self._under_way:
            return False
        if self._free <= 0:
            self._waiting[host] = None
            return False
        return True

    def begin(self, host: str, now: float) -> None:
        """Note that a request to ``host`` has begun."""
        if now >= self._known.get(host, 0.0):
            self._under_way.add(host)

    def end(self, host: str, now: float, *, known: bool, hangs: bool = False) -> list[str]:
        """Note how the lookup of ``host`` ended; returns the hosts that may ask now. Does nothing if none was."""
        if known:
            self._known[host] = now + KNOWN_FOR
        if host not in self._under_way:
            return []
        self._under_way.discard(host)
        if hangs:
            self._hanging.append(now + HANGS_FOR)
        return [host, *self._next()]

    def due(self, now: float) -> list[str]:
        """Return the hosts that may ask now though no lookup ended: hanging ones count no more, turns went unused."""
        while self._hanging and self._hanging[0] <= now:
            self._hanging.popleft()
        return self._next()

    @property
    def next_at(self) -> float:
        """When :meth:`due` has something to say; infinity for never."""
        if not self._waiting:
            return math.inf
        if self._free > 0:
            return -math.inf
        return self._hanging[0] if self._hanging else math.inf

    @property
    def _free(self) -> float:
        return self._at_once - len(self._under_way) - len(self._hanging)

    def _next(self) -> list[str]:
        turns = list(itertools.islice(self._waiting, int(max(0, min(self._free, len(self._waiting))))))
        for host in turns:
            del self._waiting[host]
        return turns
