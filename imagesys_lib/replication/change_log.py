"""The change log: which images' desired state changed, and which node has applied it.

A change is a row of ``lis_changes``; its images are those whose ``change_id`` is that row. An image belongs to its
newest change alone, so an older change that a node has not seen yet holds only what still matters, and the newest
intent always wins, in whatever order changes commit or nodes apply them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.mysql import insert

from imagesys_lib.db.engine import CHUNK, NOW, Row, from_now, read, seconds_until, write
from imagesys_lib.db.schema import lis_batches, lis_change_acks, lis_changes, lis_images
from imagesys_lib.images.states import Desired


def record(connection: Connection) -> int:
    """Record a change and return its id, which the caller sets on at most 1,000 images in one transaction with this."""
    return int(connection.execute(sa.insert(lis_changes).values(created_at=NOW)).lastrowid)


def is_open(change_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Return the SQL condition that a change is open: some node has yet to apply it."""
    c = lis_changes.c
    return sa.select(c.change_id).where(c.change_id == change_id, c.settled_at.is_(None)).exists()


def acknowledged_by(node: str, change_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Return the condition that ``node`` has acknowledged a change."""
    c = lis_change_acks.c
    return sa.select(c.change_id).where(c.change_id == change_id, c.node == node).exists()


def open_for(node: str) -> sa.ColumnElement[bool]:
    """Return the condition that a change is open and not acknowledged by ``node``.

    By a key of each open change: MariaDB turns NOT EXISTS into a table of all that the node has ever acknowledged.
    """
    ack = lis_change_acks.c
    acked = sa.select(ack.change_id).where(ack.change_id == lis_changes.c.change_id, ack.node == node)
    return sa.and_(lis_changes.c.settled_at.is_(None), acked.correlate(lis_changes).scalar_subquery().is_(None))


def pending(engine: Engine, node: str, limit: int = 100, *, after: int = 0, hours: float = 0) -> list[int]:
    """Return the oldest changes (of those after the change ``after``) that ``node`` has not acknowledged.

    ``hours`` leaves those out that were made so lately.
    """
    c = lis_changes.c
    query = sa.select(c.change_id).where(open_for(node), c.change_id > after).order_by(c.change_id).limit(limit)
    if hours:
        query = query.where(c.created_at < from_now(-round(hours * 3600)))
    return [row.change_id for row in read(engine, query)]


@dataclass(frozen=True)
class Group:
    """Changes to be applied together, oldest first, and the images that they still speak of."""

    change_ids: list[int]
    images: list[Row]


def groups(engine: Engine, node: str) -> Iterator[Group]:
    """Yield the changes that ``node`` has not acknowledged, oldest first, in groups of at most 1,000 images."""
    after = 0
    while waiting := pending(engine, node, CHUNK, after=after):
        group = group_of(engine, waiting)
        after = group.change_ids[-1]
        yield group


def behind_since(engine: Engine, node: str) -> float | None:
    """Return for how many seconds the oldest change that ``node`` has not acknowledged has waited; None if none."""
    c = lis_changes.c
    waited = -seconds_until(c.created_at)
    rows = read(engine, sa.select(waited).where(open_for(node)).order_by(c.change_id).limit(1))
    return float(rows[0][0]) if rows else None


def backlog(engine: Engine, node: str, run_id: str | None = None) -> int:
    """Return how many images ``node`` has yet to bring to their desired state.

    ``run_id``: of that run's batches those alone that the node should hold; that one be deleted is no wish of that run.
    """
    source: sa.FromClause = lis_changes.join(lis_images, lis_images.c.change_id == lis_changes.c.change_id)
    where = open_for(node)
    if run_id is not None:
        source = source.join(lis_batches, lis_batches.c.batch_id == lis_images.c.batch_id)
        where &= (lis_batches.c.run_id == run_id) & (lis_images.c.desired == Desired.PRESENT.value)
    return int(read(engine, sa.select(sa.func.count()).select_from(source).where(where))[0][0])


def group_of(engine: Engine, change_ids: list[int]) -> Group:
    """Return the first of these changes, given in order, that have at most 1,000 images together.

    Its images are rows of (image_id, image_hash, state, desired, thumbs, change_id).
    """
    c = lis_images.c
    query = sa.select(c.image_id, c.image_hash, c.state, c.desired, c.thumbs, c.change_id)
    some = change_ids[:CHUNK]
    rows = read(engine, query.where(c.change_id.in_(some)).order_by(c.change_id, c.image_id).limit(CHUNK))
    if len(rows) == CHUNK:  # the last change may be cut off, unless it is alone: none has more than that
        last = rows[-1].change_id - (rows[-1].change_id != rows[0].change_id)
        some = [change_id for change_id in some if change_id <= last]
        rows = [row for row in rows if row.change_id <= last]
    return Group(some, sorted(rows, key=lambda row: str(row.image_hash)))


def acknowledge(engine: Engine, node: str, change_ids: list[int]) -> None:
    """Record that ``node`` has applied these changes."""
    statement = insert(lis_change_acks).values(acked_at=NOW)
    statement = statement.on_duplicate_key_update(acked_at=lis_change_acks.c.acked_at)
    rows = [{"change_id": change_id, "node": node} for change_id in change_ids]
    write(engine, lambda connection: connection.execute(statement, rows))


def ready_to_settle(engine: Engine, nodes: tuple[str, ...]) -> list[int]:
    """Return open changes that every node has acknowledged."""
    acks = (
        sa.select(sa.func.count())
        .select_from(lis_change_acks)
        .where(lis_change_acks.c.change_id == lis_changes.c.change_id, lis_change_acks.c.node.in_(nodes))
        .scalar_subquery()
    )
    query = (
        sa.select(lis_changes.c.change_id)
        .where(lis_changes.c.settled_at.is_(None), acks >= len(nodes))
        .order_by(lis_changes.c.change_id)
        .limit(CHUNK)
    )
    return [row.change_id for row in read(engine, query)]


def settle(engine: Engine, change_ids: list[int]) -> None:
    """Close changes that every node has applied and whose staged files are gone."""
    statement = sa.update(lis_changes).where(lis_changes.c.change_id.in_(change_ids)).values(settled_at=NOW)
    write(engine, lambda connection: connection.execute(statement))
