"""The runs of the last days, each with what its report kept of it; and the one strip that shows them by day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import Engine

from imagesys_lib.config.intervals import UTC
from imagesys_lib.dashboard.addresses import dag_of, run_link
from imagesys_lib.dashboard.tables import Cell, Tone
from imagesys_lib.db.engine import CHUNK, Row, from_now, read
from imagesys_lib.db.schema import lis_runs

STRIP_DAYS = 30

STATES = {"success": (Tone.GOOD, "well"), "failed": (Tone.BAD, "work lost"), "running": (Tone.BUSY, "running")}
"""What a run's state is called, and its colour."""

_KEPT = ("images", "states", "reasons", "weights", "lost", "anomalies")


@dataclass(frozen=True)
class PastRun:
    """One run: ``day`` is the local one that it is about, ``seconds`` how long it took until its last report.

    ``fetched`` are the bytes of originals, ``thumbnails`` those of what was made of them.
    """

    run_id: str
    kind: str
    day: dt.date
    state: str
    started_at: dt.datetime
    ingest_seconds: float | None
    seconds: float | None
    images: int
    states: dict[str, int]
    reasons: dict[str, dict[str, int]]
    fetched: int
    thumbnails: int
    lost: int
    unusual: int

    @property
    def rate(self) -> float | None:
        """Images a second, over the whole run."""
        return self.images / self.seconds if self.seconds and self.images else None


def past_runs(db: Engine, zone: ZoneInfo, days: int) -> list[PastRun]:
    """Read the runs that began within so many days, the newest first, at most 1,000."""
    r = lis_runs.c
    kept = [sa.func.json_extract(r.summary, f"$.{name}", type_=sa.JSON).label(name) for name in _KEPT]
    columns = (r.run_id, r.kind, r.state, r.interval_start, r.started_at, r.ingested_at, r.finished_at, *kept)
    query = sa.select(*columns).where(r.started_at > from_now(-86_400 * days)).order_by(r.started_at.desc())
    return [_past(row, zone) for row in read(db, query.limit(CHUNK))]


def _past(row: Row, zone: ZoneInfo) -> PastRun:
    weights: dict[str, Any] = row.weights or {}
    return PastRun(
        run_id=row.run_id,
        kind=row.kind,
        day=row.interval_start.replace(tzinfo=UTC).astimezone(zone).date(),
        state=row.state,
        started_at=row.started_at,
        ingest_seconds=(row.ingested_at - row.started_at).total_seconds() if row.ingested_at else None,
        seconds=(row.finished_at - row.started_at).total_seconds() if row.finished_at else None,
        images=row.images or 0,
        states=row.states or {},
        reasons=row.reasons or {},
        fetched=weights.get("originals", 0),
        thumbnails=weights.get("thumbnails", 0),
        lost=len(row.lost or ()),
        unusual=len(row.anomalies or ()),
    )


def last_days(today: dt.date, days: int) -> list[dt.date]:
    """Return so many days up to today, ascending."""
    return [today - dt.timedelta(days=ago) for ago in range(days - 1, -1, -1)]


def strip(country: str, runs: Sequence[PastRun], today: dt.date) -> Cell:
    """Return thirty marks: each day in the colour of the run that began last of those about it."""
    by_day = {run.day: run for run in reversed(runs)}
    marks = tuple(_marks(country, by_day, last_days(today, STRIP_DAYS)))
    red = sum(mark.tone is Tone.BAD for mark in marks)
    without = sum(not mark.link for mark in marks)
    return Cell(title=f"{STRIP_DAYS} days: {red} with work lost, {without} without a run", parts=marks)


def _marks(country: str, by_day: dict[dt.date, PastRun], days: Sequence[dt.date]) -> Iterator[Cell]:
    for day in days:
        run = by_day.get(day)
        if run is None:
            yield Cell(day, f"{day}: no run")
            continue
        tone, word = STATES.get(run.state, (Tone.NONE, run.state))
        yield Cell(day, f"{day}: {word}, {run.images:,} images", run_link(dag_of(country), run.run_id), tone=tone)
