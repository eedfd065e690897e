"""fs_check: compare the files on a node with the database, the whole tree or a part of it."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable, Iterator

import sqlalchemy as sa

from imagesys_lib.config.intervals import Interval
from imagesys_lib.context import Context
from imagesys_lib.db.engine import read
from imagesys_lib.db.schema import lis_live_images
from imagesys_lib.images.hash_and_path import lis_path_for_hash
from imagesys_lib.nodes import NodeSession
from imagesys_lib.replication import node_records
from imagesys_lib.replication.readiness import doubt_others, update_readiness
from imagesys_lib.stages.check import parts
from imagesys_lib.stages.check.compare import Page, differences
from imagesys_lib.stages.check.expected import pages, unacknowledged
from imagesys_lib.stages.check.parts import WHOLE, Part
from imagesys_lib.stages.check.results import Checked, keep_result
from imagesys_lib.stages.check.suspects import Suspects

log = logging.getLogger(__name__)


def daily_part(ctx: Context, interval: Interval) -> Part:
    """Return what the run of a local day checks: a seventh of a large tree, all of a small one."""
    shown = lis_live_images.c.image_hash
    beyond = sa.select(shown).order_by(shown).limit(1).offset(ctx.config.check.shard_above)
    if not read(ctx.db, beyond):
        return WHOLE
    return parts.of_day(interval.start.astimezone(ctx.config.zone).date())


def check(
    ctx: Context, node_name: str, run_id: str | None = None, part: Part = WHOLE, *, dry_run: bool = False
) -> Checked:
    """Check one node, mark what is missing or wrong for repair and keep the result in ``lis_node_checks``.

    A node that was emptied or replaced, or proves to lack most of the part, is checked whole whatever the part, and is
    not ready until it has been repaired: what it lacks is known then, and so is its disk. ``dry_run`` reads and writes
    nothing, here or there.
    """
    gc.freeze()  # millions of rows pass through: without it the collector looks at all that is imported time and again
    with NodeSession(ctx.node(node_name), ctx.stop) as node:
        identity = node.identity(make=not dry_run)
        strange = identity != node_records.identity_of(ctx.db, node_name)
        if strange:
            part = WHOLE
            if not dry_run:
                node.set_behind(ctx.country, True)
                doubt_others(ctx, node, identity)
        result = _compare(ctx, node, part, dry_run=dry_run)
        if result.absent > result.files:
            log.warning("%s %s: %d files are there, %d are not", *_described(ctx, result), result.files, result.absent)
            strange = True
            if not dry_run:
                node.set_behind(ctx.country, True)
                node_records.set_identity(
                    ctx.db, node_name, None
                )  # should this be killed before it has seen the whole tree
            if part != WHOLE:
                part, result = WHOLE, _compare(ctx, node, WHOLE, dry_run=dry_run)
        if strange and not dry_run:
            node_records.set_identity(ctx.db, node_name, identity)
            update_readiness(ctx, node)
    for folder in part.folders:
        for image_hash in unacknowledged(ctx, node_name, folder):
            result.count("live_unacknowledged", lis_path_for_hash(image_hash), ctx.config.check.samples)
    if not dry_run:
        keep_result(ctx, result, run_id)
    log.info(
        "%s %s, %s: %d files, %d bytes, %s",
        *_described(ctx, result),
        "the whole tree" if part == WHOLE else f"part {part.name}",
        result.files,
        result.bytes,
        dict(result.findings) or "as the database says",
    )
    return result


def _described(ctx: Context, result: Checked) -> tuple[str, str]:
    return ctx.country.upper(), result.node


def _compare(ctx: Context, node: NodeSession, part: Part, *, dry_run: bool) -> Checked:
    """Compare a part of a node with the database and mark what differs, unless in a dry run."""
    result = Checked(node.node.name, "full" if part == WHOLE else "part", part.name)
    suspects = Suspects(ctx, node, result, dry_run=dry_run)
    for folder in part.folders:
        with node.listing(ctx.country, folder.path) as listing:
            for finding in differences(listing, _watched(ctx, pages(ctx, folder), result, part), result):
                suspects.add(finding)
    suspects.settle()
    ctx.progress(result.files, result.files)
    return result


def _watched(ctx: Context, source: Iterable[Page], result: Checked, part: Part) -> Iterator[Page]:
    """Pass pages on; with each, stop if the check is to, and show how far it is."""
    for page in source:
        ctx.give_way()
        yield page
        if page.bound is not None:
            share = part.share(page.bound.replace(b"/", b"").decode())
            ctx.progress(result.files, round(result.files / share))
