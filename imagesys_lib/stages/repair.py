"""Repair: give a node what it lacks, from staging, else from a healthy peer, else have the image made again.

Extra files go only when the database, read again, still does not know them.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from imagesys_lib import node_records, relisted
from imagesys_lib.context import Context
from imagesys_lib.db.engine import NOW, Row, Session, read, write
from imagesys_lib.db.schema import lis_images, lis_live_images
from imagesys_lib.hashing import parse_thumbnail_path
from imagesys_lib.nodes import NodeFault, NodeSession
from imagesys_lib.stages.check import Expected, expected_on, spared_from, stat_images
from imagesys_lib.stages.sync import node_lock, push, thumb_paths
from imagesys_lib.states import State, move

log = logging.getLogger(__name__)

_GROUP = 500


@dataclass(frozen=True)
class Repaired:
    """What was repaired: images given back to the node, extra files deleted, images to be made again."""

    restored: int = 0
    deleted: int = 0
    requeued: int = 0

    def __add__(self, other: Repaired) -> Repaired:
        return Repaired(self.restored + other.restored, self.deleted + other.deleted, self.requeued + other.requeued)


def repair(ctx: Context, node_name: str, *, dry_run: bool = False) -> Repaired:
    """Work off ``lis_node_repairs`` for one node. Raises NodeFault if the node itself cannot be reached."""
    total = Repaired()
    if not node_records.marked_after(ctx.db, node_name, "", 1):
        return total
    with node_lock(ctx, node_name), NodeSession(ctx.node(node_name), ctx.stop) as node:
        after = ""
        while hashes := node_records.marked_after(ctx.db, node_name, after, _GROUP):
            ctx.check_stop()
            after = hashes[-1]
            total += _Group(ctx, node, hashes).run(dry_run)
            ctx.progress(total.restored + total.deleted, total.restored + total.deleted)
    log.info(
        "%s %s: %d images restored, %d extra files deleted, %d images to be made again%s",
        ctx.country.upper(),
        node_name,
        total.restored,
        total.deleted,
        total.requeued,
        " (dry run)" if dry_run else "",
    )
    return total


class _Group:
    """Up to 500 marked images of one node."""

    def __init__(self, ctx: Context, node: NodeSession, hashes: list[str]) -> None:
        self.ctx, self.node, self.hashes = ctx, node, hashes

    def run(self, dry_run: bool) -> Repaired:
        expected = {e.image_hash: e for e in expected_on(self.ctx, self.node.node.name, self.hashes)}
        settled = [h for h, e in expected.items() if not e.pending]  # what is pending, sync will bring
        extra = self._extra_paths(expected)
        if dry_run:
            return Repaired(restored=len(settled), deleted=len(extra))
        self.node.delete(extra)
        restored, lost = self._restore(self._rows(settled))
        requeued = self._make_again(lost)
        handled = set(self.hashes) - set(settled) | {row.image_hash for row in restored + lost}
        node_records.unmark(self.ctx.db, self.node.node.name, sorted(handled))
        return Repaired(len(restored), len(extra), requeued)

    def _extra_paths(self, expected: Mapping[str, Expected]) -> list[str]:
        """Return the old files of these images that nothing wants, as the node and the database are now."""
        paths = []
        spared = spared_from(self.ctx)
        for entry in stat_images(self.node, self.ctx.country, self.hashes):
            image_hash, end = parse_thumbnail_path(entry.path) or ("", "")
            want = expected.get(image_hash)
            unwanted = want is None or (not want.pending and end not in want.sizes)
            if unwanted and entry.mtime <= spared:
                paths.append(f"{self.ctx.country}/{entry.path}")
        return paths

    def _rows(self, hashes: list[str]) -> list[Row]:
        c = lis_images.c
        query = sa.select(c.image_id, c.image_hash, c.state, c.thumbs).where(c.image_hash.in_(hashes))
        return list(read(self.ctx.db, query.order_by(c.image_hash)))

    def _restore(self, images: list[Row]) -> tuple[list[Row], list[Row]]:
        """Return the images brought back and those that no node has; the rest waits for an absent peer."""
        staging = self.ctx.staging.out
        staged = [image for image in images if _intact(staging, image)]
        restored = self._push(staging, staged)
        left = [image for image in images if image not in staged]
        all_peers_asked = True
        for peer in self.ctx.config.nodes:
            if not left or peer == self.node.node.name:
                continue
            try:
                found, arrived = self._from_peer(peer, left)
            except NodeFault as fault:
                if fault.node == self.node.node.name:
                    raise
                log.warning("%s", fault.message)
                all_peers_asked = False
                continue
            restored += arrived
            left = [image for image in left if image not in found]
        return restored, left if all_peers_asked else []

    def _from_peer(self, peer: str, images: list[Row]) -> tuple[list[Row], list[Row]]:
        """Fetch files from a peer through this worker and push those whose checksums are right.

        Returns the images that the peer has intact, and those of them that arrived.
        """
        root = self.ctx.staging.settings.root
        with tempfile.TemporaryDirectory(prefix="repair-", dir=root) as folder:
            with NodeSession(self.ctx.node(peer), self.ctx.stop) as session:
                session.pull([path for image in images for path in thumb_paths(image)], Path(folder))
            good = [image for image in images if _intact(Path(folder), image)]
            return good, self._push(Path(folder), good)

    def _push(self, source: Path, images: list[Row]) -> list[Row]:
        """Push images and return those that arrived; the others keep their marks."""
        failed = push(self.node, source, images)
        return [image for image in images if image not in failed]

    def _make_again(self, images: list[Row]) -> int:
        """No node holds these: unpublish them and queue them as new. Of purged ones the files are forgotten."""
        if not images:
            return 0
        i = lis_images.c
        lost = i.image_id.in_([image.image_id for image in images])

        def work(session: Session) -> int:
            rows = session.execute(
                sa.select(i.image_id, i.image_hash, i.state)
                .where(lost, i.state.in_(["live", "thumbnailed", "purged"]))
                .order_by(i.image_id)
                .with_for_update()
            ).all()
            purged = [row.image_id for row in rows if row.state == State.PURGED.value]
            session.execute(sa.update(lis_images).where(i.image_id.in_(purged)).values(relisted.FORGOTTEN))
            ids = [row.image_id for row in rows if row.image_id not in purged]
            hashes = [row.image_hash for row in rows]
            session.execute(sa.delete(lis_live_images).where(lis_live_images.c.image_hash.in_(hashes)))
            values = {"batch_id": None, "next_attempt_at": NOW, "attempts": 0, **relisted.FORGOTTEN}
            return move(
                session, State.NEW, frm=(State.LIVE, State.THUMBNAILED), where=i.image_id.in_(ids), values=values
            )

        log.warning("%s: %d images are on no node: they will be made again", self.ctx.country.upper(), len(images))
        return write(self.ctx.db, work)


def _intact(root: Path, image: Row) -> bool:
    """Say whether all files of an image lie below ``root`` with the checksums kept from thumbnailing."""
    for thumb in image.thumbs or ():
        try:
            data = (root / str(thumb["path"])).read_bytes()
        except OSError:
            return False
        if hashlib.sha1(data, usedforsecurity=False).hexdigest() != thumb["sha1"]:
            return False
    return bool(image.thumbs)
