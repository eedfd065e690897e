"""Report: one summary of a run, and the verdict whether work was lost.

Judged by the database alone, so that a report made again after repairs tells the truth again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import insert

from imagesys_lib import changes, node_records, runs
from imagesys_lib.context import Context
from imagesys_lib.db.engine import NOW, read, write
from imagesys_lib.db.schema import lis_batches, lis_images, lis_metrics
from imagesys_lib.runs import Kind, Run
from imagesys_lib.stages.purge import proposals
from imagesys_lib.stages.purge.delete import in_grace
from imagesys_lib.stages.purge.rules import FIGURES, live_of
from imagesys_lib.states import UNFINISHED, State, tally

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeState:
    """One node after a run: images it is behind (and of them this run's), marked for repair, and what the check saw.

    ``let_go`` of the marked ones were given up while it was behind, and it has yet to get them.
    """

    node: str
    backlog: int
    own_backlog: int
    marked: int
    fault: str | None = None
    files: int | None = None
    bytes: int | None = None
    missing: int | None = None
    part: str | None = None
    findings: dict[str, int] = field(default_factory=dict)
    let_go: int = 0


@dataclass(frozen=True)
class Summary:
    """What a run did, per outcome; ``lost`` names each loss with its remedy and is empty in a good run."""

    country: str
    run_id: str
    kind: str
    interval: str
    images: int
    states: dict[str, int]
    reasons: dict[str, dict[str, int]]
    batches: int
    unfinished: dict[int, int]
    nodes: dict[str, NodeState]
    lost: list[str]
    purge: dict[str, int] = field(default_factory=dict)
    proposal: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as ``lis_runs.summary`` keeps it."""
        return asdict(self)


def summarize(ctx: Context, run: Run, failed_tasks: Sequence[str] = ()) -> Summary:
    """Look the run up in the database and judge it. ``failed_tasks`` are tasks that the scheduler saw fail."""
    i, b = lis_images.c, lis_batches.c
    own = lis_images.join(lis_batches, b.batch_id == i.batch_id)
    query = (
        sa.select(i.state, i.reason, sa.func.count().label("images"))
        .select_from(own)
        .where(b.run_id == run.run_id)
        .group_by(i.state, i.reason)
    )
    states, reasons = tally(read(ctx.db, query))
    batches = read(ctx.db, sa.select(b.batch_id, b.seq, b.size).where(b.run_id == run.run_id).order_by(b.seq))
    unfinished = _unfinished(ctx, run)
    nodes = {name: _node(ctx, name, run) for name in ctx.config.nodes}
    summary = Summary(
        country=ctx.country,
        run_id=run.run_id,
        kind=run.kind.value,
        interval=str(run.interval),
        images=sum(row.size for row in batches),
        states=states,
        reasons=reasons,
        batches=len(batches),
        unfinished=unfinished,
        nodes=nodes,
        lost=[],
        purge=_purge(ctx, run),
        proposal=_proposal(ctx),
    )
    return replace(summary, lost=losses(summary, _ingested(ctx, run), failed_tasks))


def _purge(ctx: Context, run: Run) -> dict[str, int]:
    """Return what the run's purge unpublished and deleted, and how many images wait for their grace to end."""
    done = runs.figures(ctx.db, run.run_id, FIGURES)
    waiting = in_grace(ctx).total()
    return {**done, **({"in_grace": waiting} if waiting else {})}


def _proposal(ctx: Context) -> str:
    """Return the sentence about a purge that waits for a person; "" if none does."""
    found = proposals.waiting(ctx.db)
    if found is None:
        return ""
    return (
        f"Purge proposal {found.proposal_id} waits for an answer: {live_of(found.counts)} of {found.live} live images "
        f"are due. Answer in DAG imagesys_purge_approval or by `imagesys purge {ctx.country} --approve` (or --reject) "
        f"{found.proposal_id}."
    )


def _ingested(ctx: Context, run: Run) -> bool:
    row = runs.load(ctx.db, run.run_id)
    return row is not None and row.ingested_at is not None


def _unfinished(ctx: Context, run: Run) -> dict[int, int]:
    """Return images left to do, by the sequence number of their batch."""
    i, b = lis_images.c, lis_batches.c
    query = (
        sa.select(b.seq, sa.func.count().label("images"))
        .select_from(lis_batches.join(lis_images, i.batch_id == b.batch_id))
        .where(b.run_id == run.run_id, i.state.in_([state.value for state in UNFINISHED]))
        .group_by(b.seq)
        .order_by(b.seq)
    )
    return {row.seq: row.images for row in read(ctx.db, query)}


def _node(ctx: Context, name: str, run: Run) -> NodeState:
    known = node_records.record(ctx.db, name, run.run_id)
    checked = known.checked
    findings = dict(checked.findings) if checked else {}
    scrubbed = node_records.latest_check(ctx.db, name, run.run_id, scrub=True)
    findings |= scrubbed.findings if scrubbed else {}
    return NodeState(
        node=name,
        backlog=known.backlog,
        own_backlog=changes.backlog(ctx.db, name, run.run_id),
        marked=known.marked,
        fault=known.fault or None,
        files=checked.files if checked else None,
        bytes=checked.bytes if checked else None,
        missing=node_records.absent_files(findings) if checked else None,
        part=checked.part if checked else None,
        findings=findings,
        let_go=known.let_go,
    )


def losses(summary: Summary, ingested: bool, failed_tasks: Sequence[str]) -> list[str]:
    """Return what was lost, one sentence each with its remedy. Reasons of single images are never a loss."""
    found = []
    if not ingested:
        found.append(
            "The ETL's rows are not all in: ingest did not complete. Remedy: read the log of `ingest`, mend the "
            "ETL connection, then clear `ingest` with downstream."
        )
    for seq, images in summary.unfinished.items():
        found.append(
            f"Batch {seq} is unfinished: {images} images left. Remedy: read the log of process.download[{seq}] and "
            f"process.thumbnail[{seq}], then clear the failed one with downstream; or leave it to the next run."
        )
    for name, node in summary.nodes.items():
        if node.fault or node.own_backlog:
            cause = node.fault or f"Remedy: clear sync of {name}."
            found.append(f"Node {name} is behind by {node.backlog} images. {cause}")
        elif node.let_go and summary.kind != Kind.BACKFILL.value:  # which repairs nothing
            found.append(
                f"Node {name} lacks {node.let_go} images that were let go while it was behind. Remedy: clear repair of "
                f"{name}, or `imagesys repair --country {summary.country} --node {name}`."
            )
    # Of these stages the database knows better than a task's state whether anything was lost.
    judged = {"process.download", "process.thumbnail", "sync", "ingest"}
    for task in failed_tasks:
        if task.partition("[")[0] not in judged:
            found.append(f"Task {task} failed. Remedy: read its log, then clear it with downstream.")
    return found


def report(ctx: Context, run: Run, failed_tasks: Sequence[str] = ()) -> Summary:
    """Summarise a run, keep the summary and its metrics, and return it; the caller decides to fail on ``lost``."""
    summary = summarize(ctx, run, failed_tasks)
    runs.finish(ctx.db, run, "failed" if summary.lost else "success", summary.as_json())
    _keep_metrics(ctx, summary)
    log.info("%s", render(summary))
    return summary


def _keep_metrics(ctx: Context, summary: Summary) -> None:
    figures = {"images": summary.images, "batches": summary.batches, "lost": len(summary.lost)}
    figures |= {f"state.{state}": count for state, count in summary.states.items()}
    figures |= {f"backlog.{name}": node.backlog for name, node in summary.nodes.items()}
    rows = [{"run_id": summary.run_id, "name": name, "value": value} for name, value in figures.items()]
    statement = insert(lis_metrics).values(measured_at=NOW)
    statement = statement.on_duplicate_key_update(value=statement.inserted.value, measured_at=NOW)
    write(ctx.db, lambda session: session.execute(statement, rows))


def render(summary: Summary) -> str:
    """Return the summary as plain text for a log or a mail."""
    live = summary.states.get(State.LIVE.value, 0)
    lines = [
        f"{summary.country.upper()} {summary.kind} run {summary.run_id}, interval {summary.interval}",
        f"  {summary.images} images in {summary.batches} batches: {live} live",
    ]
    for state, reasons in sorted(summary.reasons.items()):
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items(), key=lambda r: -r[1]))
        lines.append(f"  {sum(reasons.values())} {state}: {told}")
    for name, node in summary.nodes.items():
        seen = "not checked" if node.files is None else f"{node.files} files, {node.missing} missing"
        seen += f" (part {node.part})" if node.part not in (None, "all") else ""
        seen += f", {node.findings['damaged']} found damaged" if node.findings.get("damaged") else ""
        gone = f" ({node.let_go} let go)" if node.let_go else ""
        lines.append(f"  {name}: {seen}, {node.backlog} images behind, {node.marked} marked for repair{gone}")
    if summary.purge:
        told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(summary.purge.items()))
        lines.append(f"  purge: {told}")
    if summary.proposal:
        lines.append(f"  {summary.proposal}")
    if summary.lost:
        lines += ["  WORK LOST:", *(f"  - {loss}" for loss in summary.lost)]
    else:
        lines.append("  Nothing was lost.")
    return "\n".join(lines)
