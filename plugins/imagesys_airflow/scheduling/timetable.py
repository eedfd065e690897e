"""When a country's runs happen and which day each of them is about.

Airflow's cron timetable cannot say "a calendar day that starts to be worked on at 03:00": its interval ends when
the run starts. Here the interval is one local calendar day, midnight to midnight, 23 to 25 hours long, and the
start is a setting of its own.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pendulum
from airflow.timetables.base import DagRunInfo, DataInterval, Timetable

from imagesys_lib.config.intervals import UTC, Interval, latest_complete_day, local_day, local_midnight, require_year

if TYPE_CHECKING:
    from airflow.timetables.base import TimeRestriction

_DAY = dt.timedelta(days=1)
_LAST_MINUTE = dt.time(23, 59)
_CLOCK = dt.timedelta(minutes=1)
"""How much another machine's clock may differ from this one's."""
_FAR = dt.timedelta(days=366)


class LocalDayTimetable(Timetable):
    """One run a local calendar day; it may start at ``start`` (HH:MM, local) of the day after.

    The logical date of a run is its day's first instant. Bounds of a backfill are local midnights, both inclusive; a
    bound at 00:00 UTC is read as a plain date, which is what Airflow makes of ``--from-date 2026-03-10``, and means
    that local day. So is a last bound at 23:59 UTC, or within that minute: the UI's dialog makes it of its last day. No
    zone has a local midnight of another day at these times, so the two never conflict. A last bound in the far future
    means a year from now: Airflow drops days that have not ended, and need not go through thousands of years for that.
    """

    def __init__(self, time_zone: str, start: str = "03:00") -> None:
        self._zone = ZoneInfo(time_zone)
        self._start = dt.time.fromisoformat(start)
        self.description = f"each local day, started at {start} of the day after ({time_zone})"

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> LocalDayTimetable:
        """Rebuild what :meth:`serialize` wrote."""
        return cls(data["time_zone"], data["start"])

    def serialize(self) -> dict[str, Any]:
        """Return what the scheduler needs, which never sees the DAG file."""
        return {"time_zone": self._zone.key, "start": f"{self._start:%H:%M}"}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalDayTimetable) and self.serialize() == other.serialize()

    def __hash__(self) -> int:
        return hash((self._zone.key, self._start))

    @property
    def summary(self) -> str:
        """What the list of DAGs shows."""
        return f"{self._start:%H:%M} {self._zone.key}"

    def infer_manual_data_interval(self, *, run_after: dt.datetime) -> DataInterval:
        """Return the latest local day that was complete at ``run_after``, the run's logical date if it has one.

        Raises ValueError, whose words Airflow's API answers with status 400, for a date in the future: Airflow would
        let such a run wait until then, and no other of the country's DAG could start.
        """
        require_year(run_after)
        if run_after > _later(_CLOCK):
            raise ValueError(
                f"The logical date {run_after.astimezone(UTC):%Y-%m-%d %H:%M} UTC lies in the future: the run would "
                "wait until then and hold the DAG's only slot. Leave it empty for the latest complete day, or give a "
                "past one."
            )
        return _as_airflow(latest_complete_day(run_after, self._zone))

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Return the day after the last one; without catch-up never one before the latest that is due."""
        candidates = []
        if restriction.earliest is not None:
            candidates.append(self._day_from(restriction.earliest))
        if last_automated_data_interval is not None:
            candidates.append(self._date(last_automated_data_interval.start) + _DAY)
        if not restriction.catchup:
            candidates.append(self._latest_due(dt.datetime.now(UTC)))
        if not candidates:
            return None
        day = max(candidates)
        if restriction.latest is not None and day > self._day_until(min(restriction.latest, _later(_FAR))):
            return None
        interval = _as_airflow(local_day(day, self._zone))
        return DagRunInfo(run_after=pendulum.instance(self.run_after(day)), data_interval=interval)

    def run_after(self, day: dt.date) -> dt.datetime:
        """Return the instant from which the run of ``day`` may start."""
        naive = dt.datetime.combine(day + _DAY, self._start, tzinfo=self._zone)
        # An interval ends before its run starts, also where daylight saving time skips midnight.
        return max(naive.astimezone(UTC), local_midnight(day + _DAY, self._zone).astimezone(UTC))

    def _latest_due(self, now: dt.datetime) -> dt.date:
        day = self._date(now) - _DAY
        return day if self.run_after(day) <= now else day - _DAY

    def _date(self, instant: dt.datetime) -> dt.date:
        return instant.astimezone(self._zone).date()

    def _day_from(self, bound: dt.datetime) -> dt.date:
        """Return the first day that starts at ``bound`` or later."""
        require_year(bound)
        plain = _plain_date(bound)
        if plain is not None:
            return plain
        day = self._date(bound)
        return day if local_midnight(day, self._zone) >= bound else day + _DAY

    def _day_until(self, bound: dt.datetime) -> dt.date:
        """Return the last day that starts at ``bound`` or earlier."""
        utc = bound.astimezone(UTC)
        return utc.date() if utc.time() >= _LAST_MINUTE else _plain_date(bound) or self._date(bound)


def _later(span: dt.timedelta) -> dt.datetime:
    return dt.datetime.now(UTC) + span


def _plain_date(bound: dt.datetime) -> dt.date | None:
    utc = bound.astimezone(UTC)
    return utc.date() if utc.time() == dt.time() else None


def _as_airflow(interval: Interval) -> DataInterval:
    return DataInterval(
        pendulum.instance(interval.start.astimezone(UTC)), pendulum.instance(interval.end.astimezone(UTC))
    )
