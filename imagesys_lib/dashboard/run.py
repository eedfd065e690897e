"""The page of one run: what its report says, its timeline, samples of what failed, what was unusual, what to do."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imagesys_lib.config.intervals import UTC
from imagesys_lib.context import Context
from imagesys_lib.dashboard import run_tables, words
from imagesys_lib.dashboard.addresses import dag_of, run_link
from imagesys_lib.dashboard.failed_tasks import failed_task
from imagesys_lib.dashboard.history import STATES
from imagesys_lib.dashboard.run_timeline import batches_table, read_batches, timeline_table
from imagesys_lib.dashboard.tables import Cell, Table, Tone
from imagesys_lib.db.engine import Row, database_now
from imagesys_lib.errors import UsageError
from imagesys_lib.images.states import State
from imagesys_lib.runs import runs
from imagesys_lib.stages.report import Summary, kept


@dataclass(frozen=True)
class Sentence:
    """Something to know or to do; ``task`` is Airflow's address of the task that it is about, "" if of none."""

    text: str
    tone: Tone
    task: str = ""

    @property
    def word(self) -> str:
        """What its colour means."""
        return {Tone.BAD: "Lost:", Tone.WARN: "Unusual:"}.get(self.tone, "")


@dataclass(frozen=True)
class RunPage:
    """All of a run's page. ``tiles`` are its figures by their names."""

    country: str
    run_id: str
    day: str
    kind: str
    state: Cell
    started_at: dt.datetime
    took: str
    running: bool
    sentences: tuple[Sentence, ...]
    tiles: dict[str, Cell]
    tables: tuple[Table, ...]


def run_page(ctx: Context, run_id: str) -> RunPage:
    """Read a run. Raises UsageError where the country has none of that id."""
    row = runs.load(ctx.db, run_id)
    if row is None:
        raise UsageError(
            f"Country {ctx.country} has no run {run_id}.",
            remedy="runs that have not begun, weekly checks and runs older than `retention.runs` are not known here.",
        )
    summary, now, batches = kept(row), database_now(ctx.db), read_batches(ctx.db, run_id)
    tone, word = STATES.get(row.state, (Tone.NONE, row.state))
    until = row.finished_at or now
    tables = [timeline_table(ctx, row, batches, until)]
    if summary:
        tables += run_tables.of_summary(ctx, summary)
    return RunPage(
        country=ctx.country,
        run_id=run_id,
        day=f"{row.interval_start.replace(tzinfo=UTC).astimezone(ctx.config.zone):%Y-%m-%d}",
        kind=row.kind,
        state=Cell(row.state, word, tone=tone),
        started_at=row.started_at,
        took=words.duration((until - row.started_at).total_seconds()),
        running=row.finished_at is None,
        sentences=tuple(_sentences(ctx, row, summary, batches)),
        tiles=_tiles(row, summary, batches),
        tables=(*tables, batches_table(ctx.country, row, batches, until)),
    )


def _sentences(ctx: Context, row: Row, summary: Summary | None, batches: Sequence[Row]) -> Iterator[Sentence]:
    """Yield what was lost, each with where to go, then what was unusual."""
    link = run_link(dag_of(ctx.country), row.run_id)
    if summary is None:
        if row.finished_at is None:
            yield Sentence("The run is under way: its report comes last.", Tone.BUSY)
        else:
            yield Sentence(
                f"The run broke off: {(row.summary or {}).get('error', 'it left no report')}", Tone.BAD, link
            )
        return
    stages = {batch.seq: batch.state for batch in batches}
    for loss in summary.lost:
        task = failed_task(loss, ctx.config.nodes, stages)
        yield Sentence(loss, Tone.BAD, task.address(ctx.country, row.run_id) if task else f"{link}?task_state=failed")
    for unusual in summary.anomalies:
        yield Sentence(unusual, Tone.WARN)
    if summary.proposal:
        yield Sentence(summary.proposal, Tone.WARN)
    if summary.caught_up:
        yield Sentence(f"It caught up with {summary.caught_up}, of which no completed ingest had read all.", Tone.NONE)
    if not summary.lost:
        yield Sentence("Nothing was lost.", Tone.GOOD)


def _tiles(row: Row, summary: Summary | None, batches: Sequence[Row]) -> dict[str, Cell]:
    """Return the run's figures; before its report what its batches tell."""
    done = [batch for batch in batches if batch.state == "done"]
    progress = Cell(len(batches), f"{len(done)} of {len(batches)} done", link="#batches")
    if summary is None:
        images = sum(batch.size for batch in batches)
        finished = sum(batch.size for batch in done)
        return {"Images": Cell(images), "of them in batches that are done": Cell(finished), "Batches": progress}
    tiles = {"Images": Cell(summary.images, words.number(summary.images), "#batches")}
    tiles |= {
        state.value.capitalize(): Cell(count, words.number(count), "#reasons" if state.value in summary.reasons else "")
        for state in State
        if (count := summary.states.get(state.value))
    }
    if summary.left:
        tiles["Left to later runs"] = Cell(summary.left, words.number(summary.left))
    tiles["Batches"] = progress
    seconds = (row.finished_at - row.started_at).total_seconds() if row.finished_at else 0
    if summary.images and seconds:
        tiles["Images a second"] = Cell(summary.images / seconds, words.number(summary.images / seconds))
    if summary.weights:
        tiles["Fetched"] = Cell(summary.weights.originals, words.size(summary.weights.originals))
        saved = summary.weights.saved / summary.weights.originals if summary.weights.originals else 0.0
        tiles["Saved"] = Cell(saved, words.share(saved), title=words.size(summary.weights.saved))
    return tiles
