"""Purge: images that no listing shows any more leave the live table first, then the nodes.

An ETL that cannot be reached, or suddenly shows much less than it did, purges nothing; neither does a purge above
its cap, which is left as a proposal.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from imagesys_lib import changes, runs
from imagesys_lib.config import Purge
from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, NOW, Row, Session, chunks, read, write
from imagesys_lib.db.schema import lis_images, lis_listing_images, lis_live_images, lis_node_repairs
from imagesys_lib.hashing import lis_hash_for_url
from imagesys_lib.runs import Kind, Run
from imagesys_lib.states import Desired, State, move

log = logging.getLogger(__name__)

_IDLE = (State.NEW, State.THUMBNAILED, State.LIVE, State.FAILED, State.REJECTED, State.QUARANTINED)
"""States in which no batch is at work on an image."""

Key = tuple[str, int]


@dataclass(frozen=True)
class Purged:
    """What a purge did, or with ``dry_run`` would do; ``refused`` says why it did nothing."""

    looked_up: int = 0
    unlisted: int = 0
    candidates: int = 0
    purged: int = 0
    refused: str = ""


@dataclass(frozen=True)
class _LookUp:
    """Listings looked up in the ETL: how many, and which are newly missing or back."""

    looked_up: int
    listed_before: int
    missing: list[Key]
    back: list[tuple[Key, list[str]]]


def purge(ctx: Context, *, run: Run | None = None, dry_run: bool = False) -> Purged:
    """Purge what is due. In a run it acts only if that is a scheduled run whose ingest completed; by hand, always."""
    if run is not None:
        refusal = _refusal(ctx, run)
        if refusal:
            log.info("%s: nothing purged: %s", ctx.country.upper(), refusal)
            return Purged(refused=refusal)
    settings = ctx.config.purge
    found = _look_up(ctx, shard_of(run, settings, _known_listings(ctx)))
    if too_many_missing(len(found.missing), found.listed_before, settings.max_unlisted_percent):
        refusal = (
            f"{len(found.missing)} of {found.listed_before} listings are gone from the ETL at once, more than "
            f"{settings.max_unlisted_percent:g} %: it looks half loaded; nothing was marked or purged"
        )
        log.warning("%s: %s", ctx.country.upper(), refusal)
        return Purged(found.looked_up, len(found.missing), refused=refusal)
    if not dry_run:
        _mark(ctx, found)
    return _purge_candidates(ctx, found, dry_run)


def _refusal(ctx: Context, run: Run) -> str:
    if run.kind is not Kind.SCHEDULED:
        return f"a {run.kind.value} run purges nothing"
    row = runs.load(ctx.db, run.run_id)
    if row is None or row.ingested_at is None:
        return "ingest did not complete"
    return ""


def too_many_missing(missing: int, listed_before: int, max_percent: float) -> bool:
    """Say whether so many known listings are gone at once that the ETL must be wrong."""
    return missing > 0 and missing * 100 > max_percent * listed_before


def over_cap(candidates: int, live: int, cap_percent: float) -> bool:
    """Say whether a purge would take more of the live images than its cap allows."""
    return candidates * 100 > cap_percent * live


def shard_of(run: Run | None, settings: Purge, listings: int) -> tuple[int, int]:
    """Return (shard, shards) of the listings to look up: all of a small table or by hand, else a part a day."""
    if run is None or listings <= settings.rotate_above:
        return 0, 1
    return run.interval.start.toordinal() % settings.lookup_shards, settings.lookup_shards


def _known_listings(ctx: Context) -> int:
    t = lis_listing_images.c
    few = sa.select(t.listing_id).group_by(t.listing_id, t.datasource_id).limit(ctx.config.purge.rotate_above + 1)
    return int(read(ctx.db, sa.select(sa.func.count()).select_from(few.subquery()))[0][0])


def _look_up(ctx: Context, shard: tuple[int, int]) -> _LookUp:
    """Compare the listings we know with the ETL, page by page; marks nothing."""
    looked_up = listed = 0
    missing: list[Key] = []
    back: list[tuple[Key, list[str]]] = []
    for page in _listing_keys(ctx, shard):
        ctx.check_stop()
        there = ctx.etl.listings([row.listing_id for row in page])
        for row in page:
            key = (row.listing_id, row.datasource_id)
            if key not in there:
                missing += [key] if row.shown else []
            elif row.gone:
                back.append((key, [lis_hash_for_url(url) for url in there[key].urls]))
            listed += 1 if row.shown else 0
        looked_up += len(page)
        ctx.progress(looked_up, looked_up)
    return _LookUp(looked_up, listed, missing, back)


def _listing_keys(ctx: Context, shard: tuple[int, int]) -> Iterator[Sequence[Row]]:
    """Yield pages of (listing_id, datasource_id, shown, gone): how many of its images are shown and gone."""
    t = lis_listing_images.c
    number, count = shard
    after: sa.ColumnElement[bool] = sa.true()
    while True:
        query = (
            sa.select(
                t.listing_id,
                t.datasource_id,
                sa.func.sum(t.missing_since.is_(None)).label("shown"),
                sa.func.sum(t.missing_since.is_not(None)).label("gone"),
            )
            .where(after)
            .group_by(t.listing_id, t.datasource_id)
            .order_by(t.listing_id, t.datasource_id)
            .limit(CHUNK)
        )
        if count > 1:
            query = query.where(sa.func.crc32(t.listing_id) % count == number)
        rows = read(ctx.db, query)
        if rows:
            yield rows
        if len(rows) < CHUNK:
            return
        last = rows[-1]
        after = (t.listing_id > last.listing_id) | (
            (t.listing_id == last.listing_id) & (t.datasource_id > last.datasource_id)
        )


def _mark(ctx: Context, found: _LookUp) -> None:
    t = lis_listing_images.c
    own = (t.listing_id == sa.bindparam("b_listing")) & (t.datasource_id == sa.bindparam("b_datasource"))
    gone = sa.update(lis_listing_images).where(own, t.missing_since.is_(None)).values(missing_since=NOW)
    for piece in chunks(found.missing, 100):
        rows = [{"b_listing": listing_id, "b_datasource": datasource_id} for listing_id, datasource_id in piece]
        write(ctx.db, lambda session, rows=rows: session.execute(gone, rows))  # type: ignore[misc]
    _unmark(ctx, found.back)


def _unmark(ctx: Context, back: Sequence[tuple[Key, list[str]]]) -> None:
    t = lis_listing_images.c
    own = (t.listing_id == sa.bindparam("b_listing")) & (t.datasource_id == sa.bindparam("b_datasource"))
    statement = (
        sa.update(lis_listing_images)
        .where(own, t.image_hash == sa.bindparam("b_hash"))
        .values(missing_since=None, seen_at=NOW)
    )
    rows = [{"b_listing": k[0], "b_datasource": k[1], "b_hash": h} for k, hashes in back for h in hashes]
    for piece in chunks(rows):
        write(ctx.db, lambda session, rows=piece: session.execute(statement, rows))  # type: ignore[misc]


def _purge_candidates(ctx: Context, found: _LookUp, dry_run: bool) -> Purged:
    cutoff = read(ctx.db, sa.select(NOW))[0][0] - dt.timedelta(days=ctx.config.purge.retention_days)
    live = int(read(ctx.db, sa.select(sa.func.count()).select_from(lis_live_images))[0][0])
    cap = ctx.config.purge.cap_percent
    hashes: list[str] = []
    live_candidates = 0
    for page in _unlisted(ctx, cutoff, dry_run):
        hashes += [row.image_hash for row in page]
        live_candidates += sum(row.state == State.LIVE.value for row in page)
        if over_cap(live_candidates, live, cap):
            refusal = (
                f"{live_candidates} or more of {live} live images are due, above the cap of {cap:g} %: nothing was "
                "purged; look at them with `imagesys purge COUNTRY --dry-run`, then raise purge.cap_percent"
            )
            log.warning("%s: %s", ctx.country.upper(), refusal)
            return Purged(found.looked_up, len(found.missing), len(hashes), refused=refusal)
    purged = 0
    if not dry_run:
        for piece in chunks(hashes):
            ctx.check_stop()
            purged += write(ctx.db, lambda session, piece=piece: purge_images(session, piece, cutoff))  # type: ignore[misc]
            ctx.progress(purged, len(hashes))
    log.info("%s: %d images due, %d purged", ctx.country.upper(), len(hashes), purged)
    return Purged(found.looked_up, len(found.missing), len(hashes), purged)


def _shown(image_hash: sa.ColumnElement[str], cutoff: dt.datetime) -> sa.ColumnElement[bool]:
    """Return the condition that some listing shows an image, or has shown it since ``cutoff``."""
    other = lis_listing_images.alias("other").c
    own = other.image_hash == image_hash
    return (
        sa.select(other.image_hash).where(own, other.missing_since.is_(None) | (other.missing_since > cutoff)).exists()
    )


def _unlisted(ctx: Context, cutoff: dt.datetime, dry_run: bool) -> Iterator[list[Row]]:
    """Yield pages of (image_hash, state) of idle images whose every listing has been missing since ``cutoff``."""
    t, i = lis_listing_images.c, lis_images.c
    after: sa.ColumnElement[bool] = sa.true()
    seen: set[str] = set()
    while True:
        query = (
            sa.select(t.missing_since, t.image_hash, t.listing_id, t.datasource_id, i.state)
            .select_from(lis_listing_images.join(lis_images, i.image_hash == t.image_hash))
            .where(
                t.missing_since <= cutoff,
                after,
                ~_shown(i.image_hash, cutoff),
                i.state.in_([state.value for state in _IDLE]),
            )
            .order_by(t.missing_since, t.image_hash, t.listing_id, t.datasource_id)
            .limit(CHUNK)
        )
        rows = read(ctx.db, query)
        fresh = _still_gone(ctx, [row for row in rows if row.image_hash not in seen], dry_run)
        seen.update(row.image_hash for row in rows)
        if fresh:
            yield list({row.image_hash: row for row in fresh}.values())
        if len(rows) < CHUNK:
            return
        last = rows[-1]
        after = (t.missing_since > last.missing_since) | (
            (t.missing_since == last.missing_since)
            & (
                (t.image_hash > last.image_hash)
                | (
                    (t.image_hash == last.image_hash)
                    & (
                        (t.listing_id > last.listing_id)
                        | ((t.listing_id == last.listing_id) & (t.datasource_id > last.datasource_id))
                    )
                )
            )
        )


def _still_gone(ctx: Context, rows: Sequence[Row], dry_run: bool) -> list[Row]:
    """Ask the ETL once more, at the moment of purging, and let everything live that it shows again."""
    there = ctx.etl.listings(sorted({row.listing_id for row in rows}))
    back: list[tuple[Key, list[str]]] = []
    gone = []
    for row in rows:
        listing = there.get((row.listing_id, row.datasource_id))
        if listing and row.image_hash in {lis_hash_for_url(url) for url in listing.urls}:
            back.append(((row.listing_id, row.datasource_id), [row.image_hash]))
        else:
            gone.append(row)
    if not dry_run:
        _unmark(ctx, back)
    spared = {image_hash for _, hashes in back for image_hash in hashes}
    return [row for row in gone if row.image_hash not in spared]


def purge_images(session: Session, hashes: Sequence[str], cutoff: dt.datetime) -> int:
    """Unpublish images and put their deletion into the change log; at most 1,000 at a time. Returns how many."""
    i, t = lis_images.c, lis_listing_images.c
    images = session.execute(
        sa.select(i.image_id, i.image_hash, i.desired)
        .where(i.image_hash.in_(hashes), i.state.in_([state.value for state in _IDLE]), ~_shown(i.image_hash, cutoff))
        .order_by(i.image_id)
        .with_for_update()
    ).all()
    if not images:
        return 0
    due = [image.image_hash for image in images]
    session.execute(sa.delete(lis_live_images).where(lis_live_images.c.image_hash.in_(due)))
    session.execute(sa.delete(lis_node_repairs).where(lis_node_repairs.c.image_hash.in_(due)))
    session.execute(sa.delete(lis_listing_images).where(t.image_hash.in_(due), t.missing_since <= cutoff))
    on_nodes = [image.image_id for image in images if image.desired == Desired.PRESENT.value]
    others = [image.image_id for image in images if image.desired != Desired.PRESENT.value]
    moved = 0
    if on_nodes:
        values = {"desired": Desired.ABSENT.value, "change_id": changes.record(session)}
        moved += move(session, State.PURGED, frm=_IDLE, where=i.image_id.in_(on_nodes), values=values)
    if others:
        moved += move(session, State.PURGED, frm=_IDLE, where=i.image_id.in_(others))
    return moved
