"""Politeness: who may ask which host now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from imagesys_lib.config import Fetch
from imagesys_lib.reasons import ImageFault

_FULL = 1.0  # seconds; the fetcher asks sooner, as soon as a request of its own has ended


@dataclass(frozen=True)
class Admission:
    """A gate's answer. Without ``go``: ask again after ``wait`` seconds, or as soon as a request to that host ended.

    With ``give_up`` every job that waits for the host is handed out as unattempted.
    """

    go: bool
    wait: float = 0.0
    give_up: bool = False


class Gate(Protocol):
    """Asked before every request of every hop, by the fetcher's thread."""

    def admit(self, host: str) -> Admission:
        """Say whether ``host`` may be asked now; on ``go`` a place at that host is taken."""

    def left(self, host: str, fault: ImageFault | None) -> None:
        """Take back the place of a request that ended.

        ``fault`` is None if the host answered with a redirect or any success.
        """

    def abandoned(self, host: str) -> None:
        """Take back the place of a request that was cut short by us: it tells nothing of the host."""


class LocalGate:
    """The limits of the settings, kept within this process."""

    def __init__(self, settings: Fetch) -> None:
        self._settings = settings
        self._busy: dict[str, int] = {}
        self._next: dict[str, float] = {}  # hosts with a rate: when the next request may begin (monotonic)

    def admit(self, host: str) -> Admission:
        limits, busy = self._settings.limits(host), self._busy.get(host, 0)
        if busy >= limits.per_host:
            return Admission(go=False, wait=_FULL)
        if limits.rate is not None:
            now = time.monotonic()
            begins = self._next.get(host, now)
            if begins > now:
                return Admission(go=False, wait=begins - now)
            self._next[host] = now + 1 / limits.rate
        self._busy[host] = busy + 1
        return Admission(go=True)

    def left(self, host: str, fault: ImageFault | None) -> None:  # noqa: ARG002  # a gate with a memory judges it
        self.abandoned(host)

    def abandoned(self, host: str) -> None:
        busy = self._busy.pop(host) - 1
        if busy:
            self._busy[host] = busy
