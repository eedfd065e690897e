"""Runs: what a run is, and the row that ``lis_runs`` keeps of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.mysql import insert

from imagesys_lib.config.intervals import UTC, Interval
from imagesys_lib.db.engine import CHUNK, NOW, Row, from_now, read, write
from imagesys_lib.db.schema import lis_batches, lis_metrics, lis_runs

_LATELY_SECONDS = 30 * 86_400
_FAILED_LATELY_SECONDS = 3 * 86_400


class RunKind(str, Enum):
    """Why a run exists. Only scheduled runs purge; backfills neither purge nor check."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"
    BACKFILL = "backfill"


@dataclass(frozen=True)
class Run:
    """One run of a country. ``force`` makes live images of the interval again."""

    run_id: str
    kind: RunKind
    interval: Interval
    force: bool = False


def naive_utc(instant: dt.datetime) -> dt.datetime:
    """Return an instant as the database stores it."""
    return instant.astimezone(UTC).replace(tzinfo=None)


def begin(engine: Engine, run: Run) -> None:
    """Record that a run is under way; a cleared run begins again under the same id.

    A daily run that a backfill has cleared stays that day's scheduled run here: reports and mails look for it.
    ``forced_at`` is since when it makes live images again, None if it does not. A forced run that had ended well is
    asked anew; one that is under way or has failed goes on with what it began, so that nothing is made twice.
    """
    r = lis_runs.c
    interval = {"interval_start": naive_utc(run.interval.start), "interval_end": naive_utc(run.interval.end)}
    goes_on = r.forced_at.is_not(None) & (r.state != "success")
    statement = insert(lis_runs).values(
        run_id=run.run_id,
        kind=run.kind.value,
        **interval,
        state="running",
        started_at=NOW,
        forced_at=NOW if run.force else None,
    )
    again = {
        # First of all: assignments are made in this order, and this one asks for the state as it was.
        "forced_at": sa.case((goes_on, r.forced_at), else_=NOW) if run.force else None,
        **interval,
        "state": "running",
        "finished_at": None,
    }
    write(engine, lambda connection: connection.execute(statement.on_duplicate_key_update(list(again.items()))))


def mark_ingested(engine: Engine, run: Run, read_from: dt.datetime | None = None) -> None:
    """Record that the ETL's rows from that instant (or this run's start) to its end are in; purging depends on it."""
    _update(engine, run, {"ingested_at": NOW, "read_from": naive_utc(read_from or run.interval.start)})


def forget_ingest(engine: Engine, run: Run) -> None:
    """Ingest starts over: until it has finished, the run counts as not ingested."""
    _update(engine, run, {"ingested_at": None, "read_from": None, "bad_rows": sa.null()})


def covered_until(engine: Engine, run: Run) -> dt.datetime | None:
    """Return up to when other runs, of intervals up to this one's, have read the ETL without a gap; None if none was.

    Counted from the first scheduled run on, of the last 1,000 runs. One that has read exactly its interval, such as a
    backfill, counts where it goes on from there. Of those that ended before ``read_from`` was kept, scheduled ones do.
    One that began before its interval was over, such as one of today by hand, counts up to its beginning alone.
    """
    r = lis_runs.c
    earlier = (r.run_id != run.run_id) & (r.interval_end <= naive_utc(run.interval.end))
    columns = (r.kind, r.interval_start, r.interval_end, r.started_at, r.ingested_at, r.read_from)
    rows = read(engine, sa.select(*columns).where(earlier).order_by(r.interval_end.desc()).limit(CHUNK))
    covered: dt.datetime | None = None
    for row in reversed(rows):
        scheduled = row.kind == RunKind.SCHEDULED.value
        if covered is None and not scheduled:
            continue
        covered = covered or row.interval_start
        since = row.read_from or (covered if scheduled else row.interval_start)
        if row.ingested_at is not None and since <= covered:
            covered = max(covered, min(row.interval_end, row.started_at))
    return covered.replace(tzinfo=UTC) if covered else None


def keep_bad_rows(engine: Engine, run: Run, stage: str, found: dict[str, Any]) -> None:
    """Keep what a stage of a run reports of rows of the ETL that it could not take as they are."""

    def work(connection: Connection) -> None:
        this_run = lis_runs.c.run_id == run.run_id
        kept = connection.scalar(sa.select(lis_runs.c.bad_rows).where(this_run).with_for_update()) or {}
        connection.execute(sa.update(lis_runs).where(this_run).values(bad_rows={**kept, stage: found}))

    write(engine, work)


def finish(engine: Engine, run: Run, state: str, summary: dict[str, Any]) -> None:
    """Record how the run ended and its summary."""
    _update(engine, run, {"state": state, "summary": summary, "finished_at": NOW})


def close(connection: Connection, run_id: str, *, well: bool) -> None:
    """Record that a run is over although no report says so; one that is not under way stays as it is.

    It has ended well if whoever ran it says that (``well``) and its last report had found nothing lost.
    """
    r = lis_runs.c
    lost_nothing = sa.func.json_length(r.summary, "$.lost") == 0
    state = sa.case((lost_nothing, "success"), else_="failed") if well else "failed"
    this_run = (r.run_id == run_id) & (r.state == "running")
    connection.execute(sa.update(lis_runs).where(this_run).values(state=state, finished_at=NOW))


def under_way(engine: Engine) -> list[str]:
    """Return the ids of runs that count as under way, of those that began within a month."""
    r = lis_runs.c
    began = r.started_at > from_now(-_LATELY_SECONDS)
    rows = read(engine, sa.select(r.run_id).where(began, r.state == "running").order_by(r.started_at).limit(CHUNK))
    return [row.run_id for row in rows]


def failed_lately(engine: Engine) -> Sequence[Row]:
    """Return the rows of runs that have failed within three days, and that began after the last good scheduled one."""
    r = lis_runs.c
    good = (r.kind == RunKind.SCHEDULED.value) & (r.state == "success")
    last_good = read(engine, sa.select(r.started_at).where(good).order_by(r.started_at.desc()).limit(1))
    query = sa.select(lis_runs).where(r.state == "failed", r.started_at > from_now(-_LATELY_SECONDS))
    if last_good:
        query = query.where(r.started_at > last_good[0].started_at)
    query = query.where(r.finished_at > from_now(-_FAILED_LATELY_SECONDS))
    return read(engine, query.order_by(r.started_at).limit(CHUNK))


def resume(engine: Engine, batch_id: int) -> None:
    """A batch of a finished run is worked on again: see :func:`go_on`."""
    go_on(engine, sa.select(lis_batches.c.run_id).where(lis_batches.c.batch_id == batch_id).scalar_subquery())


def go_on(engine: Engine, run_id: str | sa.ScalarSelect[str]) -> None:
    """A finished run has work again: until its next report it counts as under way."""
    statement = (
        sa.update(lis_runs)
        .where(lis_runs.c.run_id == run_id, lis_runs.c.state != "running")
        .values(state="running", finished_at=None)
    )
    write(engine, lambda connection: connection.execute(statement))


def _update(engine: Engine, run: Run, values: dict[str, Any]) -> None:
    def work(connection: Connection) -> None:
        connection.execute(sa.update(lis_runs).where(lis_runs.c.run_id == run.run_id).values(values))

    write(engine, work)


def load(engine: Engine, run_id: str) -> Row | None:
    """Return a run's row, or None."""
    rows = read(engine, sa.select(lis_runs).where(lis_runs.c.run_id == run_id))
    return rows[0] if rows else None


def latest(engine: Engine) -> Row | None:
    """Return the row of the run that began last, or None."""
    rows = read(engine, sa.select(lis_runs).order_by(lis_runs.c.started_at.desc()).limit(1))
    return rows[0] if rows else None


def add_figure(connection: Connection, run_id: str, name: str, number: int) -> None:
    """Add to one of a run's figures in ``lis_metrics``, in the transaction that did what it counts."""
    statement = insert(lis_metrics).values(run_id=run_id, name=name, value=number, measured_at=NOW)
    connection.execute(statement.on_duplicate_key_update(value=lis_metrics.c.value + number, measured_at=NOW))


def figures(engine: Engine, run_id: str, prefix: str) -> dict[str, int]:
    """Return a run's figures whose names begin with ``prefix``, by what follows it."""
    c = lis_metrics.c
    query = sa.select(c.name, c.value).where(c.run_id == run_id, c.name.startswith(prefix, autoescape=True))
    return {row.name.removeprefix(prefix): row.value for row in read(engine, query)}


def set_figures(engine: Engine, run_id: str, figures: Mapping[str, int]) -> None:
    """Keep figures of a run as they are now, in the place of older ones of their names."""
    rows = [{"run_id": run_id, "name": name, "value": value} for name, value in figures.items()]
    statement = insert(lis_metrics).values(measured_at=NOW)
    statement = statement.on_duplicate_key_update(value=statement.inserted.value, measured_at=NOW)
    write(engine, lambda connection: connection.execute(statement, rows))


def set_or_drop_figure(engine: Engine, run_id: str, name: str, value: int) -> None:
    """Keep one of a run's figures as it is now; 0 leaves no row, also where there was one."""
    c = lis_metrics.c
    if value:
        set_figures(engine, run_id, {name: value})
    else:
        statement = sa.delete(lis_metrics).where(c.run_id == run_id, c.name == name)
        write(engine, lambda connection: connection.execute(statement))


def raise_figures(connection: Connection, run_id: str, figures: Mapping[str, int]) -> None:
    """Keep the most that was ever seen of some of a run's figures: to count again takes nothing away."""
    rows = [{"run_id": run_id, "name": name, "value": value} for name, value in figures.items()]
    statement = insert(lis_metrics).values(measured_at=NOW)
    most = sa.func.greatest(lis_metrics.c.value, statement.inserted.value)
    if rows:
        connection.execute(statement.on_duplicate_key_update(value=most, measured_at=NOW), rows)


def add_figures(engine: Engine, run_id: str, figures: Mapping[str, int]) -> None:
    """Add to several of a run's figures; what is 0 leaves no row."""

    def work(connection: Connection) -> None:
        for name, number in figures.items():
            if number:
                add_figure(connection, run_id, name, number)

    write(engine, work)


def add_figures_of_batch(engine: Engine, batch_id: int, figures: Mapping[str, int]) -> None:
    """Add to the figures of the run that a batch belongs to."""
    if any(figures.values()):
        rows = read(engine, sa.select(lis_batches.c.run_id).where(lis_batches.c.batch_id == batch_id))
        for row in rows:
            add_figures(engine, row.run_id, figures)


def reported_before(engine: Engine, run: Run, most: int) -> list[str]:
    """Return the ids of the latest runs of the same kind that began before this one and have had their report."""
    r, m = lis_runs.c, lis_metrics.c
    began = sa.select(r.started_at).where(r.run_id == run.run_id).scalar_subquery()
    reported = sa.select(m.run_id).where(m.run_id == r.run_id, m.name == "images").exists()
    query = (
        sa.select(r.run_id)
        .where(r.started_at < began, r.kind == run.kind.value, r.finished_at.is_not(None), reported)
        .order_by(r.started_at.desc())
        .limit(most)
    )
    return [row.run_id for row in read(engine, query)]


def all_figures(engine: Engine, run_ids: Sequence[str]) -> Sequence[Row]:
    """Return (run_id, name, value, measured_at) of every figure of a few runs."""
    c = lis_metrics.c
    return read(engine, sa.select(c.run_id, c.name, c.value, c.measured_at).where(c.run_id.in_(run_ids)))


def latest_scheduled(engine: Engine) -> Row | None:
    """Return the row of the scheduled run that began last, whether it has ended or not, or None."""
    query = sa.select(lis_runs).where(lis_runs.c.kind == RunKind.SCHEDULED.value)
    rows = read(engine, query.order_by(lis_runs.c.started_at.desc()).limit(1))
    return rows[0] if rows else None


def latest_ended(engine: Engine, interval: Interval | None = None) -> Row | None:
    """Return the row of the run that began last of those that have ended, or None.

    It is no backfill, or whatever run had this interval.
    """
    r = lis_runs.c
    wanted = [r.kind != RunKind.BACKFILL.value]
    if interval:
        wanted = [r.interval_start == naive_utc(interval.start), r.interval_end == naive_utc(interval.end)]
    query = sa.select(lis_runs).where(r.finished_at.is_not(None), *wanted)
    rows = read(engine, query.order_by(r.started_at.desc()).limit(1))
    return rows[0] if rows else None
