"""Sync: bring one node to the desired state of every image that it has not acknowledged.

Under a lock per country and node. A node that cannot be reached fails at once: the change log is the retry. A
group that fails as a whole is split, so that one bad file holds nothing up; that image is set aside for repair.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagesys_lib import changes, node_records, runs
from imagesys_lib.context import Context
from imagesys_lib.db.engine import Row, chunks, named_lock
from imagesys_lib.errors import LockHeld
from imagesys_lib.nodes import NodeFault, NodeSession, Space
from imagesys_lib.runs import Run
from imagesys_lib.stages.readiness import is_behind, update_readiness
from imagesys_lib.states import Desired, State

log = logging.getLogger(__name__)

_MOST_SET_ASIDE = 50
_CHANGES_AT_ONCE = 10


@dataclass(frozen=True)
class Synced:
    """What a node was brought: files pushed and deleted, changes acknowledged, images set aside for repair."""

    pushed: int = 0
    deleted: int = 0
    changes: int = 0
    set_aside: int = 0

    def __add__(self, other: Synced) -> Synced:
        return Synced(
            self.pushed + other.pushed,
            self.deleted + other.deleted,
            self.changes + other.changes,
            self.set_aside + other.set_aside,
        )


@contextmanager
def node_lock(ctx: Context, node_name: str, *, timeout: float | None = None) -> Iterator[None]:
    """Hold the lock under which one node of one country is changed. Raises NodeFault if another run keeps it.

    It is waited for as long as configured, or for ``timeout`` seconds.
    """
    timeout = ctx.config.transfer.lock_timeout if timeout is None else timeout

    def waiting(seconds: float) -> None:
        ctx.check_stop()
        log.info("%s %s: another run is at this node; waiting (%.0f s)", ctx.country.upper(), node_name, seconds)

    name = f"imagesys.{ctx.country}.{node_name}"
    with ExitStack() as stack:
        try:
            stack.enter_context(named_lock(ctx.db, name, timeout=timeout, on_wait=waiting))
        except LockHeld as held:
            raise NodeFault(node_name, "busy", held.message) from None
        yield


def sync(ctx: Context, node_name: str, run: Run | None = None) -> Synced:
    """Bring the node up to date. Raises NodeFault naming the node, the reason and the remedy.

    ``run`` is told how much is free there.
    """
    total = Synced()
    try:
        with node_lock(ctx, node_name), NodeSession(ctx.node(node_name), ctx.stop) as node:
            space = node.prepare()
            if run is not None:
                free = {node_records.FREE_FIGURES + node_name: space.free_bytes}
                runs.set_figures(ctx.db, run.run_id, free)
            if is_behind(ctx, node_name):
                node.set_behind(ctx.country, True)  # until it has caught up, also where the next line refuses
            require_space(ctx, node_name, space)
            total = _catch_up(ctx, node)
            while not update_readiness(ctx, node) and changes.pending(ctx.db, node_name, 1):
                total += _catch_up(ctx, node)  # what was made meanwhile
    except NodeFault as fault:
        node_records.note(ctx.db, node_name, fault)
        raise
    node_records.note(ctx.db, node_name, None)
    settle(ctx)
    log.info(
        "%s %s: %d files pushed, %d deleted, %d changes acknowledged",
        ctx.country.upper(),
        node_name,
        total.pushed,
        total.deleted,
        total.changes,
    )
    return total


def _catch_up(ctx: Context, node: NodeSession) -> Synced:
    """Apply all changes that the node has not acknowledged, oldest first."""
    total, size = Synced(), ctx.config.transfer.group_images
    while group := changes.next_group(ctx.db, node.node.name):
        ctx.check_stop()
        for images in chunks(group.images, size):
            total += _apply(ctx, node, images)
        changes.acknowledge(ctx.db, node.node.name, group.change_ids)
        total += Synced(changes=len(group.change_ids))
        ctx.progress(total.pushed + total.deleted, total.pushed + total.deleted)
    return total


def require_space(ctx: Context, node_name: str, space: Space) -> None:
    """Raise NodeFault where less is free on a node than anything is pushed to."""
    settings = ctx.config.transfer
    free_mb = space.free_bytes >> 20
    if free_mb < settings.node_min_free_mb:
        raise NodeFault(node_name, "disk_full", f"{free_mb} MB free, floor {settings.node_min_free_mb} MB")
    if space.free_inodes < settings.node_min_free_inodes:
        floor = settings.node_min_free_inodes
        raise NodeFault(node_name, "inodes_full", f"{space.free_inodes} inodes free, floor {floor}")


def thumb_paths(image: Row) -> list[str]:
    """Return the paths of an image's thumbnails below a root."""
    return [str(thumb["path"]) for thumb in image.thumbs or ()]


def _apply(ctx: Context, node: NodeSession, images: Sequence[Row]) -> Synced:
    """Push what should be there and is staged, delete what should not; set the rest aside for repair."""
    present = [image for image in images if image.desired == Desired.PRESENT.value]
    absent = [path for image in images if image.desired == Desired.ABSENT.value for path in thumb_paths(image)]
    staged = [image for image in present if _is_staged(ctx, image)]
    unstaged = [image for image in present if not _is_staged(ctx, image)]
    node.delete(absent)
    failed = push(node, ctx.staging.out, staged)
    marks = {image.image_hash: "transfer" for image in failed} | {image.image_hash: "not_staged" for image in unstaged}
    node_records.mark(ctx.db, node.node.name, marks)
    done = {image.image_id for image in failed}
    arrived = [image for image in staged if image.image_id not in done]
    deleted = [image for image in images if image.desired == Desired.ABSENT.value]
    node_records.unmark(ctx.db, node.node.name, [image.image_hash for image in arrived + deleted])
    return Synced(
        pushed=sum(len(thumb_paths(image)) for image in arrived),
        deleted=len(absent),
        set_aside=len(failed) + len(unstaged),
    )


def _is_staged(ctx: Context, image: Row) -> bool:
    """Say whether all files of an image are staged, whole: they are not forced to disk, so a power cut may cut them."""
    return all(ctx.staging.has(str(thumb["path"]), int(thumb["bytes"])) for thumb in image.thumbs or ())


def push(node: NodeSession, source: Path, images: list[Row]) -> list[Row]:
    """Push images from below ``source``; return those that could not be, halving a group that fails down to one."""
    if not images:
        return []
    try:
        _push_or_again(node, source, [path for image in images for path in thumb_paths(image)])
    except NodeFault as fault:
        if fault.reason != "transfer":
            raise
        log.warning("%s (%d images)", fault.message, len(images))
        if len(images) == 1:
            return images
        middle = len(images) // 2
        failed = push(node, source, images[:middle])
        if len(failed) > _MOST_SET_ASIDE:
            raise
        return failed + push(node, source, images[middle:])
    return []


def _push_or_again(node: NodeSession, source: Path, paths: list[str]) -> None:
    """Push files; once more where somebody ended rsync on the way, which need not happen twice."""
    try:
        node.push(source, paths)
    except NodeFault as fault:
        if fault.reason != "interrupted":
            raise
        log.warning("%s; trying once more", fault.message)
        node.push(source, paths)


def settle(ctx: Context) -> int:
    """Drop the staged files of changes that every node has applied, and close them. Returns their number."""
    settled = 0
    finished = {State.THUMBNAILED.value, State.LIVE.value, State.PURGED.value, State.QUARANTINED.value}
    while change_ids := changes.ready_to_settle(ctx.db, ctx.config.nodes):
        for piece in chunks(change_ids, _CHANGES_AT_ONCE):  # each may speak of 1,000 images
            for image in changes.images_of(ctx.db, piece):
                # An image in work again (a remake) may have fresh files here already: they belong to a later change.
                if image.state in finished:
                    ctx.staging.drop_thumbnails(thumb_paths(image))
            changes.settle(ctx.db, piece)
            settled += len(piece)
    return settled
