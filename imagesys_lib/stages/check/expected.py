"""What the database expects of a node: page by page in byte order for the merge, by image for the second check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, Row, from_now, read
from imagesys_lib.db.schema import lis_changes, lis_images, lis_node_repairs
from imagesys_lib.images.hash_and_path import lis_path_for_hash
from imagesys_lib.images.states import Desired, State
from imagesys_lib.replication import change_log, node_records
from imagesys_lib.stages.check.compare import Expected, Page
from imagesys_lib.stages.check.parts import Folder


class _Thumb(msgspec.Struct, gc=False):
    """As much of a thumbnail in ``lis_images.thumbs`` as its record needs."""

    path: str
    bytes: int


_THUMBS = msgspec.json.Decoder(list[list[_Thumb] | None])
"""Several times as quick as ``json.loads``, which makes an object of every key and value."""

_RAW_THUMBS: sa.ColumnElement[Any] = sa.type_coerce(lis_images.c.thumbs, sa.Text).label("thumbs")


def pages(ctx: Context, folder: Folder) -> Iterator[Page]:
    """Yield what a folder should hold of every image that is to be present; the last page has no bound.

    All nodes get the same pages: changes that a node has yet to apply come out at the second check.
    """
    i = lis_images.c
    present = sa.select(i.image_hash, _RAW_THUMBS).where(i.desired == Desired.PRESENT.value)
    if folder.high:
        present = present.where(i.image_hash < folder.high)
    present = present.order_by(i.image_hash).limit(CHUNK)
    after = folder.low
    while True:
        rows = read(ctx.db, present.where(i.image_hash > after))
        complete = len(rows) < CHUNK
        yield page_of(ctx.country, rows, complete)
        if complete:
            return
        after = rows[-1].image_hash


def page_of(country: str, rows: Sequence[Sequence[Any]], complete: bool) -> Page:
    """Return the records of images, given as rows of (image_hash, thumbs as text) in order of the hash.

    One parse and one join a page: this is what a check of millions of files spends its time on.
    """
    below = len(country) + 1
    images = _THUMBS.decode(f"[{','.join([row[1] or 'null' for row in rows])}]")
    thumbs = [thumb for image in images if image for thumb in image]
    records = [f"{thumb.path[below:]}\t{thumb.bytes}\0" for thumb in thumbs]
    records.sort()  # nearly done: siblings of a thumbnail may be in another order
    size = sum([thumb.bytes for thumb in thumbs])
    bound = None if complete else f"{lis_path_for_hash(rows[-1][0])}/".encode()  # "/" is the byte after "."
    return Page("".join(records).encode(), len(records), size, bound)


def expected_on(ctx: Context, node_name: str, hashes: list[str] | None = None) -> Iterator[Expected]:
    """Yield what the database expects of a node, in hash order, page by page; ``hashes`` narrows it.

    Pending is what its change log will still bring: a change that is open, not acknowledged and no older than
    ``check.catch_up_hours``. Acknowledged is what the node said it has, in the change log or before its pruning,
    unless it is set aside for repair by somebody other than a check.
    """
    i, c = lis_images.c, lis_changes.c
    its_change = sa.select(c.change_id).where(c.change_id == i.change_id)
    acked = change_log.acknowledged_by(node_name, i.change_id)
    began = from_now(-round(ctx.config.check.catch_up_hours * 3600))
    young = its_change.where(c.settled_at.is_(None), c.created_at >= began).exists()
    query = sa.select(
        i.image_hash,
        i.desired,
        i.thumbs,
        (young & ~acked).label("pending"),
        ((acked | ~its_change.exists()) & ~_set_aside(node_name)).label("acked"),
    )
    after = ""
    while True:
        where = (i.image_hash > after) & (i.desired != Desired.NONE.value)
        if hashes is not None:
            where &= i.image_hash.in_(hashes)
        rows = read(ctx.db, query.where(where).order_by(i.image_hash).limit(CHUNK))
        for row in rows:
            present = row.desired == Desired.PRESENT.value
            if present or row.pending:
                yield _expected(row, row.thumbs or () if present else ())
        if len(rows) < CHUNK:
            return
        after = rows[-1].image_hash


def _set_aside(node_name: str) -> sa.ColumnElement[bool]:
    r = lis_node_repairs.c
    others = r.reason.not_in(node_records.FOUND_BY_CHECKS)
    return sa.select(r.node).where(r.node == node_name, r.image_hash == lis_images.c.image_hash, others).exists()


def _expected(row: Row, thumbs: Sequence[dict[str, Any]]) -> Expected:
    ends = {f"{thumb['n']}.{thumb.get('format', 'jpg')}": thumb for thumb in thumbs}
    return Expected(
        row.image_hash,
        {end: int(thumb["bytes"]) for end, thumb in ends.items()},
        bool(row.pending),
        bool(row.acked),
        {end: str(thumb["sha1"]) for end, thumb in ends.items() if thumb.get("sha1")},
    )


def unacknowledged(ctx: Context, node_name: str, folder: Folder) -> Iterator[str]:
    """Yield the live images of a folder whose change this node has not acknowledged for ``check.catch_up_hours``."""
    i = lis_images.c
    inside = (i.state == State.LIVE.value) & (i.image_hash > folder.low)
    if folder.high:
        inside &= i.image_hash < folder.high
    after, hours = 0, ctx.config.check.catch_up_hours
    while late := change_log.pending(ctx.db, node_name, CHUNK, after=after, hours=hours):
        after = late[-1]
        for change_id in late:  # at most 1,000 images each
            query = sa.select(i.image_hash).where(i.change_id == change_id, inside).order_by(i.image_hash)
            yield from (row.image_hash for row in read(ctx.db, query))
