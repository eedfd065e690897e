"""Purged images that a listing shows again, and images whose files are lost.

While the grace period lasts their files still lie on the nodes: a purged image is thumbnailed again, and the next
publish makes it live without a download. What is gone, or was made by another recipe, is made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from imagesys_lib.config import CountryConfig
from imagesys_lib.db.engine import NOW
from imagesys_lib.db.schema import lis_images, lis_live_images
from imagesys_lib.images.recipe import recipe
from imagesys_lib.images.states import CLEAN_SLATE, Desired, State, move

FORGOTTEN: dict[str, Any] = {"desired": Desired.NONE.value, "change_id": None, "thumbs": sa.null()}
"""Values of an image whose files count no longer: on a node they are extra until it is made anew."""


def bring_back(connection: Connection, config: CountryConfig, hashes: Sequence[str]) -> int:
    """Take purged images (at most 1,000 hashes) back into life; others are left alone. Returns how many."""
    i = lis_images.c
    rows = connection.execute(
        sa.select(i.image_id, i.desired, i.recipe, i.datasource_id, i.thumbs)
        .where(i.image_hash.in_(hashes), i.state == State.PURGED.value)
        .order_by(i.image_id)
        .with_for_update()
    ).all()
    in_grace = [row for row in rows if row.desired == Desired.PRESENT.value]
    as_made = {
        row.image_id for row in in_grace if row.thumbs and row.recipe == recipe(config, row.datasource_id)
    }  # whether the nodes still hold them, `publish` asks as of every image
    otherwise = {row.image_id for row in in_grace} - as_made
    gone = {row.image_id for row in rows} - as_made - otherwise
    kept = {"reason": None, "detail": None, "next_attempt_at": NOW}
    moved = 0
    for ids, to, values in (
        (as_made, State.THUMBNAILED, kept),
        (otherwise, State.NEW, {**CLEAN_SLATE, **FORGOTTEN}),
        (gone, State.NEW, CLEAN_SLATE),
    ):
        if ids:
            moved += move(connection, to, frm=(State.PURGED,), where=i.image_id.in_(sorted(ids)), values=values)
    return moved


def requeue_lost(connection: Connection, seen: dict[int, int | None]) -> int:
    """Queue images that no node holds as new, if they still are as they were seen (id to change).

    One in work again has its files on the way. Of purged ones, which nothing is to be made of, the files are forgotten.
    Returns how many were queued.
    """
    i = lis_images.c
    locked = connection.execute(
        sa.select(i.image_id, i.image_hash, i.change_id, i.state)
        .where(i.image_id.in_(list(seen)), i.state.in_([State.LIVE.value, State.THUMBNAILED.value, State.PURGED.value]))
        .order_by(i.image_id)
        .with_for_update()
    ).all()
    rows = [row for row in locked if row.change_id == seen[row.image_id]]
    if not rows:
        return 0
    where, hashes = i.image_id.in_([row.image_id for row in rows]), [row.image_hash for row in rows]
    connection.execute(sa.delete(lis_live_images).where(lis_live_images.c.image_hash.in_(hashes)))
    connection.execute(sa.update(lis_images).where(where, i.state == State.PURGED.value).values(FORGOTTEN))
    values = {"next_attempt_at": NOW, "attempts": 0, **FORGOTTEN}
    return move(connection, State.NEW, frm=(State.LIVE, State.THUMBNAILED), where=where, values=values)
