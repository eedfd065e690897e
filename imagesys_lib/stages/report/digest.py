"""A country's last run in short, for what speaks of all countries together."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from imagesys_lib import runs
from imagesys_lib.context import Context
from imagesys_lib.db.engine import database_now
from imagesys_lib.intervals import UTC
from imagesys_lib.stages.report.summary import Summary, kept

_SILENT_HOURS = 36
"""A daily country whose last run ended longer ago has missed one."""


@dataclass(frozen=True)
class LastRun:
    """The run that began last of those that have ended. ``day``: the local day that it is about.

    ``lost`` and ``unusual`` are sentences; ``summary`` is None where it broke off before its report.
    """

    run_id: str
    day: str
    state: str
    lost: list[str]
    unusual: list[str]
    summary: Summary | None


def last_run(ctx: Context) -> LastRun | None:
    """Read it; None if no run has ended yet."""
    row = runs.latest_ended(ctx.db)
    if row is None:
        return None
    summary = kept(row)
    hours = (database_now(ctx.db) - row.finished_at) / dt.timedelta(hours=1)
    silence = [f"no run has ended for {hours:.0f} hours"] if hours > _SILENT_HOURS else []
    broken = f"run {row.run_id} broke off: {(row.summary or {}).get('error', 'it left no summary')}"
    return LastRun(
        run_id=row.run_id,
        day=f"{row.interval_start.replace(tzinfo=UTC).astimezone(ctx.config.zone):%Y-%m-%d}",
        state=row.state,
        lost=summary.lost if summary else [broken],
        unusual=[*silence, *(summary.anomalies if summary else [])],
        summary=summary,
    )
