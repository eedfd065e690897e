"""A least speed: finds transfers that stayed below it for ``read_timeout`` seconds, whatever they are busy with.

Libcurl's own check counts whole seconds, averages over five of them, and sees nothing before the body.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from imagesys_lib.config import Fetch
from imagesys_lib.fetch.http.transfer import HttpTransfer
from imagesys_lib.images.reasons import ImageFault

_CHECKS = 4  # within read_timeout


@dataclass
class _Watched:
    transfer: HttpTransfer
    seen: int = 0  # bytes received at the last check
    slow: int = 0  # checks in a row that found it too slow
    mute: int = 0  # checks in a row that found nothing new at all


class SpeedWatch:
    """Checks each transfer's speed in parts of ``read_timeout`` and cuts one that was too slow in all of them."""

    def __init__(self, settings: Fetch) -> None:
        self._speed, self._seconds = settings.min_speed, settings.read_timeout
        self._span = self._seconds / _CHECKS
        self._checks: deque[tuple[float, _Watched]] = deque()  # when to check, in order: all wait equally long

    @property
    def next_at(self) -> float:
        """When to check speeds next (monotonic), infinity for never."""
        return self._checks[0][0] if self._checks else math.inf

    def begin(self, transfer: HttpTransfer) -> None:
        """Watch a transfer that has just begun."""
        self._checks.append((time.monotonic() + self._span, _Watched(transfer)))

    def cut(self, is_under_way: Callable[[HttpTransfer], bool]) -> list[HttpTransfer]:
        """Check what is due; return those cut, which have yet to be ended."""
        now, gone = time.monotonic(), []
        while self._checks and self._checks[0][0] <= now:
            _, watched = self._checks.popleft()
            transfer = watched.transfer
            if not is_under_way(transfer):
                continue
            new = transfer.received - watched.seen
            quick = new >= max(1.0, self._speed * self._span)
            watched.slow = 0 if quick or not transfer.is_connected else watched.slow + 1
            watched.mute = 0 if new else watched.mute + 1
            watched.seen = transfer.received
            if watched.slow < _CHECKS:
                self._checks.append((now + self._span, watched))
            else:
                transfer.cut(self._fault(watched))
                gone.append(transfer)
        return gone

    def _fault(self, watched: _Watched) -> ImageFault:
        """Distinguish a slow answer from none, and from one that stopped: these may be our own network's fault.

        An answer may stop in the middle of a check. Where headers drip no bytes are seen, but the lines that are whole.
        """
        host, seconds = watched.transfer.task.host, self._seconds
        if not watched.transfer.received:
            return ImageFault("timeout", f"{host}: no answer within {seconds:g} s")
        if watched.transfer.in_body and watched.mute >= _CHECKS - 1:
            return ImageFault("timeout", f"{host}: the answer stopped halfway, for {seconds:g} s")
        return ImageFault("too_slow", f"{host}: less than {self._speed} bytes a second for {seconds:g} s")
