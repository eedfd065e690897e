"""db_scan: walk the whole live table and compare it with the work state."""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa

from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, read
from imagesys_lib.db.schema import lis_images, lis_live_images
from imagesys_lib.states import Desired, State


def db_scan(ctx: Context) -> Counter[str]:
    """Walk the whole live table and compare it with ``lis_images``; returns faults by kind, empty if none.

    ``live_unknown``: a live row whose image is not in a live state; ``live_stale``: it shows other thumbnails than
    the image has; ``not_published``: an image in state live without a row.
    """
    faults: Counter[str] = Counter()
    live, i = lis_live_images, lis_images.c
    joined = live.outerjoin(lis_images, i.image_hash == live.c.image_hash)
    after = ""
    seen = 0
    while True:
        query = (
            sa.select(live.c.image_hash, live.c.image_data, i.state, i.desired, i.thumbs)
            .select_from(joined)
            .where(live.c.image_hash > after)
            .order_by(live.c.image_hash)
            .limit(CHUNK)
        )
        ctx.check_stop()
        rows = read(ctx.db, query)
        for row in rows:
            if row.desired != Desired.PRESENT.value or row.state == State.PURGED.value:
                faults["live_unknown"] += 1
            elif row.state == State.LIVE.value and _shown(row.image_data) != _made(row.thumbs):
                faults["live_stale"] += 1
        seen += len(rows)
        ctx.progress(seen, seen)
        if len(rows) < CHUNK:
            break
        after = rows[-1].image_hash
    faults["not_published"] += _unpublished(ctx)
    return +faults


def _shown(image_data: dict[str, dict[str, object]]) -> set[tuple[object, object]]:
    return {(thumb["path"], thumb["bytes"]) for thumb in image_data.values()}


def _made(thumbs: list[dict[str, object]] | None) -> set[tuple[object, object]]:
    return {(thumb["path"], thumb["bytes"]) for thumb in thumbs or ()}


def _unpublished(ctx: Context) -> int:
    i, live = lis_images.c, lis_live_images.c
    count, after = 0, 0
    while True:
        query = (
            sa.select(i.image_id, live.image_hash.label("shown"))
            .select_from(lis_images.outerjoin(lis_live_images, live.image_hash == i.image_hash))
            .where(i.state == State.LIVE.value, i.image_id > after)
            .order_by(i.image_id)
            .limit(CHUNK)
        )
        ctx.check_stop()
        rows = read(ctx.db, query)
        count += sum(row.shown is None for row in rows)
        if len(rows) < CHUNK:
            return count
        after = rows[-1].image_id
