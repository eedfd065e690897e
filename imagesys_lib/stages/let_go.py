"""Let go: no longer hold staged files for a node that is behind for too long, or while the staging disk runs full.

The images of its changes are marked for repair (``let_go``) and the changes acknowledged on its behalf, so that they
settle and their staged files go. The marks tell such an acknowledgement from a true one: publishing does not count
it, the node is not ready, and when it is back a repair brings it the images from a peer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import insert

from imagesys_lib import changes, node_records
from imagesys_lib.context import Context
from imagesys_lib.db.engine import NOW, Session, write
from imagesys_lib.db.schema import lis_change_acks, lis_images, lis_node_repairs
from imagesys_lib.node_records import LET_GO
from imagesys_lib.nodes import NodeFault
from imagesys_lib.stages.sync import node_lock, settle
from imagesys_lib.states import Desired

log = logging.getLogger(__name__)

_DAY = 86_400
_CHANGES_AT_ONCE = 10


@dataclass(frozen=True)
class _Behind:
    """A node and for how many seconds its oldest change has waited; ``fault``: its last sync failed."""

    node: str
    seconds: float
    fault: bool


def let_go(ctx: Context, *, dry_run: bool = False) -> int:
    """Let the changes of nodes go that are behind by age, then, under disk pressure, of those furthest behind.

    A change is let go only if another node holds all that it should bring; a node that somebody syncs right now is
    passed over. Returns how many images were let go; in a dry run nothing is, and it returns how many would be at most.
    """
    behind = _furthest_first(ctx)
    old = [node for node in behind if node.seconds > ctx.config.transfer.let_go_days * _DAY]
    # One that is only late today is about to sync and frees the disk by itself.
    late = [node for node in behind if node.fault or node.seconds > _DAY]
    images = 0
    for node in old:
        images += _release(ctx, node, "behind by age", lambda: True, dry_run=dry_run)
    for node in late:
        if not (dry_run and node in old):  # all that it has is counted already
            images += _release(ctx, node, "the staging disk runs full", ctx.staging.under_pressure, dry_run=dry_run)
    return images


def _furthest_first(ctx: Context) -> list[_Behind]:
    found = []
    for name in ctx.config.nodes:
        seconds = changes.behind_since(ctx.db, name)
        if seconds is not None:
            found.append(_Behind(name, seconds, bool(node_records.fault_of(ctx.db, name))))
    return sorted(found, key=lambda node: -node.seconds)


def _release(ctx: Context, node: _Behind, why: str, needed: Callable[[], bool], *, dry_run: bool) -> int:
    """Let a node's changes go, oldest first, as long as that is needed. Returns the number of images."""
    if not needed():
        return 0
    images = count = kept = after = 0
    try:
        with node_lock(ctx, node.node, timeout=0) as lock:
            while needed() and (ids := changes.pending(ctx.db, node.node, _CHANGES_AT_ONCE, after=after)):
                ctx.give_way()
                lock.verify()
                after = ids[-1]
                for change_id in ids:
                    gone = _let_change_go(ctx, node.node, change_id, dry_run=dry_run)
                    images, count, kept = images + (gone or 0), count + (gone is not None), kept + (gone is None)
                if not dry_run:
                    settle(ctx)
    except NodeFault as busy:
        log.info("%s %s: not let go: %s", ctx.country.upper(), node.node, busy.message)
    if (count or kept) and not dry_run:
        log.warning(
            "%s %s: %s (%.1f days): %d changes let go, %d images marked for repair; %d changes kept, as no other node "
            "holds their images. Remedy: bring the node back; its repair fetches the images from a peer.",
            *(ctx.country.upper(), node.node, why, node.seconds / _DAY, count, images, kept),
        )
    return images


def _let_change_go(ctx: Context, node: str, change_id: int, *, dry_run: bool) -> int | None:
    """Mark a change's images and acknowledge it for the node; None if no other node holds them all."""
    others = [name for name in ctx.config.nodes if name != node]
    i, ack = lis_images.c, lis_change_acks.c
    applied = sa.select(ack.node).where(ack.change_id == change_id, ack.node.in_(others)).limit(1)
    only_here = sa.select(i.image_id).where(
        i.change_id == change_id, i.desired == Desired.PRESENT.value, node_records.holders(others) == 0
    )
    images = sa.select(sa.literal(node), i.image_hash, sa.literal(LET_GO), NOW).where(i.change_id == change_id)
    marks = insert(lis_node_repairs).from_select(["node", "image_hash", "reason", "since"], images)
    count = sa.select(sa.func.count()).select_from(lis_images).where(i.change_id == change_id)

    def work(session: Session) -> int | None:
        if not session.execute(applied).first() or session.execute(only_here.limit(1)).first():
            return None
        if not dry_run:
            session.execute(marks.on_duplicate_key_update(reason=LET_GO))
            changes.acknowledge_in(session, node, [change_id])
        return int(session.scalar(count) or 0)

    return write(ctx.db, work)
