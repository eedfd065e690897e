"""A country's last run in short, for what speaks of all countries together."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from imagesys_lib.alerts.incidents import waits
from imagesys_lib.config.intervals import UTC, Interval
from imagesys_lib.context import Context
from imagesys_lib.db.engine import Row, database_now
from imagesys_lib.runs import runs
from imagesys_lib.stages.report.summary import Summary, kept

_SILENT_HOURS = 36
"""A daily country whose last run ended longer ago has missed one."""

_GRACE = dt.timedelta(hours=1)
"""How long after its time a scheduled run has begun, however busy the scheduler is."""


@dataclass(frozen=True)
class LastRun:
    """A country's newest run, no backfill. ``day``: the local day that it is about.

    ``lost`` and ``unusual`` are sentences; ``summary`` is None where it broke off before its report.
    """

    run_id: str
    day: str
    state: str
    lost: list[str]
    unusual: list[str]
    summary: Summary | None


def last_run(ctx: Context, interval: Interval | None = None) -> LastRun | None:
    """Read the last run that has ended, or the last one of an interval; None if there is none."""
    row = runs.latest_ended(ctx.db, interval)
    return None if row is None else _ended(ctx, row)


def newest_run(ctx: Context) -> LastRun | None:
    """Read the last run that has ended, or a scheduled one that began after it and goes on still.

    It is unusual that a country's run goes on, or has not begun, when all countries are reported.
    """
    ended, begun = runs.latest_ended(ctx.db), runs.latest_scheduled(ctx.db)
    if ended is None and begun is None:
        return None
    now = database_now(ctx.db)
    due = last_due(now.replace(tzinfo=UTC), ctx.config.zone, ctx.config.start)
    newest = max((row for row in (ended, begun) if row), key=lambda row: row.started_at)
    found = _ended(ctx, newest) if newest.finished_at else _going(ctx, newest, now)
    if newest.started_at >= due.astimezone(UTC).replace(tzinfo=None):
        return found
    missing = f"no run has begun since {due:%Y-%m-%d %H:%M}, when one was due"
    return replace(found, unusual=[missing, *found.unusual])


def last_due(now: dt.datetime, zone: ZoneInfo, start: str) -> dt.datetime:
    """Return the newest local time at which a scheduled run should have begun, and has had an hour to."""
    clock, local = dt.time.fromisoformat(start), (now - _GRACE).astimezone(zone)
    day = local.date() if local.time() >= clock else local.date() - dt.timedelta(days=1)
    return dt.datetime.combine(day, clock, tzinfo=zone)


def _going(ctx: Context, row: Row, now: dt.datetime) -> LastRun:
    hours = (now - row.started_at) / dt.timedelta(hours=1)
    going = f"run {row.run_id} is still going, {hours:.1f} hours after it began"
    return LastRun(row.run_id, _day(ctx, row), row.state, lost=[], unusual=[going, *waits(ctx.db)], summary=None)


def _day(ctx: Context, row: Row) -> str:
    return f"{row.interval_start.replace(tzinfo=UTC).astimezone(ctx.config.zone):%Y-%m-%d}"


def _ended(ctx: Context, row: Row) -> LastRun:
    summary = kept(row)
    hours = (database_now(ctx.db) - row.finished_at) / dt.timedelta(hours=1)
    silence = [f"no run has ended for {hours:.0f} hours"] if hours > _SILENT_HOURS else []
    broken = f"run {row.run_id} broke off: {(row.summary or {}).get('error', 'it left no summary')}"
    return LastRun(
        run_id=row.run_id,
        day=_day(ctx, row),
        state=row.state,
        lost=summary.lost if summary else [broken],
        unusual=[*silence, *waits(ctx.db), *(summary.anomalies if summary else [])],
        summary=summary,
    )
