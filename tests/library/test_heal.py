"""Heal: what earlier runs left behind is released, what is at work is left alone; a forced remake loses nothing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesys_lib import claims, runs
from imagesys_lib.db.engine import write
from imagesys_lib.db.schema import lis_batches, lis_images, lis_live_images
from imagesys_lib.hashing import lis_hash_for_url
from imagesys_lib.requeue import retry
from imagesys_lib.runs import Kind
from imagesys_lib.stages import thumbnail as thumbnail_module
from imagesys_lib.stages.download import download
from imagesys_lib.stages.heal import Healed, heal
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.thumbnail import thumbnail
from imagesys_lib.thumbnail.jobs import Job, Made
from imagesys_lib.thumbnail.pool import Decoders
from include.sandbox import ManifestEntry
from tests.world import NODES, World

Entries = dict[str, ManifestEntry]


def test_the_stuck_batch_of_a_finished_run_is_released_and_taken_by_the_next(world: World) -> None:
    run, batch_id = world.planned(10)
    zombie = claims.acquire(world.ctx.db, batch_id, "worker-a", 1)
    runs.finish(world.ctx.db, run, "failed", {})
    time.sleep(1.1)
    assert heal(world.ctx) == Healed(batches=1, images=10)
    assert world.count() == {"new": 10}
    assert {(row.batch_id, row.releases) for row in world.images().values()} == {(None, 1)}
    with pytest.raises(claims.ClaimLost):
        claims.renew(world.ctx.db, zombie)
    assert heal(world.ctx) == Healed()
    assert download(world.ctx, batch_id).fetched == 0  # a cleared task of the old run finds nothing to do
    assert [batch.size for batch in plan(world.ctx, world.run())] == [10]


def test_a_running_lease_and_a_running_run_are_left_alone(world: World) -> None:
    run, batch_id = world.planned(10)
    assert heal(world.ctx) == Healed()  # the run is under way: its tasks may be queued
    runs.finish(world.ctx.db, run, "failed", {})
    assert heal(world.ctx, run) == Healed()  # its own
    claim = claims.acquire(world.ctx.db, batch_id, "worker-a", 60)
    assert heal(world.ctx) == Healed()
    claims.renew(world.ctx.db, claim)
    claims.release(world.ctx.db, claim)
    assert heal(world.ctx).batches == 1


def test_a_run_silent_for_two_days_counts_as_dead(world: World) -> None:
    world.planned(10)
    world.sql("UPDATE lis_batches SET updated_at = TIMESTAMPADD(HOUR, -47, updated_at)")
    assert heal(world.ctx) == Healed()
    world.sql("UPDATE lis_batches SET updated_at = TIMESTAMPADD(HOUR, -2, updated_at)")
    assert heal(world.ctx) == Healed(batches=1, images=10)


def test_a_batch_that_is_taken_up_again_makes_its_run_count_as_under_way(world: World) -> None:
    run, batch_id = world.planned(10)
    runs.finish(world.ctx.db, run, "failed", {})
    world.sql("UPDATE lis_images SET image_url = 'ftp://x/1.jpg'")
    download(world.ctx, batch_id)
    assert runs.load(world.ctx.db, run.run_id).state == "running"


def test_an_image_whose_batches_are_given_up_five_times_is_poison(world: World) -> None:
    for times in range(1, 6):
        run, _ = world.planned(1) if times == 1 else (world.run(), 0)
        runs.begin(world.ctx.db, run)
        if times > 1:
            assert len(plan(world.ctx, run)) == 1
        runs.finish(world.ctx.db, run, "failed", {})
        healed = heal(world.ctx)
        assert (healed.images, healed.poison) == ((0, 1) if times == 5 else (1, 0))
    assert set(world.states().values()) == {"quarantined:poison"}
    assert plan(world.ctx, world.run()) == []
    assert retry(world.ctx, reason="poison") == 1
    assert len(plan(world.ctx, world.run())) == 1


def test_retry_dates_beyond_any_back_off_are_brought_to_now(world: World) -> None:
    world.new_images(3)
    world.sql("UPDATE lis_images SET state = 'failed', reason = 'dns', next_attempt_at = '2099-01-01'")
    world.sql("UPDATE lis_images SET next_attempt_at = TIMESTAMPADD(DAY, 6, UTC_TIMESTAMP(6)) LIMIT 1")
    assert heal(world.ctx).bad_retries == 2
    assert sum(batch.size for batch in plan(world.ctx, world.run())) == 2


def test_what_has_had_its_attempts_is_rejected_and_a_date_of_no_pause_is_now(world: World) -> None:
    world.new_images(5)
    for number, (state, attempts, days) in enumerate(
        [("failed", 12, 1), ("failed", 60_000, 1), ("failed", 11, 1), ("new", 0, 400), ("new", 0, 1)]
    ):
        world.sql(
            "UPDATE lis_images SET state = :s, attempts = :a, reason = IF(:s = 'failed', 'dns', NULL), "
            "next_attempt_at = TIMESTAMPADD(DAY, :d, UTC_TIMESTAMP(6)) WHERE image_url LIKE :u",
            s=state,
            a=attempts,
            d=days,
            u=f"%/{number}.jpg",
        )
    assert heal(world.ctx) == Healed(bad_retries=3)
    assert [state for _, state in sorted(world.states().items())] == [
        "rejected:dns",
        "rejected:dns",
        "failed:dns",
        "new",
        "new",
    ]
    assert sum(batch.size for batch in plan(world.ctx, world.run())) == 1
    assert heal(world.ctx).bad_retries == 0


def test_more_bad_dates_than_fit_a_statement_are_all_put_right(world: World) -> None:
    world.new_images(2300)
    world.sql("UPDATE lis_images SET next_attempt_at = '2099-01-01'")
    assert heal(world.ctx).bad_retries == 2300


def test_the_batches_of_a_run_that_no_longer_exists_are_released_and_counted(world: World) -> None:
    run, batch_id = world.planned(10)
    world.sql("DELETE FROM lis_runs")
    claim = claims.acquire(world.ctx.db, batch_id, "worker-a", 60)
    assert heal(world.ctx) == Healed()  # somebody is at it all the same
    claims.release(world.ctx.db, claim)
    assert heal(world.ctx) == Healed(batches=1, images=10, lost_runs=1)
    assert world.count() == {"new": 10}
    assert [batch.size for batch in plan(world.ctx, run)] == [10, 10]  # its own row stays, and is empty


def test_images_whose_batch_no_longer_exists_are_queued(world: World, live: Entries) -> None:
    remakes = sum(batch.size for batch in plan(world.ctx, remade(world)))
    world.new_images(7)
    plan(world.ctx, world.run())
    world.sql("DELETE FROM lis_batches")
    assert heal(world.ctx) == Healed(orphans=remakes + 7)
    assert world.count() == {"live": 40, "new": 7}
    assert world.live().keys() == live.keys()


def test_what_a_batch_was_left_with_when_it_was_called_done_is_not_stuck(world: World) -> None:
    world.seed(6)
    run = world.run()
    ingest(world.ctx, run)
    runs.begin(world.ctx.db, run)
    batch = plan(world.ctx, run)[0].batch_id
    download(world.ctx, batch)
    world.sql("UPDATE lis_images SET state = 'reserved' ORDER BY image_id LIMIT 2")
    thumbnail(world.ctx, batch)
    assert world.count() == {"thumbnailed": 4, "reserved": 2}
    assert heal(world.ctx) == Healed()  # the run is under way
    runs.finish(world.ctx.db, run, "failed", {})
    assert heal(world.ctx) == Healed(batches=1, images=2)
    assert world.count() == {"thumbnailed": 4, "new": 2}


def test_an_image_that_is_fetched_again_and_again_is_set_aside(world: World) -> None:
    world.seed(1)
    world.cli("ingest", "uk", "--interval", "2026-03-28")
    world.cli("ingest", "uk", "--interval", "2026-03-27")
    (url,) = world.images()
    for times in range(1, 6):
        assert heal(world.ctx) == Healed()
        batch = plan(world.ctx, world.run())[0].batch_id
        assert download(world.ctx, batch).fetched == 1
        world.ctx.staging.drop_original(lis_hash_for_url(url))
        # Made by something that eats originals: the thumbnail stage finds none, and sends the image back.
        assert thumbnail(world.ctx, batch).given_back == 1
        assert world.images()[url].releases == times
    assert heal(world.ctx) == Healed(endless=1)
    assert world.states() == {url: "quarantined:poison"}
    assert world.requests().total() == 5
    assert plan(world.ctx, world.run()) == []
    assert retry(world.ctx) == 1


def test_old_staged_files_go_only_when_nobody_needs_them(world: World) -> None:
    entries = world.seed(6)
    run = world.run()
    ingest(world.ctx, run)
    batch = plan(world.ctx, run)[0].batch_id
    download(world.ctx, batch)
    a, b, *rest = entries
    ids = {url: lis_hash_for_url(url) for url in entries}
    world.write_all(world.ctx.db, [sa.update(lis_images).where(lis_images.c.image_url == a).values(state="rejected")])
    needed = [world.ctx.staging.original(ids[url]) for url in (b, *rest)]
    for folder in ("originals", "out"):
        stray = world.staging / folder / "uk" / "0" / ".0.tmp"
        stray.parent.mkdir(parents=True, exist_ok=True)
        stray.touch()
    for file in world.staging.rglob("*"):
        if file.is_file() and file != needed[-1]:
            os.utime(file, (time.time() - 49 * 3600,) * 2)
    assert heal(world.ctx).staged == 4  # the original and its note, two temporary files
    assert all(path.exists() for path in needed)
    thumbnail(world.ctx, batch)
    for file in world.staging.rglob("*.jpg"):
        os.utime(file, (time.time() - 49 * 3600,) * 2)
    assert heal(world.ctx).staged == 0  # the nodes still wait for them


def test_a_sweep_beside_working_batches_stumbles_over_nothing(world: World) -> None:
    folder = world.staging / "originals" / "uk" / "0" / "0" / "0"
    folder.mkdir(parents=True)
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            for n in range(50):
                (folder / str(n)).touch()
            for n in range(50):
                (folder / str(n)).unlink(missing_ok=True)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(60):
            heal(world.ctx)
    finally:
        stop.set()
        thread.join()


# A forced remake


def remade(world: World, *, force: bool = True) -> runs.Run:
    """Begin a backfill run; a forced one with other settings, since what would come out the same is not fetched."""
    if force:
        world.reconfigure(process={"quality": 40})
    run = world.run(Kind.BACKFILL, force=force)
    runs.begin(world.ctx.db, run)
    ingest(world.ctx, run)
    return run


def test_a_remake_replaces_files_and_live_rows_and_nothing_is_ever_absent(world: World, live: Entries) -> None:
    world.reconfigure(process={"quality": 40})
    before, rows = world.equal_trees(), world.live()
    day = {url for url, entry in live.items() if entry.local_day == "2026-03-28"}
    world.sql("UPDATE lis_live_images SET human_classified = 1, image_class = 'kitchen'")
    fewest = [len(rows)]
    stop = threading.Event()
    watched = world.context()

    def watch() -> None:
        while not stop.is_set():
            with watched.db.connect() as session:
                fewest.append(session.scalar(sa.select(sa.func.count()).select_from(lis_live_images)))
            missing = [path for path in list(before)[::7] for n in NODES if not (world.root(n) / path).exists()]
            fewest.append(len(rows) - len(missing))
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        summary = world.pipeline(world.run(Kind.BACKFILL, force=True))
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


def test_a_remake_that_is_given_up_stays_live_with_what_it_had(world: World, live: Entries) -> None:
    before = world.equal_trees()
    run = remade(world)
    batches = plan(world.ctx, run)
    assert world.count()["reserved"] > 0
    download(world.ctx, batches[0].batch_id)
    runs.finish(world.ctx.db, run, "failed", {})
    at_work = world.count()["downloaded"] + world.count()["reserved"]
    assert at_work > 0
    healed = heal(world.ctx)
    assert healed.images == at_work
    assert healed.poison == 0
    assert world.count() == {"live": 40}
    assert world.live().keys() == live.keys()
    assert world.equal_trees() == before


def test_a_remake_whose_photo_is_gone_stays_live_with_its_reason(world: World, live: Entries) -> None:
    run = remade(world)
    batch = plan(world.ctx, run)[0]
    world.sandbox.website.manifest.remove("uk")  # every photo is a 404 now
    download(world.ctx, batch.batch_id)
    assert world.count() == {"live": 40}
    assert world.live().keys() == live.keys()
    assert "live:http_404" in world.states().values()


def test_an_ordinary_backfill_makes_nothing_live_again(world: World, live: Entries) -> None:
    assert plan(world.ctx, remade(world, force=False)) == []
    assert world.pipeline(world.run(Kind.BACKFILL)).images == 0
    assert world.requests() == {}


def test_an_original_that_vanished_from_staging_is_fetched_again(world: World) -> None:
    entries = world.seed(5)
    run = world.run()
    ingest(world.ctx, run)
    batch = plan(world.ctx, run)[0].batch_id
    download(world.ctx, batch)
    victim = next(iter(entries))
    Path(world.ctx.staging.original(lis_hash_for_url(victim))).unlink()
    made = thumbnail(world.ctx, batch)
    assert (made.made, made.given_back) == (4, 1)
    assert world.images()[victim].state == "new"
    world.pipeline()
    assert set(world.count()) == {"live"}


def test_a_finished_batch_is_done_and_never_stuck(world: World) -> None:
    world.seed(5)
    world.pipeline()
    assert [row.state for row in world.rows(sa.select(lis_batches))] == ["done"]
    assert heal(world.ctx) == Healed()


def test_a_batch_of_which_nothing_was_left_to_thumbnail_is_not_stuck(world: World) -> None:
    world.new_images(3, "ftp://127.0.0.11/")
    run = world.run()
    runs.begin(world.ctx.db, run)
    batch = plan(world.ctx, run)[0].batch_id
    download(world.ctx, batch)
    thumbnail(world.ctx, batch)
    runs.finish(world.ctx.db, run, "success", {})
    assert heal(world.ctx).batches == 0


def test_retry_by_hand_takes_only_what_was_asked_for(world: World) -> None:
    world.new_images(6)
    for number, (state, reason, source) in enumerate(
        [("failed", "dns", 1), ("rejected", "http_404", 1), ("rejected", "http_404", 2), ("quarantined", "poison", 1)]
    ):
        world.sql(
            "UPDATE lis_images SET state = :s, reason = :r, datasource_id = :d, attempts = 3, "
            "next_attempt_at = '2099-01-01' WHERE image_url LIKE :u",
            s=state,
            r=reason,
            d=source,
            u=f"%/{number}.jpg",
        )
    assert retry(world.ctx, dry_run=True) == 4
    assert world.count() == {"new": 2, "failed": 1, "rejected": 2, "quarantined": 1}
    assert retry(world.ctx, reason="http_404", datasource=2) == 1
    assert retry(world.ctx, reason="http_404") == 1
    assert retry(world.ctx) == 2
    assert world.count() == {"new": 6}
    assert sum(batch.size for batch in plan(world.ctx, world.run())) == 6


def test_retry_since_takes_what_failed_then_or_later_in_local_time(world: World) -> None:
    world.new_images(2600)
    world.sql("UPDATE lis_images SET state = 'failed', reason = 'dns', updated_at = '2026-03-31 22:59:59'")
    world.sql("UPDATE lis_images SET updated_at = '2026-03-31 23:00:00' ORDER BY image_id LIMIT 2100")
    world.sql("UPDATE lis_images SET state = 'live', reason = NULL ORDER BY image_id LIMIT 50")
    ran = world.cli("retry", "uk", "--since", "2026-04-01", "--dry-run")  # summer time: midnight is 23:00 UTC
    assert ran.out == "requeued: 2050\n"
    assert world.count() == {"failed": 2550, "live": 50}
    assert world.cli("retry", "uk", "--since", "2026-03-31T23:00:01+00:00", "--json").json == {"requeued": 0}
    assert world.cli("retry", "uk", "--since", "2026-04-01", "--reason", "dns", "--json").json == {"requeued": 2050}
    assert world.count() == {"failed": 500, "new": 2050, "live": 50}
    ran = world.cli("retry", "uk", "--since", "yesterday")
    assert (ran.code, "give 2026-03-01" in ran.err) == (2, True)


def test_a_write_that_finds_fewer_images_than_it_made_is_an_error_not_a_loss(world: World) -> None:
    entries = world.seed(3)
    run = world.run()
    ingest(world.ctx, run)
    batch = plan(world.ctx, run)[0].batch_id
    download(world.ctx, batch)
    thief = next(iter(entries))

    def steal(session: sa.Connection) -> None:
        session.execute(sa.update(lis_images).where(lis_images.c.image_url == thief).values(state="failed"))

    class Thief(Decoders):
        def submit(self, jobs: Sequence[Job]) -> Future[list[Made]]:
            write(world.ctx.db, steal)
            return super().submit(jobs)

    world.patch.setattr(thumbnail_module, "Decoders", Thief)
    with pytest.raises(RuntimeError, match="3 images were made but 2"):
        thumbnail(world.ctx, batch)
    assert world.count() == {"downloaded": 2, "failed": 1}
