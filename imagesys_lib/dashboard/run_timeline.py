"""When the parts of a run were at work: its stages as far as the database knows them, its checks, its batches."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Engine

from imagesys_lib.context import Context
from imagesys_lib.dashboard.addresses import dag_of, task_link
from imagesys_lib.dashboard.tables import Cell, Column, Entry, Kind, Table, Tone
from imagesys_lib.db.engine import CHUNK, Row, read
from imagesys_lib.db.schema import lis_batches, lis_node_checks, lis_nodes

_PLACE = (
    Column("from", "From", Kind.TIME),
    Column("to", "To", Kind.TIME),
    Column("seconds", "Took", Kind.SECONDS),
    Column("when", "In the run", Kind.SPAN),
)
_MOST_BATCHES = 2 * CHUNK
_WELL_LEASES = 2


@dataclass(frozen=True)
class Whole:
    """The time that a run has taken, of which its parts are drawn as shares."""

    begin: dt.datetime
    end: dt.datetime

    def place(self, begin: dt.datetime, end: dt.datetime, tone: Tone = Tone.NONE) -> tuple[Entry, Entry, Entry, Entry]:
        """Return the cells that say from when to when a part was at work."""
        whole = max((self.end - self.begin).total_seconds(), 0.001)
        first, last = (min(1.0, max(0.0, (at - self.begin).total_seconds() / whole)) for at in (begin, end))
        seconds = (end - begin).total_seconds()
        span = Cell(f"{begin.isoformat()}Z/{end.isoformat()}Z", span=(first, last), tone=tone)
        return clock(begin), clock(end), seconds, span


def clock(instant: dt.datetime) -> Cell:
    """Return an instant of which the run's head says the day."""
    return Cell(instant, f"{instant:%H:%M:%S}")


def read_batches(db: Engine, run_id: str) -> Sequence[Row]:
    """Return a run's batches in their order."""
    b = lis_batches.c
    return read(db, sa.select(lis_batches).where(b.run_id == run_id).order_by(b.seq).limit(_MOST_BATCHES))


def timeline_table(ctx: Context, row: Row, batches: Sequence[Row], until: dt.datetime) -> Table:
    """Return the stages of a run, and the checks of its nodes."""
    whole = Whole(row.started_at, until)
    rows = [*_stages(row, batches, until, whole), *_syncs(ctx, row, whole), *_checks(ctx, row, whole)]
    columns = (Column("part", "Part"), *_PLACE)
    return Table("timeline", "Timeline", columns, tuple(rows), empty="Nothing is known yet.")


def _stages(row: Row, batches: Sequence[Row], until: dt.datetime, whole: Whole) -> Iterator[tuple[Entry, ...]]:
    running = row.finished_at is None
    ingested = row.ingested_at or until
    begun = Tone.BUSY if running and row.ingested_at is None else Tone.NONE
    yield (Cell("preflight to ingest"), *whole.place(row.started_at, ingested, begun))
    if not batches:
        return
    first, last = min(batch.created_at for batch in batches), max(batch.updated_at for batch in batches)
    unfinished = any(batch.state != "done" for batch in batches)
    last = until if running and unfinished else last
    tone = (Tone.BUSY if running else Tone.BAD) if unfinished else Tone.NONE
    yield (Cell("process", f"process, {len(batches)} batches", "#batches"), *whole.place(first, last, tone))
    if not unfinished:
        yield (Cell("sync to report"), *whole.place(last, until, Tone.BUSY if running else Tone.NONE))


def _syncs(ctx: Context, row: Row, whole: Whole) -> Iterator[tuple[Entry, ...]]:
    """Yield when the last sync of each node had ended, where that was in this run: of earlier ones nothing is kept."""
    for node in read(ctx.db, sa.select(lis_nodes.c.node, lis_nodes.c.updated_at, lis_nodes.c.fault)):
        if node.node in ctx.config.nodes and whole.begin <= node.updated_at <= whole.end:
            link = task_link(dag_of(ctx.country), row.run_id, "sync", ctx.config.nodes.index(node.node))
            yield _moment(f"sync of {node.node}", link, node.updated_at, whole, Tone.BAD if node.fault else Tone.GOOD)


def _moment(part: str, link: str, at: dt.datetime, whole: Whole, tone: Tone) -> tuple[Entry, ...]:
    """Return what is known of a part by its end alone."""
    _, end, _, span = whole.place(at, at, tone)
    return Cell(part, link=link, airflow=True), None, end, None, span


def _checks(ctx: Context, row: Row, whole: Whole) -> Iterator[tuple[Entry, ...]]:
    """Yield when each node's last check of the run had ended: when they began nobody has noted."""
    c = lis_node_checks.c
    for index, node in enumerate(ctx.config.nodes):
        query = (
            sa.select(c.checked_at).where(c.node == node, c.run_id == row.run_id).order_by(c.check_id.desc()).limit(1)
        )
        for check in read(ctx.db, query):
            link = task_link(dag_of(ctx.country), row.run_id, "check", index)
            yield _moment(f"check of {node}", link, check.checked_at, whole, Tone.GOOD)


def batches_table(country: str, row: Row, batches: Sequence[Row], until: dt.datetime) -> Table:
    """Return the batches of a run: those that are not done first."""
    columns = (
        Column("batch", "Batch", Kind.NUMBER),
        Column("images", "Images", Kind.NUMBER),
        Column("state", "State"),
        Column("leases", "Leases", Kind.NUMBER, "How often a task has taken it: twice in a run without retries"),
        *_PLACE,
    )
    ordered = sorted(batches, key=lambda batch: (batch.state == "done", batch.seq))
    whole = Whole(row.started_at, until)
    rows = tuple(_batch(country, row, batch, whole) for batch in ordered)
    return Table("batches", "Batches", columns, rows, empty="The run has no batch.")


def _batch(country: str, row: Row, batch: Row, whole: Whole) -> tuple[Entry, ...]:
    held = batch.holder is not None
    tone = Tone.NONE if batch.state == "done" else Tone.BUSY if row.finished_at is None else Tone.BAD
    word = f"{batch.state}, held by {batch.holder}" if held else batch.state
    task = "process.download" if batch.state == "planned" else "process.thumbnail"
    return (
        Cell(batch.seq, link=task_link(dag_of(country), row.run_id, task, batch.seq), airflow=True),
        batch.size,
        Cell(word, tone=tone),
        Cell(batch.fence, tone=Tone.WARN if batch.fence > _WELL_LEASES else Tone.NONE),
        *whole.place(batch.created_at, batch.updated_at, tone),
    )
