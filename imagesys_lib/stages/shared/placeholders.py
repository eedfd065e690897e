"""Placeholders: the same bytes on so many listings of one data source that they show none of them.

Found out by content, of a downloaded batch and of what an ingest finds on further listings, and kept in
``lis_placeholders``, so that they are counted once. Images with such an original are quarantined; those already live
are unpublished, and their files leave the nodes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.mysql import insert

from imagesys_lib.db.engine import CHUNK, NOW, Row, read, write
from imagesys_lib.db.schema import (
    lis_images,
    lis_listing_images,
    lis_live_images,
    lis_node_repairs,
    lis_placeholders,
)
from imagesys_lib.images.states import Desired, State, move
from imagesys_lib.replication import change_log
from imagesys_lib.runs import leases
from imagesys_lib.runs.leases import Lease
from imagesys_lib.stages import recheck

log = logging.getLogger(__name__)

_i, _p = lis_images.c, lis_placeholders.c
_REASON = {"reason": "placeholder", "detail": "the same bytes stand for many listings of its data source"}


def is_one(most: int) -> sa.ColumnElement[bool]:
    """Return the condition that an image has an original that is known to stand for more than ``most`` listings."""
    same = (_p.source_sha1 == _i.source_sha1) & (_p.datasource_id == _i.datasource_id)
    return sa.select(_p.source_sha1).where(same, _p.listings > most).exists()


def find_in_batch(db: Engine, batch_id: int, most: int) -> int:
    """Note which originals of a downloaded batch stand for more than ``most`` listings. Returns how many are new."""
    return _find(db, (_i.batch_id == batch_id) & (_i.state == State.DOWNLOADED.value), most)


def find_among(db: Engine, hashes: Sequence[str], most: int) -> int:
    """Note which originals of at most 1,000 images already made stand for more than ``most`` listings by now."""
    made = [State.THUMBNAILED.value, State.LIVE.value]
    return _find(db, _i.image_hash.in_(hashes) & _i.state.in_(made), most)


def _find(db: Engine, which: sa.ColumnElement[bool], most: int) -> int:
    known = (_p.source_sha1 == _i.source_sha1) & (_p.datasource_id == _i.datasource_id) & (_p.listings > most)
    originals = (
        sa.select(_i.source_sha1, _i.datasource_id)
        .select_from(lis_images.outerjoin(lis_placeholders, known))
        .where(
            which,
            _i.source_sha1.is_not(None),
            _p.source_sha1.is_(None),  # not counted again, as it may have any number of listings
        )
        .distinct()
        .subquery("originals")
    )
    shows = lis_listing_images.c
    listings = sa.func.count(sa.distinct(shows.listing_id))
    query = (
        sa.select(originals.c.source_sha1, originals.c.datasource_id, listings.label("listings"))
        .join_from(
            originals,
            lis_images,
            (_i.source_sha1 == originals.c.source_sha1) & (_i.datasource_id == originals.c.datasource_id),
        )
        .join(lis_listing_images, (shows.image_hash == _i.image_hash) & (shows.datasource_id == _i.datasource_id))
        .where(shows.missing_since.is_(None))
        .group_by(originals.c.source_sha1, originals.c.datasource_id)
        .having(listings > most)
    )
    return _note(db, read(db, query))


def quarantine(db: Engine, lease: Lease, most: int) -> list[str]:
    """Set the batch's own downloaded placeholders aside, fenced by its lease. Returns their hashes."""

    def work(connection: Connection) -> list[str]:
        leases.guard(connection, lease)
        hashes = _set_aside(connection, most, (State.DOWNLOADED,), _i.batch_id == lease.batch_id)
        recheck.count(connection, lease, gone=len(hashes))
        return hashes

    return _repeatedly(db, work)


def unpublish_placeholders(db: Engine, most: int) -> int:
    """Take every placeholder that is live, or about to be, off the site and the nodes. Returns how many."""
    hashes = _repeatedly(
        db, lambda connection: _set_aside(connection, most, (State.THUMBNAILED, State.LIVE), sa.true())
    )
    if hashes:
        log.warning("%d images are placeholders: unpublished", len(hashes))
    return len(hashes)


def _repeatedly(db: Engine, work: Callable[[Connection], list[str]]) -> list[str]:
    hashes: list[str] = []
    while gained := write(db, work):
        hashes += gained
    return hashes


def _note(db: Engine, rows: Sequence[Row]) -> int:
    if not rows:
        return 0
    for row in rows:
        log.warning(
            "original %s stands for %d listings of data source %d: a placeholder",
            row.source_sha1,
            row.listings,
            row.datasource_id,
        )
    statement = insert(lis_placeholders).values(found_at=NOW)
    statement = statement.on_duplicate_key_update(listings=statement.inserted.listings)
    values = [{key: getattr(row, key) for key in ("source_sha1", "datasource_id", "listings")} for row in rows]
    write(db, lambda connection: connection.execute(statement, values))
    return len(rows)


def _set_aside(connection: Connection, most: int, frm: tuple[State, ...], where: sa.ColumnElement[bool]) -> list[str]:
    """Quarantine up to 1,000 images of known placeholders; what is on the nodes is unpublished and deleted there."""
    same = (_p.source_sha1 == _i.source_sha1) & (_p.datasource_id == _i.datasource_id)
    query = (
        sa.select(_i.image_id, _i.image_hash, _i.desired)
        .select_from(lis_placeholders.join(lis_images, same))
        .where(_p.listings > most, _i.state.in_([state.value for state in frm]), where)
        .limit(CHUNK)
        .with_for_update(of=lis_images)
    )
    rows = connection.execute(query).all()
    out = [row for row in rows if row.desired == Desired.PRESENT.value]
    others = [row.image_id for row in rows if row.desired != Desired.PRESENT.value]
    if out:
        hashes = [row.image_hash for row in out]
        connection.execute(sa.delete(lis_live_images).where(lis_live_images.c.image_hash.in_(hashes)))
        connection.execute(sa.delete(lis_node_repairs).where(lis_node_repairs.c.image_hash.in_(hashes)))
        values = {**_REASON, "desired": Desired.ABSENT.value, "change_id": change_log.record(connection)}
        ids = [row.image_id for row in out]
        move(connection, State.QUARANTINED, frm=frm, where=_i.image_id.in_(ids), values=values)
    if others:
        move(connection, State.QUARANTINED, frm=frm, where=_i.image_id.in_(others), values=_REASON)
    return [row.image_hash for row in rows]
