"""A country's figures of this moment, each from some rows: none counts through a table of images."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Engine

from imagesys_lib.alerts.incidents import IncidentKind
from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, NOW, read
from imagesys_lib.db.schema import lis_images, lis_incidents, lis_live_images, lis_mails, lis_nodes
from imagesys_lib.images.states import State
from imagesys_lib.replication import change_log
from imagesys_lib.runs import runs
from imagesys_lib.stages.purge import proposals
from imagesys_lib.stages.report import DiskForecast, kept

_DUE = (State.NEW, State.FAILED)


@dataclass(frozen=True)
class Count:
    """A number; ``least``: there are more, which nobody has counted; ``about``: it is the server's own estimate."""

    value: int
    least: bool = False
    about: bool = False


@dataclass(frozen=True)
class NodeNow:
    """A node: was it ever synced, why its last sync failed, how many seconds its oldest open change has waited."""

    known: bool
    fault: str | None
    behind: float | None


@dataclass(frozen=True)
class Figures:
    """One country now. ``disks`` are as the last report had them; ``sources`` are those that are left alone."""

    live: Count
    due: Count
    oldest_due: dt.datetime | None
    nodes: dict[str, NodeNow]
    disks: dict[str, DiskForecast]
    incidents: int
    sources: int
    mails: int
    proposals: int


def figures_now(ctx: Context) -> Figures:
    """Read them. Raises as :func:`imagesys_lib.db.engine.read` does."""
    db = ctx.db
    due, oldest = _due(db)
    kinds = _open_incidents(db)
    last = runs.latest_ended(db)
    summary = kept(last) if last else None
    faults = {row.node: row.fault for row in read(db, sa.select(lis_nodes.c.node, lis_nodes.c.fault))}
    return Figures(
        live=_live(db),
        due=due,
        oldest_due=oldest,
        nodes={
            name: NodeNow(name in faults, faults.get(name), change_log.behind_since(db, name))
            for name in ctx.config.nodes
        },
        disks=summary.disks if summary else {},
        incidents=sum(kinds.values()),
        sources=kinds.get(IncidentKind.SOURCE.value, 0),
        mails=_unsent(db),
        proposals=1 if proposals.waiting(db) else 0,
    )


def _live(db: Engine) -> Count:
    """Return the number of live images; beyond a thousand as the server estimates it, which MySQL does daily."""
    exact = _bounded(db, sa.select(lis_live_images.c.image_hash))
    if not exact.least:
        return exact
    tables = sa.table("tables", sa.column("table_rows"), sa.column("table_schema"), sa.column("table_name"))
    tables.schema = "information_schema"
    c = tables.c
    query = sa.select(c.table_rows).where(c.table_schema == sa.func.database(), c.table_name == lis_live_images.name)
    return Count(max(int(read(db, query)[0][0] or 0), exact.value), about=True)


def _due(db: Engine) -> tuple[Count, dt.datetime | None]:
    """Return how many images a run would take now, and since when the oldest is due."""
    i = lis_images.c
    counts, oldest = [], []
    for state in _DUE:
        due = (i.state == state.value) & (i.next_attempt_at <= NOW)
        counts.append(_bounded(db, sa.select(i.image_id).where(due)))
        first = sa.select(i.next_attempt_at).where(due).order_by(i.next_attempt_at).limit(1)
        oldest += [row.next_attempt_at for row in read(db, first)]
    whole = Count(sum(count.value for count in counts), least=any(count.least for count in counts))
    return whole, min(oldest, default=None)


def _bounded(db: Engine, query: sa.Select[tuple[object]]) -> Count:
    """Count up to a thousand rows."""
    some = query.limit(CHUNK + 1).subquery()
    found = int(read(db, sa.select(sa.func.count()).select_from(some))[0][0])
    return Count(min(found, CHUNK), least=found > CHUNK)


def _open_incidents(db: Engine) -> dict[str, int]:
    c = lis_incidents.c
    query = sa.select(c.kind, sa.func.count().label("number")).where(c.is_open == 1).group_by(c.kind)
    return {row.kind: row.number for row in read(db, query)}


def _unsent(db: Engine) -> int:
    c = lis_mails.c
    waiting = sa.select(sa.func.count()).select_from(lis_mails).where(c.sent_at.is_(None), c.given_up_at.is_(None))
    return int(read(db, waiting)[0][0])
