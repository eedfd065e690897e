"""Sync: bring one node to the desired state of every image that it has not acknowledged.

Under a lock per country and node. A node that cannot be reached fails at once: the change log is the retry. A
group that fails as a whole is split, so that one bad file holds nothing up; that image is set aside for repair.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TypeVar

from imagesys_lib.context import Context
from imagesys_lib.db.engine import Row, chunks
from imagesys_lib.db.locks import named_lock
from imagesys_lib.errors import LockHeld
from imagesys_lib.images.states import Desired
from imagesys_lib.nodes import NodeFault, NodeSession, Space
from imagesys_lib.replication import change_log, node_records
from imagesys_lib.replication.node_records import NOT_STAGED
from imagesys_lib.replication.readiness import is_behind, recognise, update_readiness
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run
from imagesys_lib.stages.shared.staged_files import settle_staged, thumb_paths

log = logging.getLogger(__name__)
T = TypeVar("T")

_MOST_SET_ASIDE = 50


@dataclass(frozen=True)
class Synced:
    """What a node was brought: files pushed and deleted, changes acknowledged, images set aside for repair."""

    pushed: int = 0
    deleted: int = 0
    changes: int = 0
    set_aside: int = 0

    def __add__(self, other: Synced) -> Synced:
        return Synced(*map(operator.add, astuple(self), astuple(other)))


@contextmanager
def node_lock(ctx: Context, node_name: str) -> Iterator[named_lock]:
    """Hold the lock under which one node of one country is changed, and give it, to be verified between groups.

    It is waited for as long as ``transfer.lock_timeout`` says. Raises NodeFault if another run keeps it.
    """

    def waiting(seconds: float) -> None:
        ctx.check_stop()
        log.info("%s %s: another run is at this node; waiting (%.0f s)", ctx.country.upper(), node_name, seconds)

    timeout = ctx.config.transfer.lock_timeout
    lock = named_lock(ctx.db, f"imagesys.{ctx.country}.{node_name}", timeout=timeout, on_wait=waiting)
    with ExitStack() as stack:
        try:
            stack.enter_context(lock)
        except LockHeld as held:
            raise NodeFault(node_name, "busy", held.message) from None
        yield lock


def sync(
    ctx: Context,
    node_name: str,
    run: Run | None = None,
    prepare: Callable[[], Space] | None = None,
    *,
    dry_run: bool = False,
) -> Synced:
    """Bring the node up to date. Raises NodeFault naming the node, the reason and the remedy, or LockLost.

    ``run`` gets how much is free there. ``prepare`` readies the node in another way than over this connection. In a
    dry run nothing is asked of the node: it returns what would be done, as database and staging are now.
    """
    if dry_run:
        return _dry_run(ctx, node_name)
    total = Synced()
    try:
        with node_lock(ctx, node_name) as lock, NodeSession(ctx.node(node_name), ctx.stop) as node:
            space = prepare() if prepare else node.prepare()
            if run is not None:
                free = {node_records.FREE_FIGURES + node_name: space.free_bytes}
                runs.set_figures(ctx.db, run.run_id, free)
            if not recognise(ctx, node) or is_behind(ctx, node_name):
                node.set_behind(ctx.country, True)  # until it has caught up, also where there is no room for that
            work = _Sync(ctx, node, lock)
            if shortage(ctx, space):
                work.make_room()
            total = work.catch_up()
            while not update_readiness(ctx, node) and change_log.pending(ctx.db, node_name, 1):
                total += work.catch_up()  # what was made meanwhile
    except NodeFault as fault:
        ctx.check_stop()  # a task that is cleared takes its ssh along: that is no fault of the node's
        if fault.reason != "busy":  # which is no fault of the node's
            node_records.note_sync(ctx.db, node_name, fault)
        raise
    node_records.note_sync(ctx.db, node_name, None)
    settle_staged(ctx)
    log.info(
        "%s %s: %d files pushed, %d deleted, %d changes acknowledged",
        *(ctx.country.upper(), node_name, total.pushed, total.deleted, total.changes),
    )
    return total


def _dry_run(ctx: Context, node_name: str) -> Synced:
    total = Synced()
    for group in change_log.groups(ctx.db, node_name):
        present, absent = _by_desire(group.images)
        staged = [image for image in present if _is_staged(ctx, image)]
        total += Synced(
            pushed=len(_paths(staged)),
            deleted=len(_paths(absent)),
            changes=len(group.change_ids),
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
        images = self._done + change_log.backlog(ctx.db, self.name)
        for group in change_log.groups(ctx.db, self.name):
            for some in chunks(group.images, ctx.config.transfer.group_images):
                ctx.give_way()
                self.lock.verify()
                total += self._apply(some)
                self._done += len(some)
                ctx.progress(self._done, max(self._done, images))
            change_log.acknowledge(ctx.db, self.name, group.change_ids)
            total += Synced(changes=len(group.change_ids))
            ctx.progress(self._done, max(self._done, images))
        return total

    def make_room(self) -> None:
        """Do all deletions before their turn: a node that is short of room can take nothing before."""
        for group in change_log.groups(self.ctx.db, self.name):
            self.ctx.give_way()
            self.lock.verify()
            self._delete(_by_desire(group.images)[1])  # what fails now is met again, and set aside, in its turn

    def _delete(self, images: Sequence[Row]) -> list[Row]:
        failed: list[Row] = []
        for some in chunks(images, self.ctx.config.transfer.group_images):
            failed += bisected(some, lambda images: self.node.delete(_paths(images)))
        return failed

    def _apply(self, images: Sequence[Row]) -> Synced:
        """Delete what should not be there, push what should and is staged; set the rest aside for repair."""
        present, absent = _by_desire(images)
        staged = [image for image in present if _is_staged(self.ctx, image)]
        failed = self._delete(absent)
        if staged:  # each time: a long backlog, or whoever else writes there, may have filled the disk meanwhile
            require_space(self.ctx, self.name, self.node.space())
        failed += push(self.node, self.ctx.staging.out, staged)
        reasons = {image.image_hash: "transfer" for image in failed}
        # Looked at again: a heal may have deleted some meanwhile.
        reasons |= {image.image_hash: NOT_STAGED for image in present if not _is_staged(self.ctx, image)}
        node_records.mark(self.ctx.db, self.name, reasons)
        arrived, deleted = ([image for image in some if image.image_hash not in reasons] for some in (present, absent))
        node_records.unmark(self.ctx.db, self.name, [image.image_hash for image in arrived + deleted])
        return Synced(pushed=len(_paths(arrived)), deleted=len(_paths(deleted)), set_aside=len(reasons))


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


def _paths(images: Iterable[Row]) -> list[str]:
    return [path for image in images for path in thumb_paths(image)]


def _is_staged(ctx: Context, image: Row) -> bool:
    """Say whether all files of an image are staged, whole: they are not forced to disk, so a power cut may cut them."""
    return all(ctx.staging.has(str(thumb["path"]), int(thumb["bytes"])) for thumb in image.thumbs or ())


def bisected(items: Sequence[T], work: Callable[[Sequence[T]], None]) -> list[T]:
    """Do ``work`` with all items; return those it cannot be done with, bisecting a group that fails down to one.

    Raises NodeFault where it is not for the items' sake that it fails, or where it fails for very many of them.
    """
    if not items:
        return []
    try:
        work(items)
    except NodeFault as fault:
        if fault.reason != "transfer":
            raise
        log.warning("%s (in a group of %d)", fault.message, len(items))
        if len(items) == 1:
            return list(items)
        middle = len(items) // 2
        failed = bisected(items[:middle], work)
        if len(failed) > _MOST_SET_ASIDE:
            raise
        return failed + bisected(items[middle:], work)
    return []


def push(node: NodeSession, source: Path, images: Sequence[Row]) -> list[Row]:
    """Push images from below ``source``; return those that could not be."""
    return bisected(images, lambda some: _push_or_again(node, source, _paths(some)))


def _push_or_again(node: NodeSession, source: Path, paths: list[str]) -> None:
    """Push files; once more where somebody ended rsync on the way, which need not happen twice."""
    try:
        node.push(source, paths)
    except NodeFault as fault:
        if fault.reason != "interrupted":
            raise
        log.warning("%s; trying once more", fault.message)
        node.push(source, paths)
