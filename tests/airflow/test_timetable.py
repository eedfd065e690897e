"""Which local day each run is about: schedules, manual runs and backfills, over changes of daylight saving time."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from imagesys_lib.config.intervals import UTC, backfill_instants

pytestmark = pytest.mark.usefixtures("airflow_database")


def timetable(zone: str, start: str = "03:00") -> Any:
    from imagesys_airflow.scheduling.timetable import LocalDayTimetable

    return LocalDayTimetable(zone, start)


def days(zone: str, first: dt.datetime, last: dt.datetime) -> list[tuple[str, str]]:
    """Return the intervals that `airflow backfill create` makes of these bounds, as local times."""
    from airflow.timetables.base import TimeRestriction

    table, found, info = timetable(zone), [], None
    restriction = TimeRestriction(earliest=first, latest=last, catchup=True)
    while info := table.next_dagrun_info(
        last_automated_data_interval=info.data_interval if info else None, restriction=restriction
    ):
        local = [instant.astimezone(ZoneInfo(zone)) for instant in info.data_interval]
        found.append(tuple(instant.strftime("%m-%d %H:%M") for instant in local))
    return found


@pytest.mark.parametrize(
    ("zone", "first", "hours"),
    [
        ("Europe/London", dt.date(2026, 3, 28), [24, 23, 24]),  # the clocks go forward on the 29th
        ("Europe/London", dt.date(2026, 10, 24), [24, 25, 24]),  # and back on the 25th
        ("America/Sao_Paulo", dt.date(2026, 3, 28), [24, 24, 24]),
        ("America/Sao_Paulo", dt.date(2018, 11, 3), [24, 23, 24]),  # midnight itself was skipped
        ("Asia/Kolkata", dt.date(2026, 3, 28), [24, 24, 24]),
        ("Australia/Sydney", dt.date(2026, 4, 4), [24, 25, 24]),
    ],
)
def test_a_backfill_of_three_days_makes_exactly_these_local_days(zone: str, first: dt.date, hours: list[int]) -> None:
    from airflow.timetables.base import TimeRestriction

    bounds = backfill_instants(first, first + dt.timedelta(days=2), ZoneInfo(zone))
    assert [day[0][:5] for day in days(zone, *bounds)] == [
        (first + dt.timedelta(days=n)).strftime("%m-%d") for n in range(3)
    ]
    table, info, lengths = timetable(zone), None, []
    while info := table.next_dagrun_info(
        last_automated_data_interval=info.data_interval if info else None,
        restriction=TimeRestriction(earliest=bounds[0], latest=bounds[1], catchup=True),
    ):
        lengths.append(round((info.data_interval.end - info.data_interval.start).total_seconds() / 3600))
    assert lengths == hours


@pytest.mark.parametrize("end", [dt.time(), dt.time(23, 59), dt.time(23, 59, 59), dt.time(23, 59, 59, 999000)])
@pytest.mark.parametrize(
    "zone", ["Europe/London", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Australia/Sydney"]
)
def test_plain_dates_mean_local_days_also_as_the_ui_sends_the_last_one(zone: str, end: dt.time) -> None:
    first, last = dt.datetime(2026, 3, 10, tzinfo=UTC), dt.datetime.combine(dt.date(2026, 3, 12), end, UTC)
    assert [day[0] for day in days(zone, first, last)] == ["03-10 00:00", "03-11 00:00", "03-12 00:00"]


def test_a_run_may_start_at_its_own_time_of_the_day_after() -> None:
    from airflow.timetables.base import TimeRestriction

    info = timetable("Asia/Kolkata", "04:30").next_dagrun_info(
        last_automated_data_interval=None,
        restriction=TimeRestriction(earliest=dt.datetime(2026, 3, 10, 18, 30, tzinfo=UTC), latest=None, catchup=True),
    )
    assert info.data_interval.start == dt.datetime(2026, 3, 10, 18, 30, tzinfo=UTC)  # midnight of the 11th
    assert info.data_interval.end == dt.datetime(2026, 3, 11, 18, 30, tzinfo=UTC)
    assert info.run_after == dt.datetime(2026, 3, 11, 23, 0, tzinfo=UTC)  # 04:30 of the 12th


def test_without_catchup_the_first_run_is_the_latest_day_that_is_due() -> None:
    from airflow.timetables.base import TimeRestriction

    from imagesys_airflow.dags.common import START_DATE

    zone = ZoneInfo("Europe/London")
    info = timetable("Europe/London", "00:00").next_dagrun_info(
        last_automated_data_interval=None,
        restriction=TimeRestriction(earliest=START_DATE, latest=None, catchup=False),
    )
    yesterday = dt.datetime.now(zone).date() - dt.timedelta(days=1)
    assert info.data_interval.start.astimezone(zone).date() == yesterday


def test_a_manual_run_means_the_latest_complete_day() -> None:
    interval = timetable("America/Sao_Paulo").infer_manual_data_interval(
        run_after=dt.datetime(2026, 3, 11, 2, 0, tzinfo=UTC)  # still the 10th in Sao Paulo
    )
    assert interval.start == dt.datetime(2026, 3, 9, 3, 0, tzinfo=UTC)


ABSURD = ["0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "1999-06-01T00:00:00Z"]


@pytest.mark.parametrize("zone", ["Europe/London", "America/Sao_Paulo", "Australia/Sydney"])
@pytest.mark.parametrize("date", [*ABSURD, "2190-01-01T00:00:00Z"])
def test_a_logical_date_in_the_future_or_that_cannot_be_meant_is_refused_in_words(zone: str, date: str) -> None:
    with pytest.raises(ValueError, match=r"in the future|year must lie between"):
        timetable(zone).infer_manual_data_interval(run_after=dt.datetime.fromisoformat(date.replace("Z", "+00:00")))


def test_a_logical_date_is_in_the_future_an_hour_from_now_and_not_by_a_clock_that_is_seconds_ahead() -> None:
    now = dt.datetime.now(UTC)
    with pytest.raises(ValueError, match=r"lies in the future.*Leave it empty"):
        timetable("Asia/Kolkata").infer_manual_data_interval(run_after=now + dt.timedelta(hours=1))
    assert timetable("Asia/Kolkata").infer_manual_data_interval(run_after=now + dt.timedelta(seconds=20))


@pytest.mark.parametrize("zone", ["Europe/London", "America/Sao_Paulo", "Australia/Sydney"])
def test_a_backfill_until_the_year_9999_ends_within_a_year_and_one_from_the_year_1_is_refused(zone: str) -> None:
    last = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert len(days(zone, dt.datetime.now(UTC) - dt.timedelta(days=3), last)) < 375
    with pytest.raises(ValueError, match="year must lie between"):
        days(zone, dt.datetime(1, 1, 1, tzinfo=UTC), dt.datetime(2026, 3, 1, tzinfo=UTC))


def test_it_survives_serialisation() -> None:
    table = timetable("Europe/London", "05:15")
    assert type(table).deserialize(table.serialize()) == table
