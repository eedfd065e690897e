"""Recheck: a photo that was replaced under its URL is noticed, as some live images a day are asked for again.

``plan`` makes them batches of the daily run. Live they are all the while: one that is unchanged is not touched, new
bytes go the way of a remake, and what the status map calls gone leaves the site.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from imagesys_lib.config import CountryConfig
from imagesys_lib.context import Context
from imagesys_lib.db.bulk import given
from imagesys_lib.db.engine import CHUNK, NOW, Row, beyond, from_now, read
from imagesys_lib.db.schema import lis_batches, lis_images, lis_listing_images, lis_live_images, lis_node_repairs
from imagesys_lib.fetch.http.jobs import Fetched, NotModified, Unattempted
from imagesys_lib.images.reasons import Fate, ImageFault
from imagesys_lib.images.recipe import recipe
from imagesys_lib.images.states import Desired, State, move
from imagesys_lib.replication import change_log
from imagesys_lib.runs import runs
from imagesys_lib.runs.leases import Lease
from imagesys_lib.runs.runs import Run, naive_utc

RECHECK_FIGURES = "recheck."
"""How the names of their figures (asked, unchanged, replaced, gone, failed), among those of their run, begin."""

Result = Fetched | NotModified | Unattempted | ImageFault

_LEAST_HOURS = 20  # nobody is asked twice a day
_SAMPLE = 1000

_i, _shows = lis_images.c, lis_listing_images.c
_MAY_BE_ASKED = (_i.state == State.LIVE.value) & (_i.checked_at < from_now(-_LEAST_HOURS * 3600))


def budget(ctx: Context) -> int:
    """Return how many live images a daily run asks for again: the configured share, rounded up."""
    percent = ctx.config.recheck.percent
    return math.ceil(_live_about(ctx) * percent / 100) if percent else 0


def _live_about(ctx: Context) -> int:
    """Return the number of live images: by a count up to 1,000, beyond from the place of the 1,000th, as hashes are
    spread evenly; to count millions would take a second.
    """
    shown = lis_live_images.c.image_hash
    first = sa.select(shown).order_by(shown).limit(_SAMPLE).subquery()
    row = read(ctx.db, sa.select(sa.func.count().label("images"), sa.func.max(first.c.image_hash).label("last")))[0]
    return row.images if row.images < _SAMPLE else round(_SAMPLE * 16**10 / max(1, int(row.last[:10], 16)))


def chosen(ctx: Context, run: Run) -> Iterator[int]:
    """Yield the ids of images to ask for: those whose listing was updated since, then those asked longest ago."""
    known: set[int] = set()
    for image_id in _updated(ctx, run):
        if image_id not in known:
            known.add(image_id)
            yield image_id
    yield from (image_id for image_id in _oldest(ctx) if image_id not in known)


def _updated(ctx: Context, run: Run) -> Iterator[int]:
    row = runs.load(ctx.db, run.run_id)
    start = row.read_from if row is not None and row.read_from else naive_utc(run.interval.start)
    key = (_shows.etl_time, _shows.image_hash)
    after: sa.ColumnElement[bool] = _shows.etl_time >= start
    while True:
        page = sa.select(*key).where(after, _shows.missing_since.is_(None)).order_by(*key).limit(CHUNK).subquery()
        asked = (_i.image_hash == page.c.image_hash) & _MAY_BE_ASKED & (_i.checked_at < page.c.etl_time)
        query = sa.select(page.c.etl_time, page.c.image_hash, _i.image_id)
        query = query.select_from(page.outerjoin(lis_images, asked)).order_by(page.c.etl_time, page.c.image_hash)
        ctx.give_way()
        rows = read(ctx.db, query)
        yield from (row.image_id for row in rows if row.image_id is not None)
        if len(rows) < CHUNK:
            return
        after = beyond(key, tuple(rows[-1])[:2])


def _oldest(ctx: Context) -> Iterator[int]:
    key = (_i.checked_at, _i.image_id)
    after: sa.ColumnElement[bool] = sa.true()
    while True:
        ctx.give_way()
        rows = read(ctx.db, sa.select(*key).where(_MAY_BE_ASKED, after).order_by(*key).limit(CHUNK))
        yield from (row.image_id for row in rows)
        if len(rows) < CHUNK:
            return
        after = beyond(key, tuple(rows[-1]))


def is_current(config: CountryConfig, image: Row) -> bool:
    """Say whether an image need not be made again unless its photo has changed.

    The nodes hold thumbnails of the original that its row speaks of; for a remake, made by today's settings.
    """
    wanted = image.recipe if image.rechecks else recipe(config, image.datasource_id)
    return bool(image.desired == Desired.PRESENT.value and image.recipe and image.recipe == wanted)


def is_unchanged(config: CountryConfig, image: Row, result: Result) -> bool:
    """Say whether a photo is as it was: by its host's word (status 304), or by its bytes."""
    if isinstance(result, Fetched):
        return result.sha1 == image.source_sha1 and is_current(config, image)
    return isinstance(result, NotModified)


def is_gone(result: Result) -> bool:
    """Say whether the host says that there is no such photo any more, as the status map reads its answer."""
    return (
        isinstance(result, ImageFault) and result.reason.code.startswith("http_4") and result.reason.fate is Fate.REJECT
    )


def keep(connection: Connection, lease: Lease, pairs: Sequence[tuple[Row, Result]]) -> None:
    """Write what became of images that could not be asked for: gone ones are taken off the site, others stay."""
    gone = [(image, result) for image, result in pairs if isinstance(result, ImageFault) and is_gone(result)]
    others = [image.image_id for image, result in pairs if not is_gone(result)]
    if gone:
        _take_off(connection, gone)
    if others:
        asked = {"checked_at": NOW}  # or a host that is down would keep all others waiting
        move(connection, State.LIVE, frm=(State.RESERVED,), where=_i.image_id.in_(others), values=asked)
    count(connection, lease, gone=len(gone), failed=len(others))


def _take_off(connection: Connection, gone: Sequence[tuple[Row, ImageFault]]) -> None:
    """Reject live images: they leave the site now, and the nodes by a change."""
    hashes = [image.image_hash for image, _ in gone]
    connection.execute(sa.delete(lis_live_images).where(lis_live_images.c.image_hash.in_(hashes)))
    connection.execute(sa.delete(lis_node_repairs).where(lis_node_repairs.c.image_hash.in_(hashes)))
    rows = given(
        [{"image_id": image.image_id, "reason": f.reason.code, "detail": f.detail or None} for image, f in gone],
        {"image_id": int, "reason": str, "detail": str},
    )
    values = {
        "reason": rows.c.reason,
        "detail": rows.c.detail,
        "desired": Desired.ABSENT.value,
        "change_id": change_log.record(connection),
        "checked_at": NOW,
    }
    move(connection, State.REJECTED, frm=(State.RESERVED,), where=_i.image_id == rows.c.image_id, values=values)


def count(connection: Connection, lease: Lease, **figures: int) -> None:
    """Add to the figures of a batch's run, in the transaction that did what they count; of rechecks alone."""
    b = lis_batches.c
    if any(figures.values()):
        query = sa.select(b.run_id).where(b.batch_id == lease.batch_id, b.rechecks == 1)
        if run_id := connection.scalar(query):
            for name, number in figures.items():
                if number:
                    runs.add_figure(connection, run_id, RECHECK_FIGURES + name, number)
