"""Nodes, as a report tells them: how far each is behind, what was found wrong on it and what was done about that."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import sqlalchemy as sa

from imagesys_lib.config.intervals import UTC
from imagesys_lib.context import Context
from imagesys_lib.db.engine import Row, database_now, read
from imagesys_lib.db.schema import lis_node_checks, lis_runs
from imagesys_lib.replication import change_log, node_records
from imagesys_lib.replication.node_records import CHECK_FIGURES, REPAIR_FIGURES
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run
from imagesys_lib.stages.check.db_scan import LIVE_TABLE

_FULL_CHECK_DAYS = 8
"""How long a weekly check is reported: until the next one has ended, and a day more."""


@dataclass(frozen=True)
class NodeState:
    """One node after a run: images it is behind (and of them this run's), marked for repair, and what checks saw.

    ``files`` and ``bytes`` are those of the newest check; ``findings`` (of them ``missing`` files) what any check of
    the run has found, ``repaired`` what its repairs did about that: images ``restored``, files ``deleted``, images
    ``requeued`` and ``waiting``, and ``refused``, left alone as they are too many. ``behind_hours``: how long the
    oldest change waits for it. ``not_staged`` of the marked ones were not staged any more when it synced.
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
    not_staged: int = 0
    behind_hours: float | None = None
    repaired: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class FullCheck:
    """A check of all of a node, or of the live table, that was no daily run's. ``day`` is local.

    ``files`` are as the end of it saw them (rows of the live table), findings and repairs those of all of it.
    """

    day: str
    files: int
    findings: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)


def node_state(ctx: Context, name: str, run: Run) -> NodeState:
    """Read how a node stands after a run."""
    known = node_records.node_record(ctx.db, name, run.run_id)
    findings = _figures(ctx, CHECK_FIGURES, name, run.run_id)
    behind = change_log.behind_since(ctx.db, name)
    return NodeState(
        node=name,
        backlog=known.backlog,
        own_backlog=change_log.backlog(ctx.db, name, run.run_id),
        marked=known.marked,
        fault=known.fault,
        files=known.files,
        bytes=known.bytes,
        missing=None if known.files is None else node_records.absent_files(findings),
        part=known.part,
        findings=findings,
        not_staged=known.not_staged,
        behind_hours=None if behind is None else round(behind / 3600, 1),
        repaired=_figures(ctx, REPAIR_FIGURES, name, run.run_id),
    )


def full_checks(ctx: Context) -> dict[str, FullCheck]:
    """Return the newest full check of each node, and that of the live table, if they are of the last days."""
    since = database_now(ctx.db) - dt.timedelta(days=_FULL_CHECK_DAYS)
    newest = {name: _newest(ctx, name, since) for name in (*ctx.config.nodes, LIVE_TABLE)}
    return {name: _full_check(ctx, name, row) for name, row in newest.items() if row is not None}


def _newest(ctx: Context, name: str, since: dt.datetime) -> Row | None:
    """Return the weekly check's newest row, else that of one by hand. Daily ones may be full as well."""
    k, r = lis_node_checks.c, lis_runs.c
    daily = sa.select(r.run_id).where(r.run_id == k.run_id).exists()
    query = (
        sa.select(k.run_id, k.checked_at, k.files, k.findings)
        .where(k.node == name, k.kind.in_(["full", "db_scan"]), k.checked_at >= since, ~daily)
        .order_by(k.run_id.is_(None), k.check_id.desc())
        .limit(1)
    )
    rows = read(ctx.db, query)
    return rows[0] if rows else None


def _full_check(ctx: Context, name: str, row: Row) -> FullCheck:
    found, repaired = (
        _figures(ctx, prefix, name, row.run_id) if row.run_id else {} for prefix in (CHECK_FIGURES, REPAIR_FIGURES)
    )
    day = row.checked_at.replace(tzinfo=UTC).astimezone(ctx.config.zone)
    return FullCheck(f"{day:%Y-%m-%d}", row.files, {**row.findings, **found}, repaired)


def _figures(ctx: Context, prefix: str, name: str, run_id: str) -> dict[str, int]:
    return runs.figures(ctx.db, run_id, f"{prefix}{name}.")
