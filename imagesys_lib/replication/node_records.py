"""What the database remembers of each node: how its last sync fared, and which images it lacks or holds wrongly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.dialects.mysql import insert

from imagesys_lib.db.engine import NOW, Row, from_now, read, write
from imagesys_lib.db.schema import (
    lis_change_acks,
    lis_images,
    lis_node_checks,
    lis_node_repairs,
    lis_nodes,
)
from imagesys_lib.images.states import Desired, State
from imagesys_lib.nodes import NodeFault
from imagesys_lib.replication import change_log

SCRUB = "scrub"
"""The kind of a check that reads files; any other kind compares names and sizes."""

NOT_A_FILE = "not_a_file"
"""Reason of a mark: on the node something else bears the name of one of the image's files."""

FOUND_BY_CHECKS = ("missing", "wrong_size", "extra", "damaged", NOT_A_FILE)
"""Reasons of repair that say nothing of what a node was ever given; sync's own reasons do."""

EXTRA = "extra"
"""Reason of a mark: the node has files of the image that nothing wants. Its own files it may well have."""

NOT_STAGED = "not_staged"
"""Reason of a mark: the image's change was acknowledged, but its files had gone from staging before it was brought."""

FREE_FIGURES = "free."
"""How the names of the free bytes of nodes and of the staging disk, among the figures of a run, begin."""

CHECK_FIGURES, REPAIR_FIGURES = "check.", "repair."
"""How the names of what checks found and repairs did begin, among the figures of a run: ``check.<node>.<kind>``."""

ABSENT_KINDS = ("missing", "acked_absent")
"""Kinds of findings of files that are not there: a report has their sum."""

_MAYBE_LACKING = (NOT_STAGED, NOT_A_FILE)


@dataclass(frozen=True)
class NodeRecord:
    """One node: images it is behind, and marked for repair (of them not staged), its last fault and last check."""

    backlog: int
    marked: int
    not_staged: int
    fault: str | None
    synced_at: str | None
    part: str | None
    files: int | None
    bytes: int | None
    findings: dict[str, int]


def node_record(engine: Engine, node: str, run_id: str | None = None) -> NodeRecord:
    """Return what is known of a node; ``run_id`` asks for the check of that run."""
    synced = read(engine, sa.select(lis_nodes.c.synced_at).where(lis_nodes.c.node == node))
    checked = latest_check(engine, node, run_id)
    return NodeRecord(
        backlog=change_log.backlog(engine, node),
        marked=count_marks(engine, node),
        not_staged=count_marks(engine, node, NOT_STAGED),
        fault=sync_fault(engine, node) or None,
        synced_at=str(synced[0].synced_at) if synced and synced[0].synced_at else None,
        part=checked.part if checked else None,
        files=checked.files if checked else None,
        bytes=checked.bytes if checked else None,
        findings=checked.findings if checked else {},
    )


def sync_fault(engine: Engine, node: str) -> str:
    """Return why a node is behind, "" if its last sync went well."""
    c = lis_nodes.c
    rows = read(engine, sa.select(c.fault, c.detail).where(c.node == node, c.fault.is_not(None)))
    return str(rows[0].detail or rows[0].fault) if rows else ""


def note_sync(engine: Engine, node: str, fault: NodeFault | None) -> None:
    """Remember how a sync fared: report, status and explain name the cause from here."""
    values = {
        "fault": fault.reason if fault else None,
        "detail": str(fault)[:500] if fault else None,
        "updated_at": NOW,
        **({} if fault else {"synced_at": NOW}),
    }
    _keep(engine, node, values)


def _keep(engine: Engine, node: str, values: Mapping[str, object]) -> None:
    statement = insert(lis_nodes).values(node=node, **values).on_duplicate_key_update(**values)
    write(engine, lambda connection: connection.execute(statement))


def identity_of(engine: Engine, node: str) -> str | None:
    """Return the UUID of the disk of which it is known what it holds, None if of none."""
    rows = read(engine, sa.select(lis_nodes.c.identity).where(lis_nodes.c.node == node))
    return rows[0].identity if rows else None


def set_identity(engine: Engine, node: str, identity: str | None) -> None:
    """Remember the disk of which it is known what it holds; or, with None, that of none it is."""
    _keep(engine, node, {"identity": identity, "updated_at": NOW})


def is_strange(engine: Engine, node: str, identity: str) -> bool:
    """Say whether a node with this disk may lack more than its own changes, still open, will bring.

    It may if another disk was there before, and if it is new while images are live that no open change will bring.
    """
    known, i = identity_of(engine, node), lis_images.c
    if known is not None:
        return known != identity
    closed = sa.select(i.image_id).where(i.state == State.LIVE.value, ~change_log.is_open(i.change_id)).limit(1)
    return bool(read(engine, closed))


def mark(engine: Engine, node: str, reasons: Mapping[str, str], *, keep: bool = False) -> None:
    """Mark images (hash to reason, at most 1,000) whose files on a node are missing or wrong.

    With ``keep`` one that is marked already keeps its reason, unless that is ``extra``, which says nothing of its own
    files.
    """
    rows = [{"node": node, "image_hash": image_hash, "reason": reason} for image_hash, reason in reasons.items()]
    statement = insert(lis_node_repairs).values(since=NOW)
    was = lis_node_repairs.c.reason
    newer = statement.inserted.reason
    reason = sa.func.if_(was == sa.literal_column(f"'{EXTRA}'"), newer, was) if keep else newer
    if rows:
        write(engine, lambda connection: connection.execute(statement.on_duplicate_key_update(reason=reason), rows))


def unmark(engine: Engine, node: str, hashes: Sequence[str]) -> None:
    """Clear the marks of images that a node now holds as it should."""
    c = lis_node_repairs.c
    if hashes:
        statement = sa.delete(lis_node_repairs).where(c.node == node, c.image_hash.in_(hashes))
        write(engine, lambda connection: connection.execute(statement))


def marked_after(engine: Engine, node: str, after: str, limit: int) -> dict[str, str]:
    """Return the next marked images of a node and why they are marked, in hash order."""
    c = lis_node_repairs.c
    query = sa.select(c.image_hash, c.reason).where(c.node == node, c.image_hash > after)
    return {row.image_hash: row.reason for row in read(engine, query.order_by(c.image_hash).limit(limit))}


def marked_lately(engine: Engine, node: str, hashes: Sequence[str], hours: float) -> set[str]:
    """Return which of these images (at most 1,000) have been marked on a node for less than so many hours."""
    c = lis_node_repairs.c
    where = (c.node == node) & c.image_hash.in_(hashes) & (c.since > from_now(-round(hours * 3600)))
    return {row.image_hash for row in read(engine, sa.select(c.image_hash).where(where))}


def count_marks(engine: Engine, node: str, reason: str | None = None) -> int:
    """Return how many images are marked on a node (for one reason, if given)."""
    c = lis_node_repairs.c
    where = c.node == node if reason is None else (c.node == node) & (c.reason == reason)
    return int(read(engine, sa.select(sa.func.count()).select_from(lis_node_repairs).where(where))[0][0])


def is_lacking(engine: Engine, node: str, nodes: Sequence[str]) -> bool:
    """Say whether a node is known to lack images: they were missing when it was checked, or not staged for its sync.

    One that was not staged, or in whose place something else lies, counts where another of the country's ``nodes``
    holds it: what none has is not shown either.
    """
    c, i = lis_node_repairs.c, lis_images.c
    present = (i.image_hash == c.image_hash) & (i.desired == Desired.PRESENT.value)
    held = sa.select(i.image_hash).where(present, holders(nodes) > 0).correlate(lis_node_repairs).exists()
    counts = (c.reason == "missing") | (c.reason.in_(_MAYBE_LACKING) & held)
    return bool(read(engine, sa.select(c.image_hash).where(c.node == node, counts).limit(1)))


def holders(nodes: Sequence[str]) -> sa.ColumnElement[int]:
    """Return, for use in a query over ``lis_images``, how many of ``nodes`` hold an image in its newest form.

    A node does that has acknowledged the image's change and has no mark for it but of extra files. A change that is
    settled was applied by all nodes; its acknowledgements may be pruned since.
    """
    i, ack, repair = lis_images.c, lis_change_acks.c, lis_node_repairs.c
    lacking = (
        sa.select(repair.node)
        .where(repair.node == ack.node, repair.image_hash == i.image_hash, repair.reason != EXTRA)
        .correlate(lis_change_acks, lis_images)
        .exists()
    )
    acknowledged = (
        sa.select(sa.func.count())
        .select_from(lis_change_acks)
        .where(ack.change_id == i.change_id, ack.node.in_(nodes), ~lacking)
        .correlate(lis_images)
        .scalar_subquery()
    )
    marked = (
        sa.select(sa.func.count())
        .select_from(lis_node_repairs)
        .where(repair.image_hash == i.image_hash, repair.node.in_(nodes), repair.reason != EXTRA)
        .correlate(lis_images)
        .scalar_subquery()
    )
    settled = i.change_id.is_not(None) & ~change_log.is_open(i.change_id)
    return sa.case((settled, len(nodes) - marked), else_=acknowledged)


def absent_files(findings: Mapping[str, int]) -> int:
    """Return how many files a check missed, whether the node had acknowledged them or not."""
    return sum(findings.get(kind, 0) for kind in ABSENT_KINDS)


def latest_check(engine: Engine, node: str, run_id: str | None = None, *, scrub: bool = False) -> Row | None:
    """Return the newest check of a node (of one run, if given; or the newest scrub), or None."""
    c = lis_node_checks.c
    where = (c.node == node) & ((c.kind == SCRUB) if scrub else (c.kind != SCRUB))
    if run_id is not None:
        where &= c.run_id == run_id
    rows = read(engine, sa.select(lis_node_checks).where(where).order_by(c.check_id.desc()).limit(1))
    return rows[0] if rows else None
