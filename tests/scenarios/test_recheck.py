"""A photo that was replaced under its URL: a share of the live images is asked for again each day, politely."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa

from imagesys_lib.db.engine import write
from imagesys_lib.db.schema import lis_live_images, lis_metrics
from imagesys_lib.images.hash_and_path import lis_hash_for_url
from imagesys_lib.runs import leases, runs
from imagesys_lib.runs.runs import RunKind
from imagesys_lib.stages import recheck
from imagesys_lib.stages.check import db_scan
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.heal import heal
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.report import Summary, render
from include.sandbox import ManifestEntry
from tests.support.images import encoded, quarters
from tests.support.photo_host import PhotoHost, photo_host
from tests.support.world import DAY, World

PHOTO = encoded(quarters(320, 200), "JPEG")
OTHER = encoded(quarters(200, 320), "JPEG")
LATER = DAY + dt.timedelta(days=40)
"""A day of which the ETL has no rows."""


def live_photo(world: World, host: PhotoHost, **options: object) -> str:
    """The URL of a photo that went live two days ago."""
    url = host.put("/a.jpg", PHOTO, **options)
    world.put("a", url)
    world.pipeline()
    age(world)
    return url


def age(world: World) -> None:
    world.sql(
        "UPDATE lis_images SET checked_at = checked_at - INTERVAL 2 DAY, updated_at = updated_at - INTERVAL 2 DAY"
    )


def asked_again(world: World, percent: float = 100) -> Summary:
    """Let a day's run ask for live images."""
    world.reconfigure(recheck={"percent": percent})
    summary = world.pipeline(world.run(day=LATER))
    assert summary.lost == []
    figures = {row.name: row.value for row in world.rows(lis_metrics.select()) if row.run_id == summary.run_id}
    kept = {
        name.removeprefix(recheck.RECHECK_FIGURES): n
        for name, n in figures.items()
        if name.startswith(recheck.RECHECK_FIGURES)
    }
    assert summary.recheck == kept
    assert (summary.images, summary.weights) == (0, None)
    assert db_scan(world.ctx).findings == {}
    return summary


def test_an_unchanged_photo_costs_an_answer_without_a_body_and_changes_nothing(world: World) -> None:
    with photo_host() as host:
        url = live_photo(world, host, etag='"1"')
        tree, live, before = world.equal_trees(), world.live()[url], world.images()[url]
        summary = asked_again(world)
        assert summary.recheck == {"asked": 1, "unchanged": 1}
        assert "live images asked for again: 1 asked, 1 unchanged\n" in render(summary)
        assert [asked.headers.get("if-none-match") for asked in host.asked] == [None, '"1"']
        assert (world.equal_trees(), world.live()[url]) == (tree, live)
        after = world.images()[url]
        assert after.checked_at > before.checked_at + dt.timedelta(days=1)
        assert (after.state, after.change_id, after.thumbs) == ("live", before.change_id, before.thumbs)
        asked_again(world)
        assert len(host.asked) == 2  # once a day


def test_without_validators_the_bytes_are_compared(world: World) -> None:
    with photo_host() as host:
        url = live_photo(world, host)
        before = world.images()[url]
        host.put("/a.jpg", PHOTO, headers={"Last-Modified": "Sat, 28 Mar 2026 12:00:00 GMT"})
        assert asked_again(world).recheck == {"asked": 1, "unchanged": 1}
        after = world.images()[url]
        assert (after.change_id, after.recipe) == (before.change_id, before.recipe)
        assert world.staged("originals") == []
        age(world)
        asked_again(world)
        assert host.asked[-1].headers["if-modified-since"] == "Sat, 28 Mar 2026 12:00:00 GMT"


def test_a_replaced_photo_takes_the_place_of_the_old_one_on_all_nodes(world: World) -> None:
    with photo_host() as host:
        url = live_photo(world, host, etag='"1"')
        tree, before = world.equal_trees(), world.live()[url].image_data
        host.put("/a.jpg", OTHER, etag='"2"')
        world.reconfigure(recheck={"percent": 100})
        run = world.run(day=LATER)
        runs.begin(world.ctx.db, run)
        ingest(world.ctx, run)
        (batch,) = plan(world.ctx, run)
        download(world.ctx, batch.batch_id)
        assert (world.equal_trees(), world.live()[url].image_data) == (tree, before)  # meanwhile the old one is shown
        summary = world.pipeline(run)
        assert (summary.lost, summary.recheck) == ([], {"asked": 1, "replaced": 1})
        after = world.equal_trees()
        assert after.keys() == tree.keys()
        shown = world.live()[url].image_data
        assert (shown["2"]["width"], shown["2"]["height"]) == (75, 120)
        assert {thumb["path"]: thumb["sha1"] for thumb in shown.values()} == after
        assert (world.states(), world.images()[url].etag) == ({url: "live"}, '"2"')


@pytest.mark.parametrize("status", [404, 410])
def test_a_photo_that_is_gone_leaves_the_site_and_the_nodes_until_its_listing_changes(
    world: World, status: int
) -> None:
    with photo_host() as host:
        url = live_photo(world, host, etag='"1"')
        host.put("/a.jpg", status=status)
        assert asked_again(world).recheck == {"asked": 1, "gone": 1}
        assert world.states() == {url: f"rejected:http_{status}"}
        assert (world.live(), world.equal_trees()) == ({}, {})
        world.put("a", host.put("/a.jpg", PHOTO), at=dt.datetime.combine(LATER, dt.time(12)))
        world.pipeline(world.run(day=LATER))
        assert world.states() == {url: "live"}
        assert len(world.equal_trees()) == 2


def test_what_the_status_map_calls_unknown_and_a_host_that_is_down_change_nothing(world: World) -> None:
    with photo_host() as host:
        url = live_photo(world, host, etag='"1"')
        tree, live = world.equal_trees(), world.live()
        for status in (403, 503):
            host.put("/a.jpg", status=status)
            assert asked_again(world).recheck == {"asked": 1, "failed": 1}
            assert (world.states(), world.equal_trees(), world.live()) == ({url: "live"}, tree, live)
            age(world)
    world.reconfigure(fetch={"tries": 1, "network_patience": 0})
    assert asked_again(world).recheck == {"asked": 1, "failed": 1}  # nobody listens there any more
    assert (world.states(), world.equal_trees(), world.live()) == ({url: "live"}, tree, live)


def test_an_open_breaker_of_the_data_source_leaves_its_images_alone(world: World) -> None:
    with photo_host() as host:
        url = live_photo(world, host, etag='"1"')
        world.sql("UPDATE lis_datasources SET openings = 1, not_before = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR")
        assert asked_again(world).recheck == {"asked": 1, "failed": 1}
        assert (len(host.asked), world.states()) == (1, {url: "live"})


def test_new_bytes_that_are_no_photo_leave_the_old_one_as_it_is(world: World) -> None:
    with photo_host() as host:
        url = live_photo(world, host, etag='"1"')
        tree, live = world.equal_trees(), world.live()
        host.put("/a.jpg", b"<html>no photo</html>", etag='"2"')
        assert asked_again(world).recheck == {"asked": 1, "failed": 1}
        assert (world.states(), world.equal_trees(), world.live()) == ({url: "live:not_an_image"}, tree, live)
        host.put("/a.jpg", OTHER, etag='"2"')
        age(world)
        assert asked_again(world).recheck == {"asked": 1, "replaced": 1}
        assert world.states() == {url: "live"}


def test_new_settings_are_no_reason_to_fetch_what_is_unchanged(world: World) -> None:
    with photo_host() as host:
        live_photo(world, host, etag='"1"')
        tree = world.equal_trees()
        world.reconfigure(process={"quality": 40}, recheck={"percent": 100})
        assert world.pipeline(world.run(day=LATER)).recheck == {"asked": 1, "unchanged": 1}
        assert host.asked[-1].headers["if-none-match"] == '"1"'
        assert world.equal_trees() == tree


def test_the_budget_takes_updated_listings_first_then_those_asked_longest_ago(
    world: World, live: dict[str, ManifestEntry]
) -> None:
    world.reconfigure(recheck={"percent": 10})  # of 40
    first, second, *_, updated = sorted(live)
    age(world)
    world.sql("UPDATE lis_images SET checked_at = '2026-03-01' WHERE image_url = :url", url=second)
    world.sql("UPDATE lis_images SET checked_at = '2026-02-01' WHERE image_url = :url", url=first)
    now = dt.datetime.now(dt.timezone.utc).replace(tzinfo=None)
    world.put("updated", updated, at=now)
    run = world.run(day=now.date())
    runs.begin(world.ctx.db, run)
    ingest(world.ctx, run)
    chosen = list(recheck.chosen(world.ctx, run))
    urls = {row.image_id: url for url, row in world.images().items()}
    assert [urls[image_id] for image_id in chosen[:3]] == [updated, first, second]
    assert len(chosen) == len(set(chosen)) == 40
    batches = plan(world.ctx, run)
    assert [batch.size for batch in batches] == [4]
    assert plan(world.ctx, run) == batches
    assert recheck.budget(world.ctx) == 4
    assert world.count() == {"live": 36, "reserved": 4}


@pytest.mark.parametrize("kind", [RunKind.BACKFILL, RunKind.MANUAL])
def test_other_runs_than_the_daily_one_ask_for_nothing(
    world: World, live: dict[str, ManifestEntry], kind: RunKind
) -> None:
    world.reconfigure(recheck={"percent": 100})
    age(world)
    assert world.pipeline(world.run(kind, LATER)).recheck == {}
    assert world.requests() == {}


def test_a_run_that_is_given_up_leaves_live_what_it_had_not_asked_for(
    world: World, live: dict[str, ManifestEntry]
) -> None:
    world.reconfigure(recheck={"percent": 50})
    age(world)
    run = world.run(day=LATER)
    runs.begin(world.ctx.db, run)
    (batch,) = plan(world.ctx, run)
    assert world.count() == {"live": 20, "reserved": 20}
    leases.acquire(world.ctx.db, batch.batch_id, "a worker", 0)  # which is never heard of again
    runs.finish(world.ctx.db, run, "failed", {})
    assert heal(world.ctx).images == 20
    assert set(world.states().values()) == {"live"}
    assert download(world.ctx, batch.batch_id).fetched == 0
    assert world.requests() == {}


def test_the_number_of_live_images_is_known_well_enough_without_counting_them(world: World) -> None:
    world.reconfigure(recheck={"percent": 1})
    assert recheck.budget(world.ctx) == 0
    rows = [{"image_url": "u", "image_hash": lis_hash_for_url(str(n)), "image_data": {}} for n in range(20_000)]
    insert = sa.insert(lis_live_images).values(datasource_id=1, insert_time=sa.func.now())
    write(world.ctx.db, lambda session: session.execute(insert, rows))
    assert recheck.budget(world.ctx) == pytest.approx(200, rel=0.1)
