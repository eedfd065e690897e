"""Purge: what no listing shows any more goes, unpublished first; a sick ETL takes nothing with it."""

from __future__ import annotations

import datetime as dt
import zlib
from collections import Counter
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from imagesys_lib.config.intervals import UTC, Interval, local_day
from imagesys_lib.db import engine as engine_module
from imagesys_lib.db.engine import write
from imagesys_lib.db.schema import lis_images, lis_listing_images
from imagesys_lib.errors import DatabaseUnavailable
from imagesys_lib.images.hash_and_path import lis_hash_for_url, thumbnail_path
from imagesys_lib.images.states import State
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.check import db_scan
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.purge import Purged, purge
from imagesys_lib.stages.purge.due import IDLE
from imagesys_lib.stages.purge.rules import Cutoffs, PurgeRule
from imagesys_lib.stages.purge.unpublish import unpublish
from imagesys_lib.stages.shared.batch import give_back, hold, holder_name, images_in
from include.sandbox import ManifestEntry
from tests.support.trees import assert_equal_nodes
from tests.support.world import DAY, NODES, World

Entries = dict[str, ManifestEntry]
GENEROUS = {"cap_percent": 100, "max_unlisted_percent": 60, "grace_hours": 0}


def first_listings(entries: Entries, count: int) -> tuple[list[str], set[str]]:
    """Some listings, and the URLs that they alone show."""
    chosen = sorted({entry.listing_ids[0] for entry in entries.values()})[:count]
    return chosen, {url for url, entry in entries.items() if set(entry.listing_ids) <= set(chosen)}


def paths_of(urls: set[str]) -> set[str]:
    return {thumbnail_path("uk", lis_hash_for_url(url), n) for url in urls for n in (1, 2)}


def ingested(world: World, run: Run) -> Run:
    runs.begin(world.ctx.db, run)
    ingest(world.ctx, run)
    return run


def unlist(world: World, *, days: float) -> None:
    """Date what is missing back."""
    world.sql(
        "UPDATE lis_listing_images SET missing_since = TIMESTAMPADD(SECOND, :s, missing_since) "
        "WHERE missing_since IS NOT NULL",
        s=round(-days * 86400),
    )


def test_what_is_unlisted_past_its_retention_leaves_the_live_table_first_and_then_every_node(
    world: World, live: Entries
) -> None:
    world.reconfigure(purge={**GENEROUS, "retention_days": 30})
    listings, urls = first_listings(live, 3)
    assert urls
    world.sandbox.etl.remove("uk", listings)
    run = ingested(world, world.run())
    found = purge(world.ctx, run=run)
    assert (found.unlisted, found.candidates, found.unpublished, found.refused) == (3, 0, 0, "")
    unlist(world, days=29.9)
    assert purge(world.ctx, run=run).unpublished == 0
    assert world.live().keys() == live.keys()

    unlist(world, days=0.2)
    found = purge(world.ctx, run=run)
    assert (found.looked_up, found.unlisted, found.candidates, found.refused) == (10, 0, len(urls), "")
    assert (found.unpublished, found.deleted, found.in_grace) == (len(urls), len(urls), 0)
    assert world.live().keys() == live.keys() - urls
    for name in NODES:
        assert world.tree(name).keys() == paths_of(set(live))  # files go last
    assert {url for url, state in world.states().items() if state == "purged"} == urls
    world.sync_all()
    assert world.equal_trees().keys() == paths_of(set(live) - urls)
    assert purge(world.ctx, run=run).unpublished == 0


def test_a_whole_run_purges_and_deletes(world: World, live: Entries) -> None:
    world.reconfigure(purge={**GENEROUS, "retention_days": 0})
    listings, urls = first_listings(live, 2)
    world.sandbox.etl.remove("uk", listings)
    summary = world.pipeline()
    assert summary.lost == []
    assert world.equal_trees().keys() == paths_of(set(live) - urls)
    assert world.live().keys() == live.keys() - urls
    # Listed again, they come back.
    world.seed(40)
    world.forget_requests()
    world.pipeline()
    assert world.live().keys() == live.keys()
    assert sum(world.requests().values()) == len(urls)
    world.equal_trees()


def test_an_image_that_another_listing_shows_stays(world: World, live: Entries) -> None:
    world.reconfigure(purge={**GENEROUS, "retention_days": 0})
    shared = next(url for url, entry in live.items() if len(set(entry.listing_ids)) > 1)
    world.sandbox.etl.remove("uk", [live[shared].listing_ids[0]])
    purge(world.ctx, run=ingested(world, world.run()))
    assert shared in world.live()
    world.sandbox.etl.remove("uk", live[shared].listing_ids[1:])
    purge(world.ctx, run=ingested(world, world.run()))
    assert shared not in world.live()


def test_a_photo_that_its_listing_drops_goes_like_one_whose_listing_goes(world: World, live: Entries) -> None:
    world.reconfigure(purge={**GENEROUS, "retention_days": 0})
    listing = next(one for one in world.sandbox.etl.listings("uk") if len(set(one.photo_urls)) > 2)
    dropped = next(u for u in listing.photo_urls if len(set(live[u].listing_ids)) == 1)
    kept = [url for url in listing.photo_urls if url != dropped]
    world.sandbox.etl.touch("uk", listing.listing_id, listing.updated_at + dt.timedelta(seconds=1), photo_urls=kept)
    purge(world.ctx, run=ingested(world, world.run()))
    assert world.live().keys() == live.keys() - {dropped}


DISASTERS: dict[str, Callable[[World], object]] = {
    "empty": lambda world: world.sandbox.etl.empty("uk"),
    "half": lambda world: world.sandbox.etl.halve("uk"),
}


@pytest.mark.parametrize("disaster", DISASTERS)
def test_an_etl_that_suddenly_shows_nothing_or_half_purges_and_marks_nothing(
    world: World, live: Entries, disaster: str
) -> None:
    world.reconfigure(purge={"retention_days": 0})
    DISASTERS[disaster](world)
    run = ingested(world, world.run())
    before = world.dump()
    found = purge(world.ctx, run=run)
    assert "looks half loaded" in found.refused
    assert found.unpublished == 0
    after = world.dump()
    assert len(after.pop("lis_metrics")) == len(before.pop("lis_metrics")) + 1
    assert runs.figures(world.ctx.db, run.run_id, "purge.") == {"refused": 1}
    assert after == before
    assert world.pipeline().lost == []
    assert world.live().keys() == live.keys()


def test_an_etl_that_cannot_be_reached_purges_nothing(world: World, live: Entries) -> None:
    world.reconfigure(purge={**GENEROUS, "retention_days": 0})
    run = ingested(world, world.run())
    world.sandbox.etl.remove("uk", first_listings(live, 2)[0])
    world.patch.setattr(engine_module, "_PATIENCE", 0.2)
    world.patch.setenv("AIRFLOW_CONN_ETL", '{"conn_type": "mysql", "host": "127.0.0.1", "port": 9, "schema": "etl"}')
    before = world.dump()
    with pytest.raises(DatabaseUnavailable):
        purge(world.context(), run=run)
    assert world.dump() == before


def test_a_dry_run_changes_nothing_at_all(world: World, live: Entries) -> None:
    world.reconfigure(purge={**GENEROUS, "retention_days": 0})
    listings, _ = first_listings(live, 4)
    world.sandbox.etl.remove("uk", listings[:2])
    run = ingested(world, world.run())
    assert purge(world.ctx, run=run, dry_run=True).unlisted == 2
    world.reconfigure(purge={**GENEROUS, "retention_days": 1})
    purge(world.ctx, run=run)  # marks
    unlist(world, days=2)
    world.sandbox.etl.remove("uk", listings[2:])
    world.seed(40)
    world.sandbox.etl.remove("uk", listings[1:])  # the first one is back, the others are gone
    before = world.dump()
    found = purge(world.ctx, run=run, dry_run=True)
    assert found.candidates == found.unpublished > 0  # what it would do
    assert world.dump() == before


@pytest.mark.parametrize("kind", [RunKind.MANUAL, RunKind.BACKFILL])
def test_only_a_scheduled_run_purges(world: World, live: Entries, kind: RunKind) -> None:
    world.reconfigure(purge={**GENEROUS, "retention_days": 0})
    world.sandbox.etl.remove("uk", first_listings(live, 2)[0])
    found = purge(world.ctx, run=ingested(world, world.run(kind)))
    assert found == Purged(refused=f"a {kind.value} run purges nothing")
    assert world.live().keys() == live.keys()


def test_a_run_whose_ingest_did_not_complete_purges_nothing(world: World, live: Entries) -> None:
    world.reconfigure(purge={**GENEROUS, "retention_days": 0})
    world.sandbox.etl.remove("uk", first_listings(live, 2)[0])
    run = world.run()
    assert purge(world.ctx, run=run).refused == "ingest did not complete"
    runs.begin(world.ctx.db, run)
    assert purge(world.ctx, run=run).refused == "ingest did not complete"


def test_by_hand_it_purges_at_once(world: World, live: Entries) -> None:
    world.reconfigure(purge={**GENEROUS, "retention_days": 0})
    listings, urls = first_listings(live, 2)
    world.sandbox.etl.remove("uk", listings)
    assert purge(world.ctx).unpublished == len(urls)


def test_a_listing_that_comes_back_before_its_retention_ends_starts_anew(world: World, live: Entries) -> None:
    world.reconfigure(purge={**GENEROUS, "retention_days": 30})
    listings, _ = first_listings(live, 2)
    world.sandbox.etl.remove("uk", listings)
    run = ingested(world, world.run())
    purge(world.ctx, run=run)
    unlist(world, days=40)
    world.seed(40)  # back with the same dates, which no ingest of a later day would read
    assert purge(world.ctx, run=run).unpublished == 0
    rows = world.rows(sa.select(lis_listing_images).where(lis_listing_images.c.missing_since.is_not(None)))
    assert rows == []


def test_an_image_that_is_listed_again_at_the_last_moment_is_not_purged(world: World, live: Entries) -> None:
    """Between the look at the ETL and the purge another run may ingest it."""
    url = next(iter(live))
    h = lis_hash_for_url(url)
    cutoff = world.scalar(sa.select(sa.func.utc_timestamp(6)))
    world.sql("UPDATE lis_listing_images SET missing_since = NULL WHERE image_hash = :h", h=h)
    gone = write(world.ctx.db, lambda s: unpublish(s, [h], PurgeRule.UNLISTED, Cutoffs(cutoff), grace_hours=0))
    assert gone == 0
    assert url in world.live()


def test_an_image_in_work_is_not_purged_under_its_batch(world: World, live: Entries) -> None:
    world.reconfigure(purge={**GENEROUS, "retention_days": 0})
    listings, urls = first_listings(live, 2)
    in_work = sorted(urls)[0]
    world.write_all(
        world.ctx.db, [sa.update(lis_images).where(lis_images.c.image_url == in_work).values(state="downloaded")]
    )
    world.sandbox.etl.remove("uk", listings)
    assert purge(world.ctx, run=ingested(world, world.run())).unpublished == len(urls) - 1
    assert in_work in world.live()


def put_into_state(world: World, urls: set[str], state: str) -> None:
    own = sa.update(lis_images).where(lis_images.c.image_url.in_(urls))
    world.write_all(world.ctx.db, [own.values(state=state)])


@pytest.mark.parametrize("state", [state.value for state in IDLE])
def test_whatever_state_a_published_image_is_in_it_leaves_the_site_before_its_files_go(
    world: World, live: Entries, state: str
) -> None:
    world.reconfigure(purge={**GENEROUS, "retention_days": 0})
    listings, urls = first_listings(live, 2)
    put_into_state(world, urls, state)
    world.sandbox.etl.remove("uk", listings)
    found = purge(world.ctx, run=ingested(world, world.run()))
    assert (found.unpublished, found.deleted, found.rules["unlisted"].live) == (len(urls), len(urls), len(urls))
    assert world.live().keys() == live.keys() - urls
    world.sync_all()
    assert assert_equal_nodes(world).keys() == paths_of(set(live) - urls)
    assert db_scan(world.ctx).clean


def test_a_forced_remake_that_was_given_back_is_purged_with_its_live_row(world: World, live: Entries) -> None:
    """A paused host, or a batch out of time: the image is new again, and the website still shows it."""
    world.reconfigure(purge={**GENEROUS, "retention_days": 0})
    run = world.run(RunKind.BACKFILL, force=True)
    ingested(world, run)
    (batch,) = plan(world.ctx, run)
    with hold(world.ctx, batch.batch_id, holder_name(), "done") as lease:
        ids = [image.image_id for image in images_in(world.ctx, batch.batch_id, State.RESERVED)]
        give_back(world.ctx, lease, State.RESERVED, ids, wait_seconds=3600)
    given_back = {url for url, state in world.states().items() if state == "new"}
    assert given_back
    assert given_back <= world.live().keys()
    listings = sorted({listing for url in given_back for listing in live[url].listing_ids})[:3]
    world.sandbox.etl.remove("uk", listings)
    gone = {url for url, entry in live.items() if set(entry.listing_ids) <= set(listings)}
    assert gone & given_back
    assert purge(world.ctx, run=ingested(world, world.run())).deleted == len(gone)
    assert world.live().keys() == live.keys() - gone
    world.sync_all()
    assert assert_equal_nodes(world).keys() == paths_of(set(live) - gone)


def test_images_that_never_came_live_go_too_but_count_not_towards_the_cap(world: World, live: Entries) -> None:
    world.reconfigure(purge={"retention_days": 0, "cap_percent": 0, "max_unlisted_percent": 60})
    moment = dt.datetime.combine(DAY, dt.time(12))
    hashes = world.put("bad", "http://127.0.0.11:1/1.jpg", "http://127.0.0.11:1/2.jpg", at=moment)
    ingested(world, world.run())
    world.write_all(
        world.ctx.db, [sa.update(lis_images).where(lis_images.c.image_hash.in_(hashes)).values(state="rejected")]
    )
    world.sandbox.etl.remove("uk", ["bad"])
    found = purge(world.ctx, run=ingested(world, world.run()))
    assert (found.unpublished, found.refused) == (2, "")
    assert world.live().keys() == live.keys()


# Large tables: a shard a day


@pytest.mark.parametrize("first", [dt.date(2026, 3, 26), dt.date(2026, 10, 22)])
def test_a_week_in_which_the_clocks_change_looks_every_listing_up_once(
    world: World, live: Entries, first: dt.date
) -> None:
    """As Airflow gives them: instants in UTC, of which summer's local midnight falls on the day before."""
    world.reconfigure(purge={"rotate_above": 0, "lookup_shards": 7})
    listings = {listing for entry in live.values() for listing in entry.listing_ids}
    shards = Counter(zlib.crc32(listing.encode()) % 7 for listing in listings)
    looked_up = {}
    for day in (first + dt.timedelta(days=number) for number in range(7)):
        local = local_day(day, world.ctx.config.zone)
        span = Interval(local.start.astimezone(UTC), local.end.astimezone(UTC))
        run = Run(f"scheduled__{day}", RunKind.SCHEDULED, span)
        runs.begin(world.ctx.db, run)
        runs.mark_ingested(world.ctx.db, run)
        looked_up[day.toordinal() % 7] = purge(world.ctx, run=run, dry_run=True).looked_up
    assert looked_up == {number: shards[number] for number in range(7)}
