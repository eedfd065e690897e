"""Staged files, and when they go: thumbnails wait on the worker's disk until all nodes have them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from imagesys_lib.context import Context
from imagesys_lib.db.engine import Row, chunks, from_now, read
from imagesys_lib.db.schema import lis_changes, lis_images
from imagesys_lib.images.states import UNFINISHED, Desired, State
from imagesys_lib.replication import change_log, node_records

log = logging.getLogger(__name__)

_DAY = 86_400
_STALE_SECONDS = 2 * _DAY
Note = Callable[[str, int], None]
"""Counts what was done, by name."""

_FINISHED = {state.value for state in (State.THUMBNAILED, State.LIVE, State.PURGED, State.REJECTED, State.QUARANTINED)}


def thumb_paths(image: Row) -> list[str]:
    """Return the paths of an image's thumbnails below a root."""
    return [str(thumb["path"]) for thumb in image.thumbs or ()]


def settle_staged(ctx: Context) -> None:
    """Delete the staged files of changes that every node has applied, and close the changes."""
    while change_ids := change_log.ready_to_settle(ctx.db, ctx.config.nodes):
        group = change_log.group_of(ctx.db, change_ids)
        drop_staged(ctx, group.images)
        change_log.settle(ctx.db, group.change_ids)


def drop_staged(ctx: Context, images: Iterable[Row], *, dry_run: bool = False) -> int:
    """Delete the staged thumbnails of images. Returns how many had any; a dry run only counts them.

    An image in work again (a remake) may have fresh files there already, which belong to a later change.
    """
    dropped = 0
    for image in images:
        files = [ctx.staging.out / path for path in thumb_paths(image)] if image.state in _FINISHED else []
        dropped += any(file.exists() for file in files)
        for file in files if not dry_run else ():
            file.unlink(missing_ok=True)
    return dropped


def drop_held(ctx: Context, note: Note, *, dry_run: bool = False) -> None:
    """Delete staged files that some node holds, of images that others are behind with for too long.

    That is for more than ``staging.keep_days``; for less, oldest first, while the staging disk is under pressure. The
    sync of a node that is behind then marks what it lacks, and its repair fetches that from a peer.
    """
    c = lis_changes.c
    old = c.created_at < from_now(-round(ctx.config.staging.keep_days * _DAY))
    # A node that is only late today is about to sync and frees the disk by itself.
    sound = [name for name in ctx.config.nodes if not node_records.sync_fault(ctx.db, name)]
    late = (c.created_at < from_now(-_DAY)) | sa.and_(
        sa.true(), *(change_log.acknowledged_by(name, c.change_id) for name in sound)
    )
    for why, which, is_needed in (
        (f"more than {ctx.config.staging.keep_days:g} days old", old, lambda: True),
        ("as the staging disk runs full", late & ~old, ctx.staging.under_pressure),
    ):
        images = sum(_drop_held(ctx, which, is_needed, note, dry_run=dry_run))
        if images and not dry_run:
            log.warning(
                "%s: %d images are no longer staged for nodes that are behind, %s. Remedy: bring these nodes back "
                "(`imagesys status`); their repair fetches the images from a peer.",
                *(ctx.country.upper(), images, why),
            )


def _drop_held(
    ctx: Context, which: sa.ColumnElement[bool], is_needed: Callable[[], bool], note: Note, *, dry_run: bool
) -> Iterator[int]:
    """Delete the staged files of open changes, oldest first, while that is needed; yield how many images had any."""
    c, i, after = lis_changes.c, lis_images.c, 0
    query = sa.select(c.change_id).where(c.settled_at.is_(None), which).order_by(c.change_id).limit(100)
    held = (i.desired == Desired.PRESENT.value) & (node_records.holders(ctx.config.nodes) > 0)
    while found := read(ctx.db, query.where(c.change_id > after)):
        ctx.give_way()
        for (after,) in found:
            if not is_needed():
                return
            rows = read(ctx.db, sa.select(i.state, i.thumbs).where(i.change_id == after, held))
            if dropped := drop_staged(ctx, rows, dry_run=dry_run):
                note("unstaged", dropped)
                yield dropped


def sweep(ctx: Context, note: Note, *, dry_run: bool = False) -> None:
    """Remove staged files, two days old or more, of images that no batch and no open change needs."""
    root = ctx.staging.settings.root
    before = time.time() - _STALE_SECONDS
    for kind in ("originals", "out"):
        folder = root / kind / ctx.country
        for some in chunks(_files_older(folder, before)):
            ctx.give_way()
            hashes = {path: "".join(path.relative_to(folder).parts).split(".")[0][:40] for path in some}
            needed = _needed(ctx, kind, sorted(set(hashes.values())))
            swept = [path for path, image_hash in hashes.items() if image_hash not in needed]
            for path in swept if not dry_run else ():
                path.unlink(missing_ok=True)
            note("staged", len(swept))


def _files_older(folder: Path, before: float) -> Iterator[Path]:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another run's worker may have finished with it
            if path.is_file() and path.stat().st_mtime < before:
                yield path


def _needed(ctx: Context, kind: str, hashes: list[str]) -> set[str]:
    i = lis_images.c
    query = sa.select(i.image_hash).where(i.image_hash.in_(hashes))
    if kind == "originals":
        query = query.where(i.state.in_([state.value for state in (*UNFINISHED, State.NEW)]))
    else:
        query = query.where(change_log.is_open(i.change_id))
    return {row.image_hash for row in read(ctx.db, query)}
