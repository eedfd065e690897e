"""Purged images that a listing shows again.

While the grace period lasts their files still lie on the nodes: such an image is thumbnailed again, and the next
publish makes it live without a download. What is gone, or was made by another recipe, is made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from imagesys_lib.config import CountryConfig
from imagesys_lib.db.engine import NOW, Session
from imagesys_lib.db.schema import lis_images
from imagesys_lib.recipe import recipe
from imagesys_lib.states import CLEAN_SLATE, Desired, State, move

FORGOTTEN: dict[str, Any] = {"desired": Desired.NONE.value, "change_id": None, "thumbs": sa.null()}
"""Values of an image whose files count no longer: on a node they are extra until it is made anew."""


def bring_back(session: Session, config: CountryConfig, hashes: Sequence[str]) -> int:
    """Take purged images (at most 1,000 hashes) back into life; others are left alone. Returns how many."""
    i = lis_images.c
    rows = session.execute(
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
            moved += move(session, to, frm=(State.PURGED,), where=i.image_id.in_(sorted(ids)), values=values)
    return moved
