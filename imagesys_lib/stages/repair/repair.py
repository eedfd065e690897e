"""Repair: give a node what it lacks, from staging, else from a healthy peer, else have the image made again.

Extra files go only when the database, read again, still does not know them, and never many at once: a node that
comes back empty, or a database that has forgotten, is never read as a mass deletion.

Groups flow through a pipeline, so that a refill keeps both transfers busy: while one is pushed, the next is verified
and the one after it pulled. A mark goes only when the node has its image, so a repair that is killed goes on where it
was.
"""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import astuple, dataclass, replace

import sqlalchemy as sa

from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, Row, read, write
from imagesys_lib.db.locks import named_lock
from imagesys_lib.db.schema import lis_images, lis_live_images
from imagesys_lib.images import relisted
from imagesys_lib.images.hash_and_path import parse_thumbnail_path
from imagesys_lib.images.states import Desired
from imagesys_lib.nodes import NodeSession
from imagesys_lib.replication import change_log, node_records
from imagesys_lib.replication.node_records import EXTRA, NOT_A_FILE, REPAIR_FIGURES
from imagesys_lib.replication.readiness import update_readiness
from imagesys_lib.runs import runs
from imagesys_lib.stages.check import expected_on, extra_cutoff, stat_images
from imagesys_lib.stages.repair.sources import Plan, Sourced, Sources, discard, is_among, sizes
from imagesys_lib.stages.sync import bisected, node_lock, push, require_space, shortage
from imagesys_lib.storage.prefetch import prefetch

log = logging.getLogger(__name__)

_GROUP = CHUNK
"""Images that travel together. Measured: with more the steps of the pipeline wait for each other longer."""

_DOUBTFUL = (EXTRA, NOT_A_FILE)
"""Reasons of marks that say that there is too much of an image, not that it lacks something."""

_LOG_EVERY = 30.0  # seconds


@dataclass(frozen=True)
class Repaired:
    """What was repaired: images given back to the node, extra files deleted, images to be made again.

    ``waiting`` images keep their marks: they could not be written, or a node that may have them is away.
    ``refused`` says why some were left alone on purpose, and how to go on.
    """

    restored: int = 0
    deleted: int = 0
    requeued: int = 0
    waiting: int = 0
    refused: str = ""

    def __add__(self, other: Repaired) -> Repaired:
        *mine, refused = astuple(self)
        *theirs, also = astuple(other)
        return replace(Repaired(*map(operator.add, mine, theirs)), refused=refused or also)


def repair(
    ctx: Context,
    node_name: str,
    run_id: str | None = None,
    *,
    dry_run: bool = False,
    limit: int | None = None,
    delete_extra: bool = False,
    make_again: bool = False,
) -> Repaired:
    """Work off ``lis_node_repairs`` for one node, or ``limit`` images of it.

    ``delete_extra`` and ``make_again`` lift the caps, and the first one the grace since a check found the files. Raises
    NodeFault if the node itself cannot be reached or written, DiskFull where staging is at its floor, and Stopped; what
    was done until then is kept. It is added to the figures of the run ``run_id``, to which a repair that is made again
    adds only what it did; what was left undone is there as the last one left it.
    """
    with node_lock(ctx, node_name) as lock, NodeSession(ctx.node(node_name), ctx.stop) as node:
        marked = node_records.count_marks(ctx.db, node_name)
        images = min(marked, limit or marked)
        work = _Repair(ctx, node, lock, images, run_id, delete_extra=delete_extra, make_again=make_again)
        total = work.dry_run() if dry_run else work.run()
    if run_id is not None and not dry_run:
        for name, left in (("waiting", total.waiting), ("refused", work.left_alone)):
            runs.set_or_drop_figure(ctx.db, run_id, f"{REPAIR_FIGURES}{node_name}.{name}", left)
    log.info(
        "%s %s: %d images restored, %d extra files deleted, %d images to be made again, %d wait%s",
        *(ctx.country.upper(), node_name, total.restored, total.deleted, total.requeued, total.waiting),
        " (dry run)" if dry_run else "",
    )
    if total.refused:
        log_refusal = log.warning if dry_run else log.error  # nobody but a person can go on, so it is mailed
        log_refusal("%s %s: %s", ctx.country.upper(), node_name, total.refused)
    return total


class _Repair:
    """One repair of one node, under its lock."""

    def __init__(
        self,
        ctx: Context,
        node: NodeSession,
        lock: named_lock,
        images: int,
        run_id: str | None,
        *,
        delete_extra: bool,
        make_again: bool,
    ) -> None:
        self.ctx, self.node, self.lock, self.images, self.run_id = ctx, node, lock, images, run_id
        self.name = node.node.name
        self._began = self._logged_at = time.monotonic()
        self.delete_extra = delete_extra
        settings = ctx.config.check
        extra = 0 if delete_extra else node_records.count_marks(ctx.db, self.name, EXTRA)
        self.cap = settings.extra_cap_images
        if extra > self.cap:  # a count of all live images is only needed for so many
            live = int(read(ctx.db, sa.select(sa.func.count()).select_from(lis_live_images))[0][0])
            self.cap = max(self.cap, round(live * settings.extra_cap_percent / 100))
        self.keeps_extra = extra > self.cap
        self.may_make_again = images if make_again else self.cap
        self.total = Repaired()
        self.left_alone = 0
        if self.keeps_extra:
            self._refuse(extra, f"{extra} images have extra files: none of these was deleted", "delete-extra")

    def _refuse(self, images: int, what: str, option: str) -> None:
        self.left_alone += images
        on = f"{self.ctx.country} --node {self.name}"
        self.total += Repaired(
            refused=f"{what}, as that is more than {self.cap} at once. Remedy: look at some of them with `imagesys "
            f"fs-check {on} --verbose` and `imagesys explain`, then run `imagesys repair {on} --{option}`."
        )

    def dry_run(self) -> Repaired:
        """Say what would be done, judged by the database, staging, and the names and sizes of files on nodes."""
        with Sources(self.ctx, self.name) as sources:
            for plan in self._plans():
                self.ctx.give_way()
                found, nowhere, waiting = sources.dry_run(plan)
                again = nowhere if self._may_make(nowhere) else 0
                self.total += Repaired(found, len(self._extra_paths(plan)), again, waiting + nowhere - again)
        return self.total

    def run(self) -> Repaired:
        """Repair the node, group by group."""
        self.ctx.staging.sweep_repairs(self.name)
        if shortage(self.ctx, self.node.prepare()):
            self._make_room()
        done = 0
        with ExitStack() as stack:
            stack.callback(self.ctx.staging.sweep_repairs, self.name)
            sources = stack.enter_context(Sources(self.ctx, self.name))
            fetched = stack.enter_context(closing(prefetch(sources.fetch(self._plans()))))
            groups = stack.enter_context(closing(prefetch(sources.verify(fetched))))
            stack.callback(sources.halt.set)  # first of all, as closing the pipeline waits for what is under way
            for group in groups:
                self.ctx.give_way()
                self.lock.verify()
                self._finish(group)
                done += len(group.plan.marks)
                self._log_progress(done)
        update_readiness(self.ctx, self.node)
        return self.total

    def _make_room(self) -> None:
        """Delete first what is too much: a node without room can take nothing before."""
        for plan in self._plans():
            self.ctx.give_way()
            self.lock.verify()
            extra = self._extra_paths(plan)
            self._count(Repaired(deleted=len(extra) - len(bisected(extra, self.node.delete))))

    def _log_progress(self, done: int) -> None:
        self.ctx.progress(done, self.images)
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY:
            self._logged_at = now
            left = (self.images - done) * (now - self._began) / done / 60
            text = "%s %s: %d of %d marked images done, about %.0f minutes left"
            log.info(text, self.ctx.country.upper(), self.name, done, self.images, left)

    def _plans(self) -> Iterator[Plan]:
        """Yield what is to be done for the marked images, group by group."""
        after, left = "", self.images
        while left > 0 and (marks := node_records.marked_after(self.ctx.db, self.name, after, min(left, _GROUP))):
            after, left = list(marks)[-1], left - len(marks)
            yield self._plan(marks)

    def _plan(self, marks: dict[str, str]) -> Plan:
        i = lis_images.c
        pending = change_log.is_open(i.change_id) & ~change_log.acknowledged_by(self.name, i.change_id)
        query = sa.select(i.image_id, i.image_hash, i.desired, i.change_id, i.thumbs, pending.label("pending"))
        rows = read(self.ctx.db, query.where(i.image_hash.in_(list(marks))).order_by(i.image_hash))
        present = [row for row in rows if row.desired == Desired.PRESENT.value]
        coming = {row.image_hash for row in rows if row.pending}  # sync will bring it, or take it away
        known = {row.image_hash for row in present} | coming
        kept = self._kept_for_now([h for h, reason in marks.items() if reason == EXTRA])
        return Plan(
            marks,
            self._lacking([row for row in present if not row.pending], marks),
            [h for h, reason in marks.items() if h not in kept and (h not in known or reason in _DOUBTFUL)],
            kept,
        )

    def _kept_for_now(self, extra: list[str]) -> set[str]:
        """Return the images whose extra files stay for now: they are too many, or were found too lately.

        A file's own time is that of its making: of one that nothing wants only since today it says nothing.
        """
        if self.keeps_extra:
            return set(extra)
        if self.delete_extra or not extra:  # somebody has looked at them
            return set()
        return node_records.marked_lately(self.ctx.db, self.name, extra, self.ctx.config.check.extra_grace_hours)

    def _lacking(self, images: list[Row], marks: dict[str, str]) -> list[Row]:
        """Return the images that the node needs: one marked for what is too much mostly has its wanted files whole."""
        doubtful = [image for image in images if marks[image.image_hash] in _DOUBTFUL]
        there = sizes(self.node, self.ctx.country, doubtful)
        whole = {image.image_hash for image in doubtful if is_among(there, image)}
        return [image for image in images if image.image_hash not in whole]

    def _finish(self, group: Sourced) -> None:
        """Delete what is too much, bring the node the files of a group, and clear the marks of what is right."""
        extra = self._extra_paths(group.plan)
        undeleted = bisected(extra, self.node.delete)
        if any(group.found.values()):
            require_space(self.ctx, self.name, self.node.space())
        failed: list[Row] = []
        for source, images in group.found.items():
            failed += push(self.node, source, images)
        discard(group)
        requeued = self._make_again(group.nowhere)
        gone = {image.image_hash for image in group.nowhere} if requeued is not None else set()
        waiting = [image.image_hash for image in group.left if image.image_hash not in gone]
        not_written = sorted({image.image_hash for image in failed} | {_hash_of(path) for path in undeleted})
        node_records.mark(self.ctx.db, self.name, dict.fromkeys(not_written, "transfer"))
        right = group.plan.marks.keys() - {*group.plan.kept, *waiting, *not_written}
        node_records.unmark(self.ctx.db, self.name, sorted(right))
        restored = sum(map(len, group.found.values())) - len(failed)
        deleted, undone = len(extra) - len(undeleted), len(waiting) + len(not_written)
        self._count(Repaired(restored, deleted, requeued or 0, undone))

    def _count(self, done: Repaired) -> None:
        self.total += done
        if self.run_id is not None:
            counts = {"restored": done.restored, "deleted": done.deleted, "requeued": done.requeued}
            prefix = f"{REPAIR_FIGURES}{self.name}."
            runs.add_figures(self.ctx.db, self.run_id, {prefix + name: number for name, number in counts.items()})

    def _extra_paths(self, plan: Plan) -> list[str]:
        """Return the old files of a plan's images that nothing wants, as the node and the database are now."""
        if not plan.unwanted:
            return []
        cutoff = extra_cutoff(self.ctx)
        expected = {e.image_hash: e for e in expected_on(self.ctx, self.name, plan.unwanted)}
        paths = []
        for entry in stat_images(self.node, self.ctx.country, plan.unwanted, files_alone=False):
            image_hash, end = parse_thumbnail_path(entry.path) or ("", "")
            want = expected.get(image_hash)
            unwanted = want is None or (not want.pending and (end not in want.sizes or not entry.is_file))
            if unwanted and entry.mtime <= cutoff:
                paths.append(f"{self.ctx.country}/{entry.path}")
        return paths

    def _may_make(self, images: int) -> bool:
        """Say whether so many more images may be made again, and count them."""
        if images > self.may_make_again:
            self._refuse(images, f"{images} images or more are on no node: not all are made again", "make-again")
            return False
        self.may_make_again -= images
        return True

    def _make_again(self, images: Sequence[Row]) -> int | None:
        """Unpublish images that no node holds and queue them as new. Returns how many; None if the cap forbids it."""
        if not images:
            return 0
        if not self._may_make(len(images)):
            return None
        log.warning("%s: %d images are on no node: they will be made again", self.ctx.country.upper(), len(images))
        seen = {image.image_id: image.change_id for image in images}
        return write(self.ctx.db, lambda connection: relisted.requeue_lost(connection, seen))


def _hash_of(path: str) -> str:
    """Return the hash of the image that a thumbnail, given as a path below the root, belongs to."""
    return (parse_thumbnail_path(path.partition("/")[2]) or ("", ""))[0]
