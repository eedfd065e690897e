"""Breakers of data sources, as a report tells them: by their incidents, which begin and end with them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Engine

from imagesys_lib.alerts.incidents import IncidentKind
from imagesys_lib.db.engine import database_now, read
from imagesys_lib.db.schema import lis_incidents
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run


def data_sources(db: Engine, run: Run) -> dict[str, int]:
    """Count those that are left alone now, and those that failed and recovered since the run before this one ended."""
    before = runs.reported_before(db, run, 1)
    row = runs.load(db, before[0] if before else run.run_id)
    since = database_now(db) if row is None else row.finished_at if before else row.started_at
    c = lis_incidents.c
    source = c.kind == IncidentKind.SOURCE.value
    lately = sa.func.sum(sa.case((c.opened_at >= since, 1), else_=0)).label("lately")
    counts = sa.select(sa.func.count().label("all_of_them"), lately)
    (now,) = read(db, counts.where(c.is_open == 1, source))
    (over,) = read(db, counts.where(c.resolved_at >= since, source))
    return {
        "left_alone": now.all_of_them,
        "failed": int((now.lately or 0) + (over.lately or 0)),
        "recovered": over.all_of_them,
    }
