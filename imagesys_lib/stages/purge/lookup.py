"""What the ETL says: known listings looked up by its key, what is gone of them marked, what is back unmarked."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy import Connection

from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, NOW, Row, beyond, chunks, database_now, read, write
from imagesys_lib.db.schema import lis_listing_images
from imagesys_lib.etl.listings import Listing
from imagesys_lib.etl.pages import newest_by_key
from imagesys_lib.images import relisted
from imagesys_lib.images.hash_and_path import lis_hash_for_url
from imagesys_lib.stages.purge.rules import Cutoffs
from imagesys_lib.stages.shared.bad_rows import BadRows

Key = tuple[str, int]
Shown = tuple[str, int, str]
"""A listing (its id and data source) and the hash of an image it shows."""

_t = lis_listing_images.c
_LISTING = (_t.listing_id == sa.bindparam("b_listing")) & (_t.datasource_id == sa.bindparam("b_datasource"))


@dataclass(frozen=True)
class LookUp:
    """Listings looked up since ``began``: how many, and by data source how many were known as shown.

    ``missing`` ones are newly gone, ``dropped`` images newly gone from listings that stay, others ``back``. ``gone``
    counts, by data source, the listings that are missing or have lost half of their images or more. A listing whose row
    is ``bad`` stays as it is known.
    """

    began: dt.datetime
    looked_up: int
    listed: Mapping[int, int]
    gone: Mapping[int, int]
    missing: list[Key]
    dropped: list[Shown]
    back: list[Shown]
    bad: BadRows = field(default_factory=BadRows)


def known_listings(ctx: Context) -> int:
    """Count the listings that are known, up to as many as decide whether a run looks up all of them."""
    few = sa.select(_t.listing_id).group_by(_t.listing_id, _t.datasource_id).limit(ctx.config.purge.rotate_above + 1)
    return int(read(ctx.db, sa.select(sa.func.count()).select_from(few.subquery()))[0][0])


def count_listings(ctx: Context) -> int:
    """Count all listings, page by page."""
    return sum(len(page) for page in _listing_keys(ctx, (0, 1)))


def look_up(ctx: Context, shard: tuple[int, int], total: int = 0) -> LookUp:
    """Compare the listings we know (``total``, if that is known) with the ETL, page by page; marks nothing."""
    began, looked_up = database_now(ctx.db), 0
    listed: Counter[int] = Counter()
    gone: Counter[int] = Counter()
    missing: list[Key] = []
    dropped: list[Shown] = []
    back: list[Shown] = []
    bad = BadRows()
    for page in _listing_keys(ctx, shard):
        found = ctx.etl.listings([row.listing_id for row in page])
        bad.add(found.bad)
        there = newest_by_key(found.listings)
        keys = [(row.listing_id, row.datasource_id) for row in page]
        showing = {key: set(_hashes(there[key])) for key in keys if key in there}
        no_longer, unreadable = _shown_no_longer(ctx, showing, began), found.unreadable
        for key, row in zip(keys, page, strict=True):
            lost = len(no_longer[key]) if key in there else row.shown
            listed[row.datasource_id] += 1 if row.shown else 0
            if key not in there and row.listing_id in unreadable:
                continue
            if key not in there:
                missing += [key] if row.shown else []
            elif row.gone:
                back += [(*key, image_hash) for image_hash in showing[key]]
            dropped += [(*key, image_hash) for image_hash in no_longer[key]]
            gone[row.datasource_id] += 1 if row.shown and 2 * lost >= row.shown else 0
        looked_up += len(page)
        ctx.progress(looked_up, max(looked_up, total))
    return LookUp(began, looked_up, listed, gone, missing, dropped, back, bad)


def _shown_no_longer(ctx: Context, showing: Mapping[Key, set[str]], began: dt.datetime) -> Mapping[Key, list[str]]:
    """Return, by listing, the images it was known to show and shows no more; what an ingest has seen since counts not.

    Ingest marks these too, but reads only listings with a new date, and only those of its interval.
    """
    found: defaultdict[Key, list[str]] = defaultdict(list)
    known = (_t.missing_since.is_(None), _t.seen_at < began)
    for some in chunks(sorted({listing_id for listing_id, _ in showing}), 100):
        query = sa.select(_t.listing_id, _t.datasource_id, _t.image_hash).where(_t.listing_id.in_(some), *known)
        for row in read(ctx.db, query):
            key = (row.listing_id, row.datasource_id)
            if key in showing and row.image_hash not in showing[key]:
                found[key].append(row.image_hash)
    return found


def _hashes(listing: Listing) -> list[str]:
    return [lis_hash_for_url(url) for url in listing.urls]


def _listing_keys(ctx: Context, shard: tuple[int, int]) -> Iterator[Sequence[Row]]:
    """Yield pages of (listing_id, datasource_id, shown, gone): how many of its images are shown and gone."""
    number, count = shard
    key = (_t.listing_id, _t.datasource_id)
    after: sa.ColumnElement[bool] = sa.true()
    while True:
        ctx.give_way(etl=True)
        query = (
            sa.select(
                *key,
                sa.func.sum(_t.missing_since.is_(None)).label("shown"),
                sa.func.sum(_t.missing_since.is_not(None)).label("gone"),
            )
            .where(after)
            .group_by(*key)
            .order_by(*key)
            .limit(CHUNK)
        )
        if count > 1:
            query = query.where(sa.func.crc32(_t.listing_id) % count == number)
        rows = read(ctx.db, query)
        if rows:
            yield rows
        if len(rows) < CHUNK:
            return
        after = beyond(key, tuple(rows[-1][:2]))


def mark_gone(ctx: Context, found: LookUp, suspects: Sequence[int]) -> int:
    """Mark what is gone, but of ``suspects``, and unmark what is back. Returns how many purged images came back."""
    gone = sa.update(lis_listing_images).where(_LISTING, _t.missing_since.is_(None)).values(missing_since=NOW)
    missing = [key for key in found.missing if key[1] not in suspects]
    for piece in chunks(missing, 100):
        rows = [{"b_listing": listing_id, "b_datasource": datasource_id} for listing_id, datasource_id in piece]
        write(ctx.db, lambda connection, rows=rows: connection.execute(gone, rows))  # type: ignore[misc]
    one = gone.where(_t.image_hash == sa.bindparam("b_hash"), _t.seen_at < found.began)
    for some in chunks([shown for shown in found.dropped if shown[1] not in suspects]):
        rows = _bound(some)
        write(ctx.db, lambda connection, rows=rows: connection.execute(one, rows))  # type: ignore[misc]
    return mark_shown(ctx, found.back)


def mark_shown(ctx: Context, back: Sequence[Shown]) -> int:
    """Note that listings show these images again. Returns how many of them were purged and come back."""
    returned = 0
    for piece in chunks(back):
        query = sa.select(_t.listing_id, _t.datasource_id, _t.image_hash).where(
            _t.listing_id.in_(sorted({listing_id for listing_id, _, _ in piece})), _t.missing_since.is_not(None)
        )
        marked = {tuple(row) for row in read(ctx.db, query)}.intersection(piece)
        if marked:
            returned += _note_shown(ctx, marked, {"missing_since": None, "seen_at": NOW})
    return returned


def _note_seen(ctx: Context, shown: Sequence[Shown]) -> None:
    """Note that the ETL has updated these listings since, though no ingest has read them: they are not old."""
    for piece in chunks(shown):
        _note_shown(ctx, piece, {"seen_at": NOW})


def _note_shown(ctx: Context, shown: Iterable[Shown], values: Mapping[str, object]) -> int:
    """Set ``values`` of at most 1,000 listings' images, and bring back those that were purged. Returns how many."""
    statement = sa.update(lis_listing_images).where(_LISTING, _t.image_hash == sa.bindparam("b_hash")).values(values)
    rows = _bound(shown)

    def work(connection: Connection) -> int:
        connection.execute(statement, rows)
        return relisted.bring_back(connection, ctx.config, sorted({str(row["b_hash"]) for row in rows}))

    return write(ctx.db, work)


def _bound(shown: Iterable[Shown]) -> list[dict[str, object]]:
    """Return the parameters of a statement about listings' images, in one order for all."""
    return [dict(zip(("b_listing", "b_datasource", "b_hash"), row, strict=True)) for row in sorted(shown)]


def still_due(ctx: Context, hashes: Sequence[str], cut: Cutoffs, *, dry_run: bool) -> set[str]:
    """Ask the ETL once more, at the moment of purging, about at most 1,000 images; what it shows again is kept,
    and comes back if it was purged.

    By the age rule an image may go although it is listed, but not if the ETL has updated its listing since. What a
    listing shows whose row cannot be read is kept as well.
    """
    pairs = list(_listings_of(ctx, hashes))
    found = ctx.etl.listings(sorted({row.listing_id for row in pairs}))
    there, unreadable = newest_by_key(found.listings), found.unreadable
    showing = {key: set(_hashes(listing)) for key, listing in there.items()}
    back: list[Shown] = []
    updated: list[Shown] = []
    unknown: set[str] = set()
    for row in pairs:
        key = (row.listing_id, row.datasource_id)
        if key not in there and row.listing_id in unreadable:
            unknown.add(row.image_hash)
        if row.image_hash not in showing.get(key, ()):
            continue
        if row.missing_since is not None:
            back.append((*key, row.image_hash))
        elif cut.age is None or there[key].updated_at > cut.age:
            updated.append((*key, row.image_hash))
    if not dry_run:
        mark_shown(ctx, back)
        _note_seen(ctx, updated)
    return set(hashes) - {image_hash for _, _, image_hash in back + updated} - unknown


def _listings_of(ctx: Context, hashes: Sequence[str]) -> Iterator[Row]:
    """Yield the listings that are known of these images, at most 1,000 a page."""
    key = (_t.image_hash, _t.listing_id, _t.datasource_id)
    after: sa.ColumnElement[bool] = sa.true()
    while True:
        query = sa.select(*key, _t.missing_since).where(_t.image_hash.in_(hashes), after).order_by(*key).limit(CHUNK)
        rows = read(ctx.db, query)
        yield from rows
        if len(rows) < CHUNK:
            return
        after = beyond(key, tuple(rows[-1][:3]))
