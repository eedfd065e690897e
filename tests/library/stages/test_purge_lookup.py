"""The look-up: a listing that stays may show fewer photos than it did, and no ingest may ever read it again."""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa

from imagesys_lib.db.schema import lis_listing_images
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.purge import purge
from include.sandbox import ManifestEntry
from include.sandbox.feed.listings import Listing
from tests.library.stages.test_purge import unlist
from tests.support.world import World

Entries = dict[str, ManifestEntry]
PURGE = {"cap_percent": 100, "grace_hours": 24, "retention_days": 30}


def missing(world: World) -> int:
    where = lis_listing_images.c.missing_since.is_not(None)
    return int(world.scalar(sa.select(sa.func.count()).select_from(lis_listing_images).where(where)))


def drop(world: World, listings: list[Listing], keep: int) -> set[str]:
    """Have listings show so many of their photos, without a new date; returns the URLs that none shows any more."""
    for listing in listings:
        world.sandbox.etl.put("uk", dataclasses.replace(listing, photo_urls=listing.photo_urls[:keep]))
    left = {url for listing in world.sandbox.etl.listings("uk") for url in listing.photo_urls}
    return {url for listing in listings for url in listing.photo_urls} - left


def test_a_photo_that_a_listing_has_dropped_without_a_new_date_is_purged_and_comes_back(
    world: World, live: Entries
) -> None:
    world.reconfigure(purge=PURGE)
    listing = max(world.sandbox.etl.listings("uk"), key=lambda one: len(one.photo_urls))
    gone = drop(world, [listing], keep=1)
    assert gone & live.keys()
    assert purge(world.ctx, dry_run=True).refused == ""
    assert missing(world) == 0
    assert purge(world.ctx).refused == ""
    unlist(world, days=31)
    assert purge(world.ctx).unpublished == len(gone & live.keys())
    assert world.live().keys() == live.keys() - gone

    world.sandbox.etl.put("uk", listing)
    assert purge(world.ctx).returned == len(gone & live.keys())
    assert missing(world) == 0


def test_an_etl_that_has_lost_half_of_all_photos_is_half_loaded(world: World, live: Entries) -> None:
    world.reconfigure(purge=PURGE)
    listings = world.sandbox.etl.listings("uk")
    drop(world, listings, keep=1)
    found = purge(world.ctx)
    assert "it looks half loaded" in found.refused
    assert missing(world) == 0


def test_a_data_source_that_has_lost_half_of_its_photos_is_left_alone(world: World, live: Entries) -> None:
    world.reconfigure(purge=PURGE | {"datasource_listings": 1})
    listings = world.sandbox.etl.listings("uk")
    mine = [one for one in listings if one.datasource_id == listings[0].datasource_id]
    assert len(mine) < len(listings)
    drop(world, mine, keep=1)
    assert f"too much of data source {listings[0].datasource_id}" in purge(world.ctx).refused
    assert missing(world) == 0


def test_what_an_ingest_has_seen_since_the_look_up_began_is_not_marked(world: World, live: Entries) -> None:
    world.reconfigure(purge=PURGE)
    listing = max(world.sandbox.etl.listings("uk"), key=lambda one: len(one.photo_urls))
    drop(world, [listing], keep=1)
    looked_up = world.ctx.etl.listings

    def then_ingested(ids: list[str]) -> object:
        found = looked_up(ids)
        world.sandbox.etl.put("uk", listing)
        ingest(world.ctx, world.run())
        return found

    world.patch.setattr(type(world.ctx.etl), "listings", lambda _self, ids: then_ingested(ids))
    purge(world.ctx)
    assert missing(world) == 0
