"""Data intervals: one local calendar day, midnight to midnight in the country's time zone."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from imagesys_lib.errors import UsageError

UTC = dt.timezone.utc
YEARS = range(2000, 2200)
"""In which a day may lie: no photo is older, and what lies outside is a slip of the keyboard."""


@dataclass(frozen=True)
class Interval:
    """A half-open span of time, ``start <= t < end``; both are aware."""

    start: dt.datetime
    end: dt.datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("an interval needs aware datetimes")
        if self.end <= self.start:
            raise ValueError(f"an interval must end after it starts: {self.start} / {self.end}")
        for instant in (self.start, self.end):
            require_year(instant)

    def back_to(self, look_back: dt.timedelta) -> Interval:
        """Return the interval with an earlier start, for rows that were loaded late."""
        return Interval(self.start.astimezone(UTC) - look_back, self.end)

    def __str__(self) -> str:
        return f"{self.start.isoformat()}/{self.end.isoformat()}"


def require_year(day: dt.date) -> None:
    """Raise ValueError for a day, or an instant, in a year in which none can lie."""
    if day.year not in YEARS:
        raise ValueError(f"the year must lie between {YEARS[0]} and {YEARS[-1]}: {day}")


def local_midnight(day: dt.date, zone: ZoneInfo) -> dt.datetime:
    """Return the first instant of a local day (01:00 where a change of daylight saving time skips midnight).

    Raises ValueError for a year in which no day can lie.
    """
    require_year(day)
    naive = dt.datetime.combine(day, dt.time(), tzinfo=zone)
    return naive.astimezone(UTC).astimezone(zone)


def local_day(day: dt.date, zone: ZoneInfo) -> Interval:
    """Return the interval of one local day: 23, 24 or 25 hours long."""
    return Interval(local_midnight(day, zone), local_midnight(day + dt.timedelta(days=1), zone))


def latest_complete_day(now: dt.datetime, zone: ZoneInfo) -> Interval:
    """Return the last local day that had ended at ``now``: what a manual run without an interval means."""
    return local_day(now.astimezone(zone).date() - dt.timedelta(days=1), zone)


def parse_interval(text: str, zone: ZoneInfo) -> Interval:
    """Read ``A/B`` (ISO instants; naive ones are local) or one local day ``YYYY-MM-DD``.

    Raises UsageError when the text is neither, or means a time before the year 2000 or beyond tomorrow.
    """
    try:
        if "/" not in text:
            span = local_day(dt.date.fromisoformat(text), zone)
        else:
            start, end = (_instant(part, zone) for part in text.split("/", 1))
            span = Interval(start, end)
        _check(span.start, zone)
        _check(span.end, zone)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"Cannot read the interval {text!r}: {error}.",
            remedy="give 2026-03-01 or 2026-03-01T00:00+00:00/2026-03-02T00:00+00:00.",
        ) from error
    return span


def parse_since(text: str, zone: ZoneInfo) -> dt.datetime:
    """Read an ISO instant, local where it names no zone, or a day, which means its midnight.

    Raises UsageError, also for a time before the year 2000 or beyond tomorrow.
    """
    try:
        return _check(_instant(text, zone), zone)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"Cannot read the time {text!r}: {error}.", remedy="give 2026-03-01 or 2026-03-01T14:00+00:00."
        ) from error


def _instant(text: str, zone: ZoneInfo) -> dt.datetime:
    instant = dt.datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    require_year(instant)
    return instant if instant.tzinfo else instant.replace(tzinfo=zone)


def _check(instant: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Return an instant that data can be of. Raises ValueError for one beyond tomorrow."""
    today = dt.datetime.now(zone).date()
    if instant > local_midnight(today + dt.timedelta(days=2), zone):
        raise ValueError(f"{instant:%Y-%m-%d} lies beyond tomorrow")
    return instant


def backfill_instants(first: dt.date, last: dt.date, zone: ZoneInfo) -> tuple[dt.datetime, dt.datetime]:
    """Return Airflow's ``--from-date`` and ``--to-date`` for the inclusive local days FIRST to LAST.

    Airflow makes a run for every logical date (an interval's start) in the closed range, so both are midnights. Raises
    UsageError for days in the wrong order, and for such as have not ended or cannot be meant.
    """
    if last < first:
        raise UsageError(f"The last day {last} is before the first day {first}.")
    ended = dt.datetime.now(zone).date() - dt.timedelta(days=1)
    if last > ended:
        raise UsageError(
            f"The day {last} has not ended yet: a backfill is of days that have.",
            remedy=f"give {ended} or an earlier day as the last one.",
        )
    try:
        return local_midnight(first, zone), local_midnight(last, zone)
    except ValueError as error:
        raise UsageError(f"Not a day: {error}.", remedy="write days as YYYY-MM-DD.") from error
