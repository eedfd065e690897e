"""Sync: bring one node to the desired state of every image that it has not acknowledged.

Under a lock per country and node. A node that cannot be reached fails at once: the change log is the retry. A
group that fails as a whole is split, so that one bad file holds nothing up; that image is set aside for repair.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagesys_lib import changes, node_records, runs
from imagesys_lib.context import Context
from imagesys_lib.db.engine import Row, chunks, named_lock
from imagesys_lib.errors import LockHeld
from imagesys_lib.node_records import NOT_STAGED
from imagesys_lib.nodes import NodeFault, NodeSession, Space
from imagesys_lib.runs import Run
from imagesys_lib.stages.halves import in_halves
from imagesys_lib.stages.readiness import is_behind, recognise, update_readiness
from imagesys_lib.states import Desired, State

log = logging.getLogger(__name__)

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
def node_lock(ctx: Context, node_name: str, *, timeout: float | None = None) -> Iterator[named_lock]:
    """Hold the lock under which one node of one country is changed, and give it, to be verified between groups.

    It is waited for as long as configured, or for ``timeout`` seconds. Raises NodeFault if another run keeps it.
    """
    timeout = ctx.config.transfer.lock_timeout if timeout is None else timeout

    def waiting(seconds: float) -> None:
        ctx.check_stop()
        log.info("%s %s: another run is at this node; waiting (%.0f s)", ctx.country.upper(), node_name, seconds)

    lock = named_lock(ctx.db, f"imagesys.{ctx.country}.{node_name}", timeout=timeout, on_wait=waiting)
    with ExitStack() as stack:
        try:
            stack.enter_context(lock)
        except LockHeld as held:
            raise NodeFault(node_name, "busy", held.message) from None
        yield lock


def sync(ctx: Context, node_name: str, run: Run | None = None, *, dry_run: bool = False) -> Synced:
    """Bring the node up to date. Raises NodeFault naming the node, the reason and the remedy, or LockLost.

    ``run`` is told how much is free there. In a dry run nothing is asked of the node: it returns what would be done, as
    database and staging are now.
    """
    if dry_run:
        return _dry_run(ctx, node_name)
    total = Synced()
    try:
        with node_lock(ctx, node_name) as lock, NodeSession(ctx.node(node_name), ctx.stop) as node:
            space = node.prepare()
            if run is not None:
                free = {node_records.FREE_FIGURES + node_name: space.free_bytes}
                runs.set_figures(ctx.db, run.run_id, free)
            if not recognise(ctx, node) or is_behind(ctx, node_name):
                node.set_behind(ctx.country, True)  # until it has caught up, also where there is no room for that
            work = _Sync(ctx, node, lock)
            if shortage(ctx, space):
                work.make_room()
            total = work.catch_up()
            while not update_readiness(ctx, node) and changes.pending(ctx.db, node_name, 1):
                total += work.catch_up()  # what was made meanwhile
    except NodeFault as fault:
        if fault.reason != "busy":  # which is no fault of the node's
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


def _dry_run(ctx: Context, node_name: str) -> Synced:
    total = Synced()
    for change_ids, images in _pending(ctx, node_name):
        present, absent = _by_desire(images)
        staged = [image for image in present if _is_staged(ctx, image)]
        total += Synced(
            pushed=len(_paths(staged)),
            deleted=len(_paths(absent)),
            changes=len(change_ids),
            set_aside=len(present) - len(staged),
        )
    return total


class _Sync:
    """One sync of one node, under its lock."""

    def __init__(self, ctx: Context, node: NodeSession, lock: named_lock) -> None:
        self.ctx, self.node, self.lock = ctx, node, lock
        self.name = node.node.name
        self._done = 0

    def catch_up(self) -> Synced:
        """Apply all changes that the node has not acknowledged, oldest first."""
        ctx, total = self.ctx, Synced()
        images = self._done + changes.backlog(ctx.db, self.name)
        while group := changes.next_group(ctx.db, self.name):
            for some in chunks(group.images, ctx.config.transfer.group_images):
                ctx.give_way()
                self.lock.verify()
                total += self._apply(some)
                self._done += len(some)
                ctx.progress(self._done, max(self._done, images))
            changes.acknowledge(ctx.db, self.name, group.change_ids)
            total += Synced(changes=len(group.change_ids))
            ctx.progress(self._done, max(self._done, images))
        return total

    def make_room(self) -> None:
        """Do all deletions ahead of their turn: a node that is short of room can take nothing before."""
        for _, images in _pending(self.ctx, self.name):
            self.ctx.give_way()
            self.lock.verify()
            self._delete(_by_desire(images)[1])  # what fails now is met again, and set aside, in its turn

    def _delete(self, images: Sequence[Row]) -> list[Row]:
        failed: list[Row] = []
        for some in chunks(images, self.ctx.config.transfer.group_images):
            failed += in_halves(some, lambda images: self.node.delete(_paths(images)))
        return failed

    def _apply(self, images: Sequence[Row]) -> Synced:
        """Delete what should not be there, push what should and is staged; set the rest aside for repair."""
        present, absent = _by_desire(images)
        staged = [image for image in present if _is_staged(self.ctx, image)]
        unstaged = [image for image in present if not _is_staged(self.ctx, image)]
        failed = self._delete(absent)
        if staged:  # each time: a long backlog, or whoever else writes there, may have filled the disk meanwhile
            require_space(self.ctx, self.name, self.node.space())
        failed += push(self.node, self.ctx.staging.out, staged)
        reasons = {image.image_hash: "transfer" for image in failed}
        node_records.mark(self.ctx.db, self.name, reasons | {image.image_hash: NOT_STAGED for image in unstaged})
        not_done = {image.image_id for image in failed}
        arrived = [image for image in staged if image.image_id not in not_done]
        deleted = [image for image in absent if image.image_id not in not_done]
        node_records.unmark(self.ctx.db, self.name, [image.image_hash for image in arrived + deleted])
        return Synced(pushed=len(_paths(arrived)), deleted=len(_paths(deleted)), set_aside=len(failed) + len(unstaged))


def _pending(ctx: Context, node_name: str) -> Iterator[tuple[list[int], list[Row]]]:
    """Yield some changes that the node has not acknowledged with their images, oldest first, and then the next ones."""
    after = 0
    while change_ids := changes.pending(ctx.db, node_name, _CHANGES_AT_ONCE, after=after):
        after = change_ids[-1]
        yield change_ids, changes.images_of(ctx.db, change_ids)


def _by_desire(images: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Return the images that should be there, and those that should not."""
    present = [image for image in images if image.desired == Desired.PRESENT.value]
    return present, [image for image in images if image.desired == Desired.ABSENT.value]


def shortage(ctx: Context, space: Space) -> tuple[str, str] | None:
    """Return why nothing may be pushed to a node with so little free, as reason and detail; None if all is well."""
    settings = ctx.config.transfer
    free_mb = space.free_bytes >> 20
    if free_mb < settings.node_min_free_mb:
        return "disk_full", f"{free_mb} MB free, floor {settings.node_min_free_mb} MB"
    if space.free_inodes < settings.node_min_free_inodes:
        return "inodes_full", f"{space.free_inodes} inodes free, floor {settings.node_min_free_inodes}"
    return None


def require_space(ctx: Context, node_name: str, space: Space) -> None:
    """Raise NodeFault where less is free on a node than anything is pushed to."""
    if found := shortage(ctx, space):
        raise NodeFault(node_name, *found)


def thumb_paths(image: Row) -> list[str]:
    """Return the paths of an image's thumbnails below a root."""
    return [str(thumb["path"]) for thumb in image.thumbs or ()]


def _paths(images: Iterable[Row]) -> list[str]:
    return [path for image in images for path in thumb_paths(image)]


def _is_staged(ctx: Context, image: Row) -> bool:
    """Say whether all files of an image are staged, whole: they are not forced to disk, so a power cut may cut them."""
    return all(ctx.staging.has(str(thumb["path"]), int(thumb["bytes"])) for thumb in image.thumbs or ())


def push(node: NodeSession, source: Path, images: Sequence[Row]) -> list[Row]:
    """Push images from below ``source``; return those that could not be."""
    return in_halves(images, lambda some: _push_or_again(node, source, _paths(some)))


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
