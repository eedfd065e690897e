"""What the report of a run kept, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy import Engine

from imagesys_lib.context import Context
from imagesys_lib.dashboard import words
from imagesys_lib.dashboard.addresses import country_link, dag_of, task_link
from imagesys_lib.dashboard.tables import Cell, Column, Entry, Kind, Table, Tone
from imagesys_lib.db.engine import CHUNK, Row, read
from imagesys_lib.db.schema import lis_batches, lis_images
from imagesys_lib.images.reasons import reason_for
from imagesys_lib.images.states import State, outcome
from imagesys_lib.replication.node_records import ABSENT_KINDS
from imagesys_lib.stages.report import FullCheck, NodeState, Summary
from imagesys_lib.stages.report.summary import compared_figures
from imagesys_lib.stages.report.trend import BYTES_SAVED, is_unusual
from imagesys_lib.stages.report.words import label

_SAMPLES = 3
_WITH_REASON = (State.FAILED, State.REJECTED, State.QUARANTINED)


def of_summary(ctx: Context, summary: Summary) -> list[Table]:
    """Return all of them, those without rows left out where nobody misses them."""
    tables = [
        _reasons(ctx.db, summary),
        nodes_table(ctx, summary),
        _full_checks(summary),
        _done(summary),
        _bad_rows(summary),
    ]
    optional = {"full-checks", "done", "rows"}
    compared = [_figures(summary)] if summary.medians else []
    return [*(table for table in tables if table.rows or table.name not in optional), *compared]


def _reasons(db: Engine, summary: Summary) -> Table:
    columns = (
        Column("reason", "Reason", Kind.CODE),
        Column("outcome", "Outcome"),
        Column("images", "Images", Kind.NUMBER),
        Column("meaning", "Meaning", wide=True),
        Column("samples", "Samples", Kind.CODE, wide=True),
    )
    counts = [(code, state, count) for state, codes in summary.reasons.items() for code, count in codes.items()]
    samples = _samples(db, summary.run_id) if counts else {}
    rows = tuple(
        (
            Cell(code),
            outcome(state),
            count,
            reason_meaning(code),
            Cell(parts=tuple(_sample(row) for row in samples.get(code, ()))),
        )
        for code, state, count in sorted(counts, key=lambda one: (-one[2], one[0]))
    )
    return Table("reasons", "Reasons", columns, rows, empty="Every image went well.")


def reason_meaning(code: str) -> str:
    """Return what a reason's code means; "" for one of another release."""
    try:
        return reason_for(code).help
    except KeyError:
        return ""


def _sample(row: Row) -> Cell:
    return Cell(
        row.image_hash, row.image_url if len(row.image_url) < 90 else f"{row.image_url[:88]}…", title=row.detail or ""
    )


def _samples(db: Engine, run_id: str) -> dict[str, list[Row]]:
    """Return a few images of each reason, from the run's first thousand that have any."""
    i, b = lis_images.c, lis_batches.c
    query = (
        sa.select(i.image_hash, i.image_url, i.reason, i.detail)
        .select_from(lis_batches.join(lis_images, i.batch_id == b.batch_id))
        .where(b.run_id == run_id, i.state.in_([state.value for state in _WITH_REASON]))
        .limit(CHUNK)
    )
    found: dict[str, list[Row]] = {}
    for row in read(db, query):
        some = found.setdefault(row.reason or "", [])
        if len(some) < _SAMPLES:
            some.append(row)
    return found


def nodes_table(ctx: Context, summary: Summary) -> Table:
    """Return nodes and the staging disk as a report has them."""
    columns = (
        Column("node", "Node"),
        Column("state", "State"),
        Column("backlog", "Backlog", Kind.NUMBER, "Images that it has yet to bring to their desired state"),
        Column("behind", "Behind for", Kind.SECONDS),
        Column("marked", "Marked for repair", Kind.NUMBER),
        Column("files", "Files", Kind.NUMBER),
        Column("bytes", "Bytes", Kind.BYTES),
        Column("missing", "Missing", Kind.NUMBER),
        Column("findings", "Other findings"),
        Column("repaired", "Repaired"),
        Column("free", "Free", Kind.BYTES),
        Column("full_in_days", "At its floor in days", Kind.NUMBER),
    )
    indexes = {name: index for index, name in enumerate(ctx.config.nodes)}
    rows = tuple(
        (
            Cell(name, link=task_link(dag_of(ctx.country), summary.run_id, "sync", indexes[name]), airflow=True)
            if name in indexes
            else Cell(name),
            *_node(node),
            *_disk(summary, name),
        )
        for name, node in summary.nodes.items()
    )
    staging = (
        (("staging", *[None] * (len(columns) - 3), *_disk(summary, "staging")),) if "staging" in summary.disks else ()
    )
    return Table("nodes", "Nodes and disks", columns, (*rows, *staging), note="As they were when the report was made.")


def _node(node: NodeState) -> Iterator[Entry]:
    tone, word = (
        (Tone.BAD, node.fault) if node.fault else (Tone.WARN, "behind") if node.backlog else (Tone.GOOD, "well")
    )
    yield Cell(word, tone=tone)
    yield node.backlog
    yield None if node.behind_hours is None else 3600 * node.behind_hours
    yield node.marked
    yield node.files
    yield node.bytes
    yield node.missing
    yield named_counts({kind: count for kind, count in node.findings.items() if kind not in ABSENT_KINDS})
    yield named_counts(node.repaired)


def _disk(summary: Summary, name: str) -> tuple[Entry, Entry]:
    disk = summary.disks.get(name)
    if disk is None:
        return None, None
    days = disk.full_in_days
    return disk.free_bytes, None if days is None else Cell(round(days, 1), f"{days:.0f}")


def named_counts(counts: dict[str, int]) -> str:
    """Return ``3 extra, 1 damaged``, without zeros; "" for none."""
    return ", ".join(f"{words.number(count)} {name.replace('_', ' ')}" for name, count in counts.items() if count)


def _full_checks(summary: Summary) -> Table:
    columns = (
        Column("of", "Full check of"),
        Column("day", "Day"),
        Column("files", "Looked at", Kind.NUMBER),
        Column("findings", "Found"),
        Column("repaired", "Repaired"),
    )

    def row(name: str, check: FullCheck) -> tuple[Entry, ...]:
        found = named_counts(check.findings)
        well = Cell(found or "nothing wrong", tone=Tone.WARN if found else Tone.GOOD)
        return name.replace("_", " "), check.day, check.files, well, named_counts(check.repaired)

    rows = tuple(row(name, check) for name, check in summary.full_checks.items())
    return Table("full-checks", "Weekly full checks", columns, rows)


def _done(summary: Summary) -> Table:
    columns = (Column("stage", "Stage"), Column("what", "What"), Column("count", "Count", Kind.NUMBER))
    found = [("purge", name, count) for name, count in summary.purge.items()]
    found += [("heal", name, count) for name, count in summary.healed.items()]
    found += [("data sources", name, count) for name, count in summary.sources.items()]
    found += [("fetch", "ended_at_one_address", summary.same_target)]
    rows: tuple[tuple[Entry, ...], ...] = tuple(
        (stage, name.replace("_", " "), count) for stage, name, count in found if count
    )
    return Table("done", "What else it did", columns, rows)


def _bad_rows(summary: Summary) -> Table:
    columns = (
        Column("stage", "Stage"),
        Column("skipped", "Skipped", Kind.NUMBER),
        Column("cut", "Cut", Kind.NUMBER),
        Column("samples", "Samples", Kind.CODE, wide=True),
    )
    rows = tuple(
        (stage, found["skipped"], found["cut"], Cell(parts=tuple(Cell(text) for text in found["samples"][:_SAMPLES])))
        for stage, found in summary.bad_rows.items()
    )
    return Table("rows", "Rows of the ETL that cannot be read as they are", columns, rows)


def _figures(summary: Summary) -> Table:
    """Return what the report compares, beside the median of the runs before it."""
    columns = (
        Column("figure", "Figure"),
        Column("value", "This run", Kind.NUMBER),
        Column("median", f"Median of {summary.earlier_runs} earlier", Kind.NUMBER),
    )
    figures = compared_figures(summary)
    rows = tuple(
        _figure(summary.country, name, figures.get(name, 0), summary.medians.get(name))
        for name in _order(figures, summary)
    )
    return Table("figures", f"Beside earlier {summary.kind} runs", columns, rows)


def _order(figures: dict[str, int], summary: Summary) -> Sequence[str]:
    return sorted({name for name in (*figures, *summary.medians) if figures.get(name) or summary.medians.get(name)})


def _figure(country: str, name: str, value: int, median: float | None) -> tuple[Entry, ...]:
    unusual = median is not None and is_unusual(name, value, median)
    write = words.size if name == BYTES_SAVED or name.startswith("free.") else words.number
    tone = Tone.WARN if unusual else Tone.NONE
    return (
        Cell(name, label(name), country_link(country, "runs")),
        Cell(value, write(value) + (", unusual" if unusual else ""), tone=tone),
        None if median is None else Cell(median, write(median)),
    )
