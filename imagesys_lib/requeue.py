"""Requeue: give images that failed another chance, by hand."""

from __future__ import annotations

import sqlalchemy as sa

from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, read, write
from imagesys_lib.db.schema import lis_images
from imagesys_lib.states import CLEAN_SLATE, State, move

_STATES = (State.FAILED, State.REJECTED, State.QUARANTINED)


def retry(ctx: Context, *, reason: str | None = None, datasource: int | None = None, dry_run: bool = False) -> int:
    """Queue failed, rejected and quarantined images as new with no attempts. Returns how many."""
    i = lis_images.c
    where: sa.ColumnElement[bool] = i.state.in_([state.value for state in _STATES])
    if reason:
        where &= i.reason == reason
    if datasource is not None:
        where &= i.datasource_id == datasource
    count, after = 0, 0
    while True:
        query = sa.select(i.image_id).where(where, i.image_id > after).order_by(i.image_id).limit(CHUNK)
        ids = [row.image_id for row in read(ctx.db, query)]
        if ids and not dry_run:
            count += write(
                ctx.db,
                lambda session, ids=ids: move(  # type: ignore[misc]
                    session, State.NEW, frm=_STATES, where=i.image_id.in_(ids), values=CLEAN_SLATE
                ),
            )
        elif dry_run:
            count += len(ids)
        ctx.progress(count, count)
        if len(ids) < CHUNK:
            return count
        after = ids[-1]
