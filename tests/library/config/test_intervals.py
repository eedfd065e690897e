"""Intervals: one local calendar day, whatever the clocks do."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from imagesys_lib.config.intervals import (
    UTC,
    Interval,
    backfill_instants,
    latest_complete_day,
    local_day,
    local_midnight,
    parse_interval,
    parse_since,
)
from imagesys_lib.errors import UsageError

UK, BR, IN, AU = map(ZoneInfo, ("Europe/London", "America/Sao_Paulo", "Asia/Kolkata", "Australia/Sydney"))


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        (UK, "2026-01-15", "2026-01-15T00:00", 24),
        (UK, "2026-07-15", "2026-07-14T23:00", 24),
        (UK, "2026-03-29", "2026-03-29T00:00", 23),
        (UK, "2026-10-25", "2026-10-24T23:00", 25),
        (BR, "2026-03-29", "2026-03-29T03:00", 24),
        (BR, "2018-11-04", "2018-11-04T03:00", 23),  # the clocks skipped midnight: the day began at 01:00
        (BR, "2018-02-17", "2018-02-17T02:00", 25),
        (IN, "2026-03-29", "2026-03-28T18:30", 24),
        (AU, "2026-04-05", "2026-04-04T13:00", 25),
        (AU, "2026-10-04", "2026-10-03T14:00", 23),
    ],
)
def test_a_local_day_goes_from_midnight_to_midnight(zone: ZoneInfo, day: str, start: str, hours: int) -> None:
    date = dt.date.fromisoformat(day)
    interval = local_day(date, zone)
    assert interval.start.astimezone(UTC) == utc(start)
    assert (interval.end.astimezone(UTC) - interval.start.astimezone(UTC)) == dt.timedelta(hours=hours)
    assert interval.end.astimezone(UTC) == local_midnight(date + dt.timedelta(days=1), zone).astimezone(UTC)
    assert interval.start.date() == date


@pytest.mark.parametrize("zone", [UK, BR, IN, AU])
def test_days_join_without_gap_or_overlap_over_a_year(zone: ZoneInfo) -> None:
    day = dt.date(2018, 1, 1)
    for _ in range(400):
        here, following = local_day(day, zone), local_day(day + dt.timedelta(days=1), zone)
        assert here.end.astimezone(UTC) == following.start.astimezone(UTC)
        day += dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("zone", "now", "day"),
    [
        (UK, "2026-07-15T22:59", "2026-07-14"),
        (UK, "2026-07-15T23:00", "2026-07-15"),
        (UK, "2026-03-29T23:00", "2026-03-29"),
        (BR, "2026-03-02T02:59", "2026-02-28"),
        (BR, "2026-03-02T03:00", "2026-03-01"),
        (IN, "2026-03-01T18:30", "2026-03-01"),
        (AU, "2026-03-01T13:00", "2026-03-01"),
    ],
)
def test_the_latest_complete_day_has_ended_in_its_own_zone(zone: ZoneInfo, now: str, day: str) -> None:
    interval = latest_complete_day(utc(now), zone)
    assert interval == local_day(dt.date.fromisoformat(day), zone)
    assert interval.end.astimezone(UTC) <= utc(now)


@pytest.mark.parametrize("zone", [UK, BR, IN, AU])
@pytest.mark.parametrize(
    ("first", "last"), [("2026-03-27", "2026-03-31"), ("2026-10-24", "2026-10-26"), ("2026-05-01", "2026-05-01")]
)
def test_a_backfill_covers_every_midnight_of_its_inclusive_days(zone: ZoneInfo, first: str, last: str) -> None:
    a, b = dt.date.fromisoformat(first), dt.date.fromisoformat(last)
    start, end = backfill_instants(a, b, zone)
    starts = [local_midnight(a + dt.timedelta(days=n), zone) for n in range(-2, (b - a).days + 3)]
    inside = [at for at in starts if start.astimezone(UTC) <= at.astimezone(UTC) <= end.astimezone(UTC)]
    assert [at.date() for at in inside] == [a + dt.timedelta(days=n) for n in range((b - a).days + 1)]


def test_a_backfill_that_ends_before_it_begins_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="before"):
        backfill_instants(dt.date(2026, 3, 2), dt.date(2026, 3, 1), UK)


def test_a_backfill_of_days_that_have_not_ended_or_cannot_be_meant_is_a_usage_error() -> None:
    today = dt.datetime.now(AU).date()
    yesterday = today - dt.timedelta(days=1)
    assert backfill_instants(yesterday, yesterday, AU)
    for last in (today, dt.date(2190, 1, 1), dt.date.max):
        with pytest.raises(UsageError, match=f"has not ended yet.*give {yesterday} or an earlier"):
            backfill_instants(dt.date(2026, 3, 1), last, AU)
    with pytest.raises(UsageError, match="year must lie between"):
        backfill_instants(dt.date.min, dt.date(2026, 3, 1), AU)


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31T23:59-12:00", "tomorrow"])
def test_a_time_that_cannot_be_meant_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="Cannot read the time"):
        parse_since(text, AU)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2026-07-15", "2026-07-14T23:00", "2026-07-15T23:00"),
        ("2026-03-01T00:00+00:00/2026-03-02T00:00+00:00", "2026-03-01T00:00", "2026-03-02T00:00"),
        ("2026-07-01T00:00/2026-07-01T06:00", "2026-06-30T23:00", "2026-07-01T05:00"),
        (" 2026-07-01T00:00Z / 2026-07-01T06:00Z ", "2026-07-01T00:00", "2026-07-01T06:00"),
    ],
)
def test_an_interval_is_read_from_a_day_or_two_instants(text: str, start: str, end: str) -> None:
    interval = parse_interval(text, UK)
    assert (interval.start.astimezone(UTC), interval.end.astimezone(UTC)) == (utc(start), utc(end))


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2026-02-30", "2026-03-02/2026-03-01", "a/b", "2026-03-01/2026-03-01"),
        *("0001-01-01", "9999-12-31", "1999-12-31", "2999-01-01", "0001-01-01/2026-03-01", "²026-03-01"),
        *("0001-01-01T00:00+14:00/2026-03-01", "2026-03-01/9999-12-31T23:59-12:00"),
        "2026-03-01/2026-03-01T00:00+00:00/2026-03-02",
    ],
)
def test_what_is_no_interval_is_a_usage_error_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="give 2026-03-01 or"):
        parse_interval(text, UK)


@pytest.mark.parametrize("zone", [UK, BR, IN, AU])
def test_today_and_a_day_of_the_past_may_be_asked_for_and_the_day_after_tomorrow_not(zone: ZoneInfo) -> None:
    today = dt.datetime.now(UTC).astimezone(zone).date()
    assert parse_interval(today.isoformat(), zone) == local_day(today, zone)
    with pytest.raises(UsageError, match="lies beyond tomorrow"):
        parse_interval((today + dt.timedelta(days=2)).isoformat(), zone)


def test_an_interval_needs_zones_and_a_length() -> None:
    naive = dt.datetime(2026, 3, 1)  # noqa: DTZ001
    with pytest.raises(ValueError, match="aware"):
        Interval(naive, naive)
    with pytest.raises(ValueError, match="must end after"):
        Interval(utc("2026-03-02T00:00"), utc("2026-03-01T00:00"))


def test_looking_back_counts_real_hours_over_a_change_of_the_clocks() -> None:
    interval = local_day(dt.date(2026, 3, 30), UK).back_to(dt.timedelta(hours=48))
    assert interval.start.astimezone(UTC) == utc("2026-03-27T23:00")
