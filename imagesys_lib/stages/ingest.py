"""Ingest: bring the ETL's rows of an interval into ``lis_images`` and ``lis_listing_images``."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.mysql import insert

from imagesys_lib.config import CountryConfig
from imagesys_lib.config.intervals import UTC, Interval
from imagesys_lib.context import Context
from imagesys_lib.db.engine import NOW, chunks, database_now, read, write
from imagesys_lib.db.schema import lis_images, lis_listing_images
from imagesys_lib.etl.listings import Listing
from imagesys_lib.images import relisted
from imagesys_lib.images.hash_and_path import lis_hash_for_url
from imagesys_lib.images.states import CLEAN_SLATE, Desired, State, move
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.shared import placeholders
from imagesys_lib.stages.shared.bad_rows import BadRows

log = logging.getLogger(__name__)

_RELEASED = (State.FAILED, State.REJECTED, State.QUARANTINED)
"""States that new ETL data ends: attempts are keyed on URL and ETL version. Live is none: rows change for prices and
texts, and to ask for each photo again would cost its host a request. Rechecks ask for some,
a forced backfill for all."""


_MOST_URL_BYTES = 65_535
"""What ``lis_images`` holds of a URL. The hash is of all of it; one so long is ``bad_url`` in any case."""


@dataclass(frozen=True)
class Ingested:
    """What ingest did: listings read, images first seen, images released by new ETL data; rows skipped or cut."""

    listings: int = 0
    new: int = 0
    released: int = 0
    skipped: int = 0
    cut: int = 0


@dataclass(frozen=True)
class _Seen:
    """One URL as its newest listing in the page shows it; on equal times the last one read wins."""

    image_hash: str
    url: str
    datasource_id: int
    etl_version: dt.datetime


def window(run: Run, look_back_hours: float, covered: dt.datetime | None = None) -> Interval:
    """Return what a run reads: a backfill exactly its interval, other runs a look-back for late rows more.

    ``covered``: up to when completed ingests have read. A scheduled run begins there, after an outage or a pause.
    """
    if run.kind is RunKind.BACKFILL:
        return run.interval
    start = run.interval.back_to(dt.timedelta(hours=look_back_hours)).start
    return Interval(min(start, covered or start) if run.kind is RunKind.SCHEDULED else start, run.interval.end)


def ingest(ctx: Context, run: Run) -> Ingested:
    """Read the run's listings page by page. Safe to repeat; raises if the ETL cannot be read to its end.

    A row that cannot be read is that listing's alone: it is skipped, or cut to what can be kept, and logged.
    """
    runs.forget_ingest(ctx.db, run)
    total, bad = Ingested(), BadRows()
    span = window(run, ctx.config.look_back_hours, runs.covered_until(ctx.db, run))
    for page in ctx.etl.updated_in(span):
        ctx.give_way(etl=True)
        bad.add(page.bad)
        # Listings first: a purge at the same moment either sees that an image is shown again, or has ended before
        # the image is looked at here.
        _store_listings(ctx, page.listings)
        new, released = _store_images(ctx, page.listings)
        total = Ingested(total.listings + len(page.listings), total.new + new, total.released + released)
        log.info("%s: %d listings read, %d new images", ctx.country.upper(), total.listings, total.new)
        ctx.progress(total.listings, total.listings)
    if run.kind is not RunKind.BACKFILL:
        bad.add(ctx.etl.never_read(max(run.interval.end, dt.datetime.now(UTC))))
    bad.keep(ctx, run, "ingest")
    runs.mark_ingested(ctx.db, run, span.start)
    if not total.listings:
        log.warning("%s: the ETL has no rows in %s", ctx.country.upper(), run.interval)
    return replace(total, skipped=bad.skipped, cut=bad.cut)


def newest(page: Iterable[Listing]) -> list[_Seen]:
    """Return each distinct URL of a page once, in hash order: one order for all keeps writers from deadlocks."""
    seen: dict[str, _Seen] = {}
    for listing in page:
        for url in listing.urls:
            image_hash = lis_hash_for_url(url)
            known = seen.get(image_hash)
            if known is None or listing.updated_at >= known.etl_version:
                seen[image_hash] = _Seen(image_hash, url, listing.datasource_id, listing.updated_at)
    return sorted(seen.values(), key=lambda item: item.image_hash)


def _store_images(ctx: Context, page: Sequence[Listing]) -> tuple[int, int]:
    new = released = 0
    for piece in chunks(newest(page)):
        ctx.give_way()
        added, freed = write(ctx.db, lambda connection, piece=piece: _store_chunk(connection, ctx.config, piece))  # type: ignore[misc]
        new, released = new + added, released + freed
        if most := ctx.config.thumbnail.placeholder_listings:
            placeholders.find_among(ctx.db, [seen.image_hash for seen in piece], most)
    return new, released


def _store_chunk(connection: Connection, config: CountryConfig, piece: list[_Seen]) -> tuple[int, int]:
    c = lis_images.c
    known = {
        row.image_hash: row
        for row in connection.execute(
            sa.select(c.image_hash, c.state, c.etl_version).where(c.image_hash.in_([s.image_hash for s in piece]))
        )
    }
    fresh = [seen for seen in piece if seen.image_hash not in known]
    newer = [
        seen
        for seen in piece
        if (row := known.get(seen.image_hash))
        and (seen.etl_version > row.etl_version or row.state == State.PURGED.value)  # purged, and shown again
    ]
    if fresh:
        statement = insert(lis_images).values(
            state=State.NEW.value,
            desired=Desired.NONE.value,
            next_attempt_at=NOW,
            created_at=NOW,
            updated_at=NOW,
        )
        # Another run may have inserted the same image a moment ago: then this one changes nothing.
        statement = statement.on_duplicate_key_update(image_id=c.image_id)
        connection.execute(
            statement,
            [
                {
                    "image_hash": seen.image_hash,
                    "image_url": seen.url.encode()[:_MOST_URL_BYTES].decode(errors="ignore"),
                    "datasource_id": seen.datasource_id,
                    "etl_version": seen.etl_version,
                }
                for seen in fresh
            ],
        )
    if not newer:
        return len(fresh), 0
    connection.execute(
        sa.update(lis_images)
        .where(c.image_hash == sa.bindparam("b_hash"), c.etl_version < sa.bindparam("b_version"))
        .values(etl_version=sa.bindparam("b_version"), datasource_id=sa.bindparam("b_datasource")),
        [
            {"b_hash": seen.image_hash, "b_version": seen.etl_version, "b_datasource": seen.datasource_id}
            for seen in newer
        ],
    )
    hashes = [seen.image_hash for seen in newer]
    freed = relisted.bring_back(connection, config, hashes)
    freed += move(connection, State.NEW, frm=_RELEASED, where=c.image_hash.in_(hashes), values=CLEAN_SLATE)
    return len(fresh), freed


def _store_listings(ctx: Context, page: Sequence[Listing]) -> None:
    """Write which listing shows which image, and mark what these listings no longer show."""
    began = database_now(ctx.db)
    rows = [
        {
            "listing_id": listing.listing_id,
            "datasource_id": listing.datasource_id,
            "image_hash": lis_hash_for_url(url),
            "position": position,
            "etl_time": listing.updated_at,
            "seen_at": began,
        }
        for listing in page
        for position, url in enumerate(listing.urls)
    ]
    rows.sort(key=lambda row: (row["listing_id"], row["datasource_id"], row["image_hash"]))
    for piece in chunks(rows):
        ctx.give_way()
        write(ctx.db, lambda connection, piece=piece: _upsert_listing_images(connection, piece))  # type: ignore[misc]
    keys = sorted({(listing.listing_id, listing.datasource_id) for listing in page})
    for some in chunks(keys, 100):
        mark_dropped(ctx, some, began)


def _upsert_listing_images(connection: Connection, rows: list[dict[str, object]]) -> None:
    statement = insert(lis_listing_images)
    new = statement.inserted
    connection.execute(
        statement.on_duplicate_key_update(
            position=new.position, etl_time=new.etl_time, seen_at=new.seen_at, missing_since=sa.null()
        ),
        rows,
    )


def mark_dropped(ctx: Context, keys: list[tuple[str, int]], before: dt.datetime) -> None:
    """Mark images of these listings that were not seen since ``before``: the listing shows them no longer."""
    t = lis_listing_images.c
    query = sa.select(t.listing_id, t.datasource_id, t.image_hash).where(
        t.listing_id.in_([listing_id for listing_id, _ in keys]), t.seen_at < before, t.missing_since.is_(None)
    )
    wanted = set(keys)
    dropped = [row for row in read(ctx.db, query) if (row.listing_id, row.datasource_id) in wanted]
    for piece in chunks(dropped):
        statement = (
            sa.update(lis_listing_images)
            .where(
                t.listing_id == sa.bindparam("b_listing"),
                t.datasource_id == sa.bindparam("b_datasource"),
                t.image_hash == sa.bindparam("b_hash"),
                t.seen_at < before,
            )
            .values(missing_since=NOW)
        )
        rows = [
            {"b_listing": row.listing_id, "b_datasource": row.datasource_id, "b_hash": row.image_hash} for row in piece
        ]
        write(ctx.db, lambda connection, s=statement, r=rows: connection.execute(s, r))  # type: ignore[misc]
