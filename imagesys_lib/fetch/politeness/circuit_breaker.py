"""The circuit breaker of a host or a data source: pure decisions on what the database remembers of it.

| position | what passes | what ends it |
| --- | --- | --- |
| closed | everything | enough attempts, of which nearly all failed: it opens |
| open | nothing, for a time that doubles each time it opens in a row | the time is over: it is half-open |
| half-open | a few requests | they fail: it opens again; they are well: it closes |
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from imagesys_lib.config import Breaker
from imagesys_lib.images.reasons import ImageFault

HALF_OPEN_IMAGES = 20
"""Images of a data source that are tried while its breaker is half-open; of a host it is one request at a time."""

_HOST_FAULTS = frozenset({"dns", "connect", "tls", "timeout", "too_slow", "protocol", "http_429"})


class Position(enum.Enum):
    """The position of a circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True)
class BreakerRule:
    """When a breaker opens: ``percent`` of at least ``least`` attempts failed (half-open: of ``least_half_open``).

    With ``in_a_row`` any success forgets the failures before it.
    """

    settings: Breaker
    least: int
    percent: float
    least_half_open: int
    in_a_row: bool = False


def host_rule(settings: Breaker) -> BreakerRule:
    """Return the rule for a host: so many requests in a row, or one while it is half-open."""
    return BreakerRule(settings, settings.failures, 100, 1, in_a_row=True)


def source_rule(settings: Breaker) -> BreakerRule:
    """Return the rule for a data source: nearly all of its images in a window."""
    least = settings.source_images
    return BreakerRule(settings, least, settings.source_percent, min(HALF_OPEN_IMAGES, least))


@dataclass(frozen=True)
class Circuit:
    """What is remembered of a host or data source: attempts and failures in a window, how often it opened in a row.

    ``wait`` is how many seconds it may not be asked, ``age`` how many ago the window began. With None the next attempt
    begins one, and the counts are those that opened the breaker.
    """

    attempts: int = 0
    failures: int = 0
    openings: int = 0
    wait: float = 0.0
    age: float | None = None

    @property
    def position(self) -> Position:
        """Return the position. A pause that a host asked for (no openings) is no open breaker.

        A window that began after it had opened is one of few attempts: the others wait for these.
        """
        if not self.openings:
            return Position.CLOSED
        return Position.OPEN if self.wait > 0 and self.age is None else Position.HALF_OPEN

    def after(self, attempts: int, failures: int, rule: BreakerRule, *, closes: bool = True) -> Circuit:
        """Return the circuit after more attempts; what was under way when it opened says nothing new.

        Without ``closes`` a half-open one stays so unless it fails: more is to come of these attempts.
        """
        if self.position is Position.OPEN:
            return self
        over = self.age is None or self.age > rule.settings.window_hours * 3600
        attempts += 0 if over else self.attempts
        failures += 0 if over else self.failures
        fails = failures * 100 >= rule.percent * attempts
        if fails and attempts >= (rule.least_half_open if self.openings else rule.least):
            openings = self.openings + 1
            return Circuit(attempts, failures, openings, max(self.wait, open_seconds(openings, rule.settings)))
        if not fails and self.openings and closes:
            return Circuit()
        if not fails and rule.in_a_row:
            return Circuit(openings=self.openings, wait=self.wait)
        return replace(self, attempts=attempts, failures=failures, age=0.0 if over else self.age)

    def tried(self, rule: BreakerRule) -> Circuit:
        """Return the circuit once somebody tries a few: itself if it is not half-open, or others are at it.

        Of an earlier try that has decided nothing its failures count: what went well was never decoded.
        """
        if not self.openings or self.wait > 0:
            return self
        failures = 0 if self.age is None else self.failures
        return Circuit(failures, failures, self.openings, rule.settings.first_seconds, self.age or 0.0)

    def paused(self, seconds: float) -> Circuit:
        """Return the circuit after a host asked to be left alone; a longer wait stays."""
        return Circuit(openings=self.openings, wait=max(self.wait, seconds))

    def later(self, seconds: float) -> Circuit:
        """Return the circuit as it is ``seconds`` later, if nothing happens."""
        return replace(self, wait=max(0.0, self.wait - seconds))


def open_seconds(openings: int, settings: Breaker) -> float:
    """Return how long a breaker stays open when it opens for the ``openings``-th time in a row."""
    return float(min(settings.max_seconds, settings.first_seconds * 2.0 ** min(max(openings, 1) - 1, 20)))


def is_hosts_fault(fault: ImageFault | None) -> bool:
    """Say whether a failure speaks of the host and not of the one image."""
    return fault is not None and (fault.reason.code in _HOST_FAULTS or fault.reason.code.startswith("http_5"))
