"""Rows about what is long past go once they are older than ``retention`` says.

Each table is walked from its oldest row on, a page at a time, each page in a transaction of its own that looks once
more: a batch that is taken up again in that moment stays.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from imagesys_lib.config import load_config
from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, Row, beyond, from_now, read, write
from imagesys_lib.db.schema import (
    lis_batches,
    lis_change_acks,
    lis_changes,
    lis_incidents,
    lis_mails,
    lis_messages,
    lis_metrics,
    lis_node_checks,
    lis_runs,
)
from imagesys_lib.images.states import work_left

log = logging.getLogger(__name__)

_SECONDS = 120
"""For each table: a country that has years to prune does it in several days, and its run never waits for it."""

_ALSO_SHARED = ("mails", "given_up_mails", "incidents")


@dataclass(frozen=True)
class PrunedRows:
    """Rows deleted (in a dry run: that would be). ``unfinished``: tables with more of them than time."""

    runs: int
    batches: int
    metrics: int
    node_checks: int
    changes: int
    mails: int
    incidents: int
    messages: int
    given_up_mails: int = 0
    unfinished: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Old:
    """The rows of one table that may go: those with ``instant`` of so many days ago of which ``where`` holds."""

    instant: sa.Column[Any]
    days: int
    where: sa.ColumnElement[bool] = field(default_factory=sa.true)
    page: int = CHUNK

    @property
    def table(self) -> sa.Table:
        return self.instant.table

    @property
    def key(self) -> tuple[sa.Column[Any], ...]:
        return tuple(self.table.primary_key.columns)

    @property
    def due(self) -> sa.ColumnElement[bool]:
        return (self.instant < from_now(-self.days * 86_400)) & self.where

    def after(self, last: Row | None) -> Sequence[sa.ColumnElement[bool]]:
        """Return the condition for the next page; rows are (instant, key...)."""
        return [beyond((self.instant, *self.key), tuple(last))] if last is not None else []

    def these(self, rows: Sequence[Row]) -> sa.ColumnElement[bool]:
        """Return the condition that finds exactly these rows by the primary key."""
        keys = [tuple(row)[1:] for row in rows]
        if len(self.key) == 1:
            return self.key[0].in_([value for (value,) in keys])
        # Spelt out, as MariaDB uses no index range for a list of rows.
        return sa.or_(*(sa.and_(*(c == v for c, v in zip(self.key, key, strict=True))) for key in keys))


def _tables(ctx: Context) -> dict[str, _Old]:
    """Return what may go, by its name; batches before the runs that they belong to."""
    keep, b, r = ctx.config.retention, lis_batches.c, lis_runs.c
    # By a key of each batch: MariaDB turns NOT EXISTS into a table of all runs.
    run_state = sa.select(r.state).where(r.run_id == b.run_id).correlate(lis_batches).scalar_subquery()
    is_over = sa.func.coalesce(run_state, "") != "running"
    # Images may go on naming a batch that is gone: its number is never given again, and none of them has work left.
    over = b.state.in_(["done", "released"]) & is_over & ~work_left(b.batch_id)
    empty = (r.state != "running") & ~sa.exists().where(b.run_id == r.run_id)
    acks = max(1, len(ctx.config.nodes))
    return {
        "changes": _Old(lis_changes.c.settled_at, keep.changes, page=CHUNK // acks),
        "batches": _Old(b.updated_at, keep.batches, over),
        "runs": _Old(r.started_at, keep.runs, empty),
        "metrics": _Old(lis_metrics.c.measured_at, keep.metrics),
        "node_checks": _Old(lis_node_checks.c.checked_at, keep.node_checks),
        "mails": _Old(lis_mails.c.sent_at, keep.mails),
        "given_up_mails": _Old(lis_mails.c.given_up_at, keep.mails),
        "incidents": _Old(lis_incidents.c.resolved_at, keep.mails),
        "messages": _Old(lis_messages.c.noted_at, keep.mails),
    }


def prune_rows(ctx: Context, *, dry_run: bool = False) -> PrunedRows:
    """Delete old rows, of a country and of what is shared, for at most two minutes a table: the rest goes another day.

    What is shared is kept for the longest that any country says.
    """
    counts: Counter[str] = Counter()
    unfinished = []
    tables = _tables(ctx)
    longest = max(config.retention.mails for config in load_config().values())
    shared = [(name, ctx.shared, replace(tables[name], days=longest)) for name in _ALSO_SHARED]
    for name, db, old in [*((name, ctx.db, old) for name, old in tables.items()), *shared]:
        count, done = _prune(ctx, db, old, dry_run)
        counts[name] += count
        if not done:
            unfinished.append(name)
    pruned = PrunedRows(**counts, unfinished=unfinished)
    log.info("%s: old rows%s: %s", ctx.country.upper(), " (dry run)" if dry_run else "", pruned)
    return pruned


def _prune(ctx: Context, db: Engine, old: _Old, dry_run: bool) -> tuple[int, bool]:
    """Delete old rows of one table; return how many, and whether these were all."""
    until = time.monotonic() + _SECONDS
    count = 0
    last: Row | None = None
    while time.monotonic() < until:
        ctx.give_way()
        order = (old.instant, *old.key)
        rows = read(db, sa.select(*order).where(old.due, *old.after(last)).order_by(*order).limit(old.page))
        if rows:
            last = rows[-1]
            count += (
                len(rows) if dry_run else write(db, lambda connection, rows=rows: _delete(connection, old, rows))  # type: ignore[misc]
            )
        if len(rows) < old.page:
            return count, True
    return count, False


def _delete(connection: Connection, old: _Old, rows: Sequence[Row]) -> int:
    """Delete those of ``rows`` that may still go, and the acknowledgements of changes that are gone."""
    count = connection.execute(sa.delete(old.table).where(old.these(rows), old.due)).rowcount
    if old.table is lis_changes:
        a, gone = lis_change_acks.c, ~sa.exists().where(lis_changes.c.change_id == lis_change_acks.c.change_id)
        connection.execute(sa.delete(lis_change_acks).where(a.change_id.in_([tuple(row)[1] for row in rows]), gone))
    return count
