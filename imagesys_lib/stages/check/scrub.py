"""Scrub: read a rotating part of a node's files and compare their checksums with those kept from thumbnailing.

Sizes and times never show a flipped bit. How far a node has been read is kept in ``lis_nodes``, so each scrub goes on
where the last one ended, and after the last hash the round begins anew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import insert

from imagesys_lib.context import Context
from imagesys_lib.db.engine import NOW, Row, read, write
from imagesys_lib.db.schema import lis_images, lis_nodes
from imagesys_lib.images.hash_and_path import parse_thumbnail_path
from imagesys_lib.images.states import Desired
from imagesys_lib.nodes import NodeSession
from imagesys_lib.replication import node_records
from imagesys_lib.stages.check.expected import expected_on
from imagesys_lib.stages.check.results import Checked, keep_result

log = logging.getLogger(__name__)

_GROUP = 500  # images read at once


def scrub(
    ctx: Context, node_name: str, run_id: str | None = None, files: int | None = None, *, dry_run: bool = False
) -> Checked:
    """Read up to ``files`` files of a node (``check.scrub_files`` if not given) and mark the damaged ones for repair.

    A file that is not there is no matter of this; one that cannot be read counts as damaged. ``dry_run`` reads and
    writes nothing: the next scrub begins where this one did.
    """
    budget = ctx.config.check.scrub_files if files is None else files
    began = after = scrubbed_to(ctx, node_name)
    result = Checked(node_name, node_records.SCRUB)
    if not budget:
        return result
    asked = 0  # for an empty node this must grow too
    with NodeSession(ctx.node(node_name), ctx.stop) as node:
        while asked < budget:
            ctx.give_way()
            limit = min(_GROUP, max(1, (budget - asked) // len(ctx.config.sizes)))
            rows = _images(ctx, after, limit)
            asked_for, damaged = _read(ctx, node, rows, result)
            asked += max(len(rows), asked_for)
            after = rows[-1].image_hash if len(rows) == limit else ""
            if not dry_run:
                node_records.mark(ctx.db, node_name, dict.fromkeys(damaged, "damaged"), keep=True)
                _remember(ctx, node_name, after)
            ctx.progress(min(asked, budget), budget)
            if not after:
                break
    result.part = "all" if not began and not after else f"{began[:4] or '0000'}-{after[:4] or 'ffff'}"
    if not dry_run:
        keep_result(ctx, result, run_id)
    log.info(
        "%s %s: %d files read (%s), %s",
        ctx.country.upper(),
        node_name,
        result.files,
        result.part,
        dict(result.findings) or "all as they were made",
    )
    return result


def scrubbed_to(ctx: Context, node_name: str) -> str:
    """Return the hash up to which this round has read a node's files; "" at the start of a round."""
    rows = read(ctx.db, sa.select(lis_nodes.c.scrubbed_to).where(lis_nodes.c.node == node_name))
    return str(rows[0].scrubbed_to or "") if rows else ""


def _remember(ctx: Context, node_name: str, image_hash: str) -> None:
    values = {"scrubbed_to": image_hash or None}
    statement = insert(lis_nodes).values(node=node_name, updated_at=NOW, **values).on_duplicate_key_update(**values)
    write(ctx.db, lambda connection: connection.execute(statement))


def _images(ctx: Context, after: str, limit: int) -> list[Row]:
    i = lis_images.c
    query = sa.select(i.image_hash, i.thumbs).where(i.image_hash > after, i.desired == Desired.PRESENT.value)
    return list(read(ctx.db, query.order_by(i.image_hash).limit(limit)))


def _read(ctx: Context, node: NodeSession, rows: list[Row], result: Checked) -> tuple[int, set[str]]:
    """Compare the files of some images; what differs is looked at once more, and then counted.

    Returns how many files were asked for, and the hashes of the images that are damaged.
    """
    below = len(ctx.country) + 1
    thumbs = {str(t["path"])[below:]: t for row in rows for t in row.thumbs or () if t.get("sha1")}
    wrong, unread = _unlike(node, ctx.country, {path: str(thumb["sha1"]) for path, thumb in thumbs.items()})
    result.files += len(thumbs) - len(unread)
    result.bytes += sum(int(thumb["bytes"]) for path, thumb in thumbs.items() if path not in unread)
    unread = [entry.path for entry in node.stat(ctx.country, unread)]
    suspects = sorted([*wrong, *unread])
    damaged = _confirm(ctx, node, suspects) if suspects else {}
    for path in damaged:
        result.count("damaged", path, ctx.config.check.samples)
    return len(thumbs), set(damaged.values())


def _unlike(node: NodeSession, country: str, wanted: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the paths whose bytes are others than they should be, and those that gave no checksum."""
    sums = node.sums(country, sorted(wanted))
    wrong = [path for path, digest in sums.items() if wanted.get(path) not in (None, digest)]
    return wrong, [path for path in wanted if path not in sums]


def _confirm(ctx: Context, node: NodeSession, suspects: list[str]) -> dict[str, str]:
    """Return (path to image hash) of what is damaged by both sides as they are now: it may have been made again."""
    parsed = {path: parse_thumbnail_path(path) or ("", "") for path in suspects}
    named = sorted({image_hash for image_hash, _ in parsed.values() if image_hash})
    expected = {e.image_hash: e for e in expected_on(ctx, node.node.name, named) if not e.pending}
    wanted = {
        path: expected[image_hash].sums[end]
        for path, (image_hash, end) in parsed.items()
        if image_hash in expected and end in expected[image_hash].sums
    }
    wrong, unread = _unlike(node, ctx.country, wanted)
    still = [entry.path for entry in node.stat(ctx.country, unread)]
    return {path: parsed[path][0] for path in sorted([*wrong, *still])}
