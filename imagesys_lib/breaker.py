"""Breakers, of hosts and of data sources: pure decisions, on what the database remembers.

Closed, everything passes. When it opens, nothing passes for a time that doubles with each trip in a row; then, half
open, a trickle of probes passes, and what becomes of them closes it or opens it again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from imagesys_lib.config import Breaker
from imagesys_lib.reasons import ImageFault

PROBES = 20
"""Images of a data source that pass while its breaker is half open; of a host it is one at a time."""

_HOST_FAULTS = frozenset({"dns", "connect", "tls", "timeout", "too_slow", "protocol", "http_429"})


MOST = 60_000
"""Failures and trips are counted up to here: their columns hold 65,535."""


class Position(enum.Enum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


@dataclass(frozen=True)
class Standing:
    """What is remembered of a host or data source: failures, trips in a row, seconds until it may be asked."""

    failures: int = 0
    trips: int = 0
    wait: float = 0.0

    @property
    def position(self) -> Position:
        """Return where the breaker stands. A pause that a host asked for (no trips) is no open breaker."""
        if not self.trips:
            return Position.CLOSED
        return Position.OPEN if self.wait > 0 else Position.HALF_OPEN

    def tripped(self, settings: Breaker) -> Standing:
        """Return the standing once its breaker has opened now."""
        trips = min(self.trips + 1, MOST)
        return Standing(0, trips, open_seconds(trips, settings))


def is_hosts_fault(fault: ImageFault | None) -> bool:
    """Say whether a failure speaks of the host and not of the one image."""
    if fault is None:
        return False
    code = fault.reason.code
    return code in _HOST_FAULTS or code.startswith("http_5")


def host_trips(standing: Standing, settings: Breaker) -> bool:
    """Say whether a host's breaker opens: too many failures in a row, or a failed probe."""
    return standing.failures >= (1 if standing.trips else settings.failures)


def source_trips(attempts: int, failures: int, trips: int, settings: Breaker) -> bool:
    """Say whether a data source's breaker opens: nearly all of its images fail, or nearly all of its probes."""
    enough = min(PROBES, settings.source_images) if trips else settings.source_images
    return attempts >= enough and failures * 100 >= settings.source_percent * attempts


def open_seconds(trips: int, settings: Breaker) -> float:
    """Return how long a breaker stays open at its ``trips``-th trip in a row."""
    return float(min(settings.max_seconds, settings.first_seconds * 2.0 ** min(max(trips, 1) - 1, 20)))
