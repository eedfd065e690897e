"""Politeness: who may ask which host now."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from imagesys_lib.config import Fetch
from imagesys_lib.images.reasons import ImageFault

_FULL = 1.0  # seconds; the fetcher asks sooner, as soon as a request of its own has ended


@dataclass(frozen=True)
class Admission:
    """A limiter's answer. Without ``go``: ask again after ``wait`` seconds, or as soon as a request to that host ended.

    With ``give_up`` every job that waits for the host is handed out as unattempted.
    """

    go: bool
    wait: float = 0.0
    give_up: bool = False


class Limiter(Protocol):
    """Asked before every request of every hop, by the fetcher's thread."""

    def admit(self, host: str) -> Admission:
        """Say whether ``host`` may be asked now; on ``go`` a place at that host is taken."""

    def left(self, host: str, fault: ImageFault | None) -> None:
        """Take back the place of a request that ended.

        ``fault`` is None if the host answered with a redirect or any success.
        """

    def abandoned(self, host: str) -> None:
        """Take back the place of a request that was cut short by us: it says nothing of the host."""


class LocalLimiter:
    """The limit of requests in flight at a host, kept within this process: enough for servers of our own."""

    def __init__(self, settings: Fetch) -> None:
        self._settings = settings
        self._busy: Counter[str] = Counter()

    def admit(self, host: str) -> Admission:
        if self._busy[host] >= self._settings.limits(host).per_host:
            return Admission(go=False, wait=_FULL)
        self._busy[host] += 1
        return Admission(go=True)

    def left(self, host: str, fault: ImageFault | None) -> None:  # noqa: ARG002  # one with a memory judges it
        self.abandoned(host)

    def abandoned(self, host: str) -> None:
        self._busy[host] -= 1
