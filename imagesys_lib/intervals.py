"""Data intervals: one local calendar day, midnight to midnight in the country's time zone."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from imagesys_lib.errors import UsageError

UTC = dt.timezone.utc


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

    def back_to(self, look_back: dt.timedelta) -> Interval:
        """Return the interval with an earlier start, for rows that were loaded late."""
        return Interval(self.start.astimezone(UTC) - look_back, self.end)

    def __str__(self) -> str:
        return f"{self.start.isoformat()}/{self.end.isoformat()}"


def local_midnight(day: dt.date, zone: ZoneInfo) -> dt.datetime:
    """Return the first instant of a local day (01:00 where a change of daylight saving time skips midnight)."""
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

    Raises UsageError when the text is neither, or means a time before 1970 or beyond tomorrow.
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

    Raises UsageError, also for a time before 1970 or beyond tomorrow.
    """
    try:
        return _check(_instant(text, zone), zone)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"Cannot read the time {text!r}: {error}.", remedy="give 2026-03-01 or 2026-03-01T14:00+00:00."
        ) from error


def _instant(text: str, zone: ZoneInfo) -> dt.datetime:
    instant = dt.datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    return instant if instant.tzinfo else instant.replace(tzinfo=zone)


def _check(instant: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Return an instant that data can be of. Raises ValueError for one before 1970 or beyond tomorrow."""
    today = dt.datetime.now(UTC).astimezone(zone).date()
    if not dt.datetime(1970, 1, 1, tzinfo=UTC) <= instant <= local_midnight(today + dt.timedelta(days=2), zone):
        raise ValueError(f"{instant:%Y-%m-%d} is no day between 1970 and tomorrow")
    return instant


def check_days(first: dt.date, last: dt.date, zone: ZoneInfo) -> None:
    """Raise UsageError unless each of the inclusive local days has begun, and none is before 1970."""
    today = dt.datetime.now(UTC).astimezone(zone).date()
    for day in (first, last):
        if not dt.date(1970, 1, 2) <= day <= today:
            raise UsageError(f"{day} is no day between 1970 and today.", remedy="give days that have begun.")


def backfill_instants(first: dt.date, last: dt.date, zone: ZoneInfo) -> tuple[dt.datetime, dt.datetime]:
    """Return Airflow's ``--from-date`` and ``--to-date`` for the inclusive local days FIRST to LAST.

    Airflow makes a run for every logical date (an interval's start) in the closed range, so both are midnights.
    """
    if last < first:
        raise UsageError(f"The last day {last} is before the first day {first}.")
    return local_midnight(first, zone), local_midnight(last, zone)
