"""What the database remembers of each node: how its last sync fared, and which images it lacks or holds wrongly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.dialects.mysql import insert

from imagesys_lib import changes
from imagesys_lib.db.engine import NOW, Row, read, write
from imagesys_lib.db.schema import lis_node_checks, lis_node_repairs, lis_nodes
from imagesys_lib.nodes import NodeFault

SCRUB = "scrub"
"""The kind of a check that reads files; any other kind looks at names and sizes."""

FOUND_BY_CHECKS = ("missing", "wrong_size", "extra", "damaged")
"""Reasons of repair that say nothing of what a node was ever given; sync's own reasons do."""


@dataclass(frozen=True)
class NodeRecord:
    """One node: its last fault ("" if it has none), images it is behind and images marked for repair."""

    fault: str
    synced_at: str | None
    backlog: int
    marked: int
    checked: Row | None


def record(engine: Engine, node: str, run_id: str | None = None) -> NodeRecord:
    """Return what is known of a node; ``run_id`` asks for the check of that run."""
    synced = read(engine, sa.select(lis_nodes.c.synced_at).where(lis_nodes.c.node == node))
    marks = sa.select(sa.func.count()).select_from(lis_node_repairs).where(lis_node_repairs.c.node == node)
    return NodeRecord(
        fault=fault_of(engine, node),
        synced_at=str(synced[0].synced_at) if synced and synced[0].synced_at else None,
        backlog=changes.backlog(engine, node),
        marked=int(read(engine, marks)[0][0]),
        checked=latest_check(engine, node, run_id),
    )


def fault_of(engine: Engine, node: str) -> str:
    """Return why a node is behind, "" if its last sync went well."""
    c = lis_nodes.c
    rows = read(engine, sa.select(c.fault, c.detail).where(c.node == node, c.fault.is_not(None)))
    return str(rows[0].detail or rows[0].fault) if rows else ""


def note(engine: Engine, node: str, fault: NodeFault | None) -> None:
    """Remember how a sync fared: report, status and explain name the cause from here."""
    values = {
        "fault": fault.reason if fault else None,
        "detail": str(fault)[:500] if fault else None,
        "updated_at": NOW,
        **({} if fault else {"synced_at": NOW}),
    }
    statement = insert(lis_nodes).values(node=node, **values).on_duplicate_key_update(**values)
    write(engine, lambda session: session.execute(statement))


def mark(engine: Engine, node: str, reasons: Mapping[str, str], *, keep: bool = False) -> None:
    """Mark images (hash to reason, at most 1,000) whose files on a node are missing or wrong.

    ``keep``: an image that is marked already keeps its reason.
    """
    rows = [{"node": node, "image_hash": image_hash, "reason": reason} for image_hash, reason in reasons.items()]
    if rows:
        statement = insert(lis_node_repairs).values(since=NOW)
        reason = lis_node_repairs.c.reason if keep else statement.inserted.reason
        statement = statement.on_duplicate_key_update(reason=reason)
        write(engine, lambda session: session.execute(statement, rows))


def unmark(engine: Engine, node: str, hashes: Sequence[str]) -> None:
    """Clear the marks of images that a node now holds as it should."""
    c = lis_node_repairs.c
    if hashes:
        statement = sa.delete(lis_node_repairs).where(c.node == node, c.image_hash.in_(hashes))
        write(engine, lambda session: session.execute(statement))


def marked_after(engine: Engine, node: str, after: str, limit: int) -> list[str]:
    """Return the next marked images of a node, in hash order."""
    c = lis_node_repairs.c
    query = sa.select(c.image_hash).where(c.node == node, c.image_hash > after).order_by(c.image_hash).limit(limit)
    return [row.image_hash for row in read(engine, query)]


def absent_files(findings: Mapping[str, int]) -> int:
    """Return how many files a check missed, whether the node had acknowledged them or not."""
    return findings.get("missing", 0) + findings.get("acked_absent", 0)


def latest_check(engine: Engine, node: str, run_id: str | None = None, *, scrub: bool = False) -> Row | None:
    """Return the newest check of a node (of one run, if given; or the newest scrub), or None."""
    c = lis_node_checks.c
    where = (c.node == node) & ((c.kind == SCRUB) if scrub else (c.kind != SCRUB))
    if run_id is not None:
        where &= c.run_id == run_id
    rows = read(engine, sa.select(lis_node_checks).where(where).order_by(c.check_id.desc()).limit(1))
    return rows[0] if rows else None
