"""A forced remake replaces what is there and loses nothing, whatever becomes of it on the way."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections import Counter

import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_live_images
from imagesys_lib.images.recipe import recipe
from imagesys_lib.ops.classify import classify
from imagesys_lib.ops.retry import retry
from imagesys_lib.runs import leases, runs
from imagesys_lib.runs.runs import RunKind
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.heal import Healed, heal
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.report import render, report
from imagesys_lib.stages.thumbnail import thumbnail
from include.sandbox import ManifestEntry
from tests.support.world import DAY, NODES, World

Entries = dict[str, ManifestEntry]


def remade(world: World, *, force: bool = True) -> runs.Run:
    """Begin a backfill run; a forced one with other settings, since what would come out the same is not fetched."""
    if force:
        world.reconfigure(process={"quality": 40})
    run = world.run(RunKind.BACKFILL, force=force)
    runs.begin(world.ctx.db, run)
    ingest(world.ctx, run)
    return run


def test_a_remake_replaces_files_and_live_rows_and_nothing_is_ever_absent(world: World, live: Entries) -> None:
    world.reconfigure(process={"quality": 40})
    before, rows = world.equal_trees(), world.live()
    day = {url for url, entry in live.items() if entry.local_day == "2026-03-28"}
    classify(world.ctx, [row.image_hash for row in rows.values()], "kitchen", by="a test")
    fewest = [len(rows)]
    stop = threading.Event()
    watched = world.context()

    def watch() -> None:
        while not stop.is_set():
            with watched.db.connect() as connection:
                fewest.append(connection.scalar(sa.select(sa.func.count()).select_from(lis_live_images)))
            missing = [path for path in list(before)[::7] for n in NODES if not (world.root(n) / path).exists()]
            fewest.append(len(rows) - len(missing))
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        summary = world.pipeline(world.run(RunKind.BACKFILL, force=True))
    finally:
        stop.set()
        thread.join()
    assert summary.lost == []
    assert min(fewest) == len(rows) == 40
    after, new_rows = world.equal_trees(), world.live()
    changed = {path for path in before if before[path] != after[path]}
    other = {url for url in day if rows[url].datasource_id == 101}  # the others have process details of their own
    assert changed == {thumb["path"] for url in other for thumb in rows[url].image_data.values()}
    for url, row in new_rows.items():
        assert (row.image_data != rows[url].image_data) == (url in other)
        assert (row.human_classified, row.image_class) == (1, "kitchen")
        for thumb in row.image_data.values():
            assert (world.root("n1") / thumb["path"]).stat().st_size == thumb["bytes"]
    assert sum(world.requests().values()) == len(day)


def test_a_forced_run_planned_again_makes_nothing_twice(world: World, live: Entries) -> None:
    run = remade(world)
    first = plan(world.ctx, run)
    assert first
    assert plan(world.ctx, run) == first
    for batch in first:
        download(world.ctx, batch.batch_id)
        thumbnail(world.ctx, batch.batch_id)
    world.sync_all()
    publish(world.ctx)
    assert plan(world.ctx, run) == first
    assert set(world.count()) == {"live"}


def test_a_remake_that_is_given_up_is_shown_as_it_was_and_made_by_the_next_run(world: World, live: Entries) -> None:
    before = world.equal_trees()
    run = remade(world)
    batches = plan(world.ctx, run)
    assert world.count()["reserved"] > 0
    download(world.ctx, batches[0].batch_id)
    runs.finish(world.ctx.db, run, "failed", {})
    at_work = world.count()["downloaded"] + world.count()["reserved"]
    assert at_work > 0
    healed = heal(world.ctx)
    assert (healed.images, healed.poison) == (at_work, 0)
    assert world.count() == {"live": 40 - at_work, "new": at_work}
    assert world.live().keys() == live.keys()
    assert world.equal_trees() == before
    world.pipeline()
    assert world.count() == {"live": 40}
    assert world.equal_trees() != before
    recipes = {row.recipe for row in world.images().values() if live[row.image_url].local_day == DAY.isoformat()}
    assert recipes == {recipe(world.ctx.config, source) for source in set(live_of(world).values())}
    # Its red run, cleared as the mail says, has nothing left to do.
    assert [download(world.ctx, batch.batch_id).fetched for batch in batches] == [0] * len(batches)
    assert report(world.ctx, run).lost == []


def test_a_remake_at_which_workers_die_five_times_stays_live_with_what_it_had(world: World, live: Entries) -> None:
    (before, made) = (world.equal_trees(), 0)
    run = remade(world)
    for times in range(1, 6):
        batches = plan(world.ctx, run)
        made = sum(batch.size for batch in batches)
        for batch in batches:
            leases.acquire(world.ctx.db, batch.batch_id, f"worker-{times}", 0)  # and is never heard of again
        runs.finish(world.ctx.db, run, "failed", {})
        healed = heal(world.ctx)
        assert (healed.images, healed.poison) == ((0, made) if times == 5 else (made, 0))
        run = world.run()
        runs.begin(world.ctx.db, run)
    assert Counter(world.states().values()) == {"live": 40 - made, "live:poison": made}
    assert world.live().keys() == live.keys()
    assert world.equal_trees() == before
    assert plan(world.ctx, run) == []
    assert retry(world.ctx, reason="poison") == made


def test_a_remake_whose_photo_is_gone_stays_live_with_its_reason_and_is_reported_and_tried_again_by_hand(
    world: World, live: Entries
) -> None:
    world.reconfigure(process={"quality": 40})
    world.sandbox.website.manifest.remove("uk")  # every photo is a 404 now
    before = world.equal_trees()
    summary = world.pipeline(world.run(RunKind.BACKFILL, force=True))
    kept = summary.images
    assert summary.lost == []
    assert summary.reasons == {"live": {"http_404": kept}}
    assert f"  {kept} kept as before: {kept} http_404\n" in render(summary)
    assert Counter(world.states().values()) == {"live": 40 - kept, "live:http_404": kept}
    assert world.live().keys() == live.keys()
    assert world.equal_trees() == before

    assert world.pipeline().images == 0  # no run comes back to them by itself
    assert retry(world.ctx, reason="dns") == 0
    assert retry(world.ctx, reason="http_404", dry_run=True) == kept
    assert retry(world.ctx) == kept
    assert world.live().keys() == live.keys()
    world.sandbox.website.manifest.write("uk", 1, live.values())
    assert world.pipeline().images == kept
    assert world.states() == dict.fromkeys(live, "live")
    assert world.equal_trees() != before
    assert retry(world.ctx) == 0


def test_an_ordinary_backfill_makes_nothing_live_again(world: World, live: Entries) -> None:
    assert plan(world.ctx, remade(world, force=False)) == []
    assert world.pipeline(world.run(RunKind.BACKFILL)).images == 0
    assert world.requests() == {}


def test_images_whose_batch_no_longer_exists_are_queued(world: World, live: Entries) -> None:
    remakes = sum(batch.size for batch in plan(world.ctx, remade(world)))
    world.new_images(7)
    plan(world.ctx, world.run())
    world.sql("DELETE FROM lis_batches")
    assert heal(world.ctx) == Healed(orphans=remakes + 7)
    assert world.count() == {"live": 40 - remakes, "new": remakes + 7}
    assert world.live().keys() == live.keys()


def test_a_day_that_its_own_run_has_made_is_made_again_once_each_time_it_is_asked_for(
    world: World, live: Entries
) -> None:
    """A backfill clears the daily run: the same id, now a backfill's and with force."""
    day = {url for url, entry in live.items() if entry.local_day == DAY.isoformat()}
    run = world.run(RunKind.BACKFILL, force=True, run_id="live")
    assert begun_as(world) == ("scheduled", None)
    for times, quality in enumerate((40, 30), start=1):
        world.reconfigure(process={"quality": quality})
        before = world.equal_trees()
        assert world.pipeline(run).lost == []
        asked = world.requests()
        assert (len(asked), set(asked.values())) == (len(day), {times})
        assert world.count() == {"live": 40}
        changed = {path for path, checksum in world.equal_trees().items() if before[path] != checksum}
        assert len(changed) == 2 * sum(live_of(world)[url] == 101 for url in day)  # others have details of their own
        batches = plan(world.ctx, run)
        assert plan(world.ctx, run) == batches
        assert world.count() == {"live": 40}
    assert begun_as(world)[0] == "scheduled"


def begun_as(world: World) -> tuple[str, dt.datetime | None]:
    """Of the run that made the live photos: its kind, and since when it makes live images again."""
    row = runs.load(world.ctx.db, "live")
    assert row is not None
    return row.kind, row.forced_at


def live_of(world: World) -> dict[str, int]:
    """The data source of what is live, by URL."""
    return {url: row.datasource_id for url, row in world.live().items()}


def test_a_forced_run_goes_on_unless_it_had_ended_well_and_one_without_force_forgets(
    world: World, live: Entries
) -> None:
    db, run = world.ctx.db, world.run(RunKind.BACKFILL, DAY - dt.timedelta(days=1), force=True, run_id="live")
    runs.begin(db, run)
    row = runs.load(db, "live")
    assert row is not None
    assert (row.state, row.finished_at, row.interval_start) == ("running", None, runs.naive_utc(run.interval.start))
    kind, first = begun_as(world)
    assert kind == "scheduled"  # the day keeps its daily run, which reports and mails look for
    assert first is not None
    runs.begin(db, run)  # under way, and cleared
    assert begun_as(world)[1] == first
    runs.finish(db, run, "failed", {})
    runs.begin(db, run)
    assert begun_as(world)[1] == first
    runs.finish(db, run, "success", {})
    runs.begin(db, run)
    second = begun_as(world)[1]
    assert second is not None
    assert second > first
    runs.begin(db, world.run(RunKind.BACKFILL, run_id="live"))
    assert begun_as(world)[1] is None


def test_a_forced_run_that_failed_and_is_begun_again_makes_nothing_twice(world: World, live: Entries) -> None:
    run = remade(world)
    first = plan(world.ctx, run)
    for batch in first:
        download(world.ctx, batch.batch_id)
        thumbnail(world.ctx, batch.batch_id)
    world.sync_all()
    publish(world.ctx)
    runs.finish(world.ctx.db, run, "failed", {})
    runs.begin(world.ctx.db, run)
    assert plan(world.ctx, run) == first
    assert world.count() == {"live": 40}


def test_a_forced_run_that_may_have_no_more_batches_says_so(
    world: World, live: Entries, caplog: pytest.LogCaptureFixture
) -> None:
    world.reconfigure(batch={"max_batches": 1})
    run = world.run(RunKind.BACKFILL, force=True, run_id="live")
    runs.begin(world.ctx.db, run)
    assert len(plan(world.ctx, run)) == 1
    assert world.count() == {"live": 40}
    assert "`imagesys run uk --interval DAY --force`" in caplog.text
