"""Which images are due by a rule, read page by page: memory does not grow with what there is to purge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, Row, beyond, read
from imagesys_lib.db.schema import lis_images, lis_listing_images, lis_live_images
from imagesys_lib.images.states import State
from imagesys_lib.stages.purge.lookup import still_due
from imagesys_lib.stages.purge.rules import Cutoffs, PurgeRule

IDLE = (State.NEW, State.THUMBNAILED, State.LIVE, State.FAILED, State.REJECTED, State.QUARANTINED)
"""States in which no batch is at work on an image."""

_i, _t, _live = lis_images.c, lis_listing_images.c, lis_live_images.c
_other = lis_listing_images.alias("other").c


def _kept(rule: PurgeRule, cut: Cutoffs) -> sa.ColumnElement[bool]:
    """Return the condition on ``other``, a listing of an image, that keeps the image from being due by a rule."""
    if rule is PurgeRule.AGE:
        return (_other.etl_time > cut.age) | (_other.seen_at > cut.age)
    return _other.missing_since.is_(None) | (_other.missing_since > cut.unlisted)


def due_by(connection: Connection, rule: PurgeRule, hashes: Sequence[str], cut: Cutoffs) -> set[str]:
    """Return those of at most 1,000 images that are due by a rule, as the database is at this moment."""
    if rule not in cut.rules:
        return set()
    kept = sa.select(_other.image_hash).where(_other.image_hash.in_(hashes), _kept(rule, cut)).distinct()
    return set(hashes) - set(connection.scalars(kept))


def out_of_date(cut: Cutoffs) -> sa.ColumnElement[bool]:
    """Return the condition on a listing's image that it keeps nothing from being due any more."""
    unlisted = _t.missing_since <= cut.unlisted
    return unlisted if cut.age is None else unlisted | ((_t.etl_time <= cut.age) & (_t.seen_at <= cut.age))


def shown_by(sources: Sequence[int], image_hash: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Return the condition that an image has, or had, a listing of one of these data sources."""
    of_image = (_other.image_hash == image_hash) & _other.datasource_id.in_(sources)
    return sa.select(_other.image_hash).where(of_image).exists()


def candidates(
    ctx: Context, rule: PurgeRule, cut: Cutoffs, suspects: Sequence[int], *, dry_run: bool
) -> Iterator[list[Row]]:
    """Yield (image_hash, image_url, shown) of the images due by a rule that the ETL, asked again, does not show anew.

    Each image comes once, in the place of the newest of its listings; ``shown`` is its hash if it has a live row, else
    None. Images of ``suspects`` are left out.
    """
    time = _t.etl_time if rule is PurgeRule.AGE else _t.missing_since
    cutoff = cut.age if rule is PurgeRule.AGE else cut.unlisted
    later = beyond(
        (_other.etl_time if rule is PurgeRule.AGE else _other.missing_since, _other.listing_id, _other.datasource_id),
        (time, _t.listing_id, _t.datasource_id),
    )
    newest = ~sa.select(_other.image_hash).where(_other.image_hash == _t.image_hash, later | _kept(rule, cut)).exists()
    where = [time <= cutoff, newest, _i.state.in_([state.value for state in IDLE])]
    if rule is PurgeRule.AGE:  # what is due by both counts as unlisted
        of_image = _other.image_hash == _t.image_hash
        where.append(sa.select(_other.image_hash).where(of_image, _kept(PurgeRule.UNLISTED, cut)).exists())
    if suspects:
        where.append(~shown_by(suspects, _t.image_hash))
    joined = lis_listing_images.join(lis_images, _i.image_hash == _t.image_hash).outerjoin(
        lis_live_images, _live.image_hash == _t.image_hash
    )
    key = (time, _t.image_hash, _t.listing_id, _t.datasource_id)
    after: sa.ColumnElement[bool] = sa.true()
    while True:
        ctx.give_way(etl=True)
        query = (
            sa.select(*key, _i.image_url, _live.image_hash.label("shown"))
            .select_from(joined)
            .where(*where, after)
            .order_by(*key)
            .limit(CHUNK)
        )
        rows = read(ctx.db, query)
        still = still_due(ctx, [row.image_hash for row in rows], cut, dry_run=dry_run) if rows else set()
        if still:
            yield [row for row in rows if row.image_hash in still]
        if len(rows) < CHUNK:
            return
        last = rows[-1]
        after = beyond(key, tuple(last[:4]))


def count_live(ctx: Context, most: int | None = None) -> int:
    """Count the live images, up to ``most``, which is all that the cap must know of.

    Read from the index by state of ``lis_images``: exact, unlike the server's estimates, and without walking the rows
    of ``lis_live_images``, whose only index is the table itself. Live images that are being made again have another
    state: to leave them out makes the cap a little lower.
    """
    if most == 0:
        return 0
    live = _i.state == State.LIVE.value
    query = sa.select(sa.func.count()).select_from(lis_images).where(live)
    if most is not None:
        query = sa.select(sa.func.count()).select_from(sa.select(_i.image_id).where(live).limit(most).subquery())
    return int(read(ctx.db, query)[0][0])
