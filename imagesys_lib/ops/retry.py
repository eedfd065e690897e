"""Requeue: give images that failed another chance, by hand."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa

from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, beyond, read, write
from imagesys_lib.db.schema import lis_images
from imagesys_lib.images.states import CLEAN_SLATE, NEVER, State, move
from imagesys_lib.runs.runs import naive_utc

_STATES = (State.FAILED, State.REJECTED, State.QUARANTINED, State.LIVE)
_KEPT = (lis_images.c.next_attempt_at == NEVER) & lis_images.c.reason.is_not(None)
"""Live images that could not be made again."""


def retry(
    ctx: Context,
    *,
    reason: str | None = None,
    datasource: int | None = None,
    since: dt.datetime | None = None,
    dry_run: bool = False,
) -> int:
    """Queue failed, rejected and quarantined images as new with no attempts. Returns how many.

    Live ones that could not be made again are queued, too, and stay on the site as they are meanwhile.
    ``since`` takes those alone that came into that state then or later.
    """
    i = lis_images.c
    where: sa.ColumnElement[bool] = sa.true()
    if reason:
        where &= i.reason == reason
    if datasource is not None:
        where &= i.datasource_id == datasource
    if since is not None:
        where &= i.updated_at >= naive_utc(since)
    count = 0
    for state in _STATES:
        failed = where & _KEPT if state is State.LIVE else where
        count += _requeue(ctx, state, failed, count, dry_run=dry_run)
    return count


def _requeue(ctx: Context, state: State, where: sa.ColumnElement[bool], before: int, *, dry_run: bool) -> int:
    """Walk the images of one state by the index of what is due: the others, most of the table, are not looked at."""
    i = lis_images.c
    order = (i.next_attempt_at, i.image_id)
    after: sa.ColumnElement[bool] = sa.true()
    count = 0
    while True:
        ctx.give_way()
        query = sa.select(*order).where(i.state == state.value, after, where).order_by(*order).limit(CHUNK)
        rows = read(ctx.db, query)
        ids = [row.image_id for row in rows]
        if ids and not dry_run:
            chosen = i.image_id.in_(ids) & where
            count += write(ctx.db, lambda s, w=chosen: move(s, State.NEW, frm=(state,), where=w, values=CLEAN_SLATE))  # type: ignore[misc]
        elif dry_run:
            count += len(ids)
        ctx.progress(before + count, before + count)
        if len(rows) < CHUNK:
            return count
        after = beyond(order, tuple(rows[-1]))
