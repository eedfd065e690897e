"""Heal: what earlier runs left behind is released and counted, what is at work is left alone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesys_lib.db.engine import write
from imagesys_lib.db.schema import lis_batches, lis_images
from imagesys_lib.errors import DiskFull, Stopped
from imagesys_lib.images.hash_and_path import lis_hash_for_url
from imagesys_lib.ops.retry import retry
from imagesys_lib.runs import leases, runs
from imagesys_lib.stages import thumbnail as thumbnail_module
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.heal import Healed, heal
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.thumbnail import thumbnail
from imagesys_lib.thumbnail.messages import Made, ThumbnailJob
from imagesys_lib.thumbnail.processes.pool import Decoders
from tests.support.world import World


def test_the_stuck_batch_of_a_finished_run_is_released_and_taken_by_the_next(world: World) -> None:
    run, batch_id = world.planned(10)
    zombie = leases.acquire(world.ctx.db, batch_id, "worker-a", 1)
    runs.finish(world.ctx.db, run, "failed", {})
    time.sleep(1.1)
    assert heal(world.ctx) == Healed(batches=1, images=10)
    assert world.count() == {"new": 10}
    assert {(row.batch_id, row.releases) for row in world.images().values()} == {(batch_id, 1)}
    with pytest.raises(leases.LeaseLost):
        leases.renew(world.ctx.db, zombie)
    assert heal(world.ctx) == Healed()
    assert download(world.ctx, batch_id).fetched == 0  # a cleared task of the old run finds nothing to do
    assert [batch.size for batch in plan(world.ctx, world.run())] == [10]


def test_a_running_lease_and_a_running_run_are_left_alone(world: World) -> None:
    run, batch_id = world.planned(10)
    assert heal(world.ctx) == Healed()  # the run is under way: its tasks may be queued
    runs.finish(world.ctx.db, run, "failed", {})
    assert heal(world.ctx, run) == Healed()  # its own
    lease = leases.acquire(world.ctx.db, batch_id, "worker-a", 60)
    assert heal(world.ctx) == Healed()
    leases.renew(world.ctx.db, lease)
    leases.release(world.ctx.db, lease)
    assert heal(world.ctx).batches == 1


def test_a_run_silent_for_two_days_counts_as_dead(world: World) -> None:
    world.planned(10)
    world.sql("UPDATE lis_batches SET updated_at = TIMESTAMPADD(HOUR, -47, updated_at)")
    assert heal(world.ctx) == Healed()
    world.sql("UPDATE lis_batches SET updated_at = TIMESTAMPADD(HOUR, -2, updated_at)")
    assert heal(world.ctx) == Healed(batches=1, images=10, lost_runs=1)


def test_a_batch_that_is_taken_up_again_makes_its_run_count_as_under_way(world: World) -> None:
    run, batch_id = world.planned(10)
    runs.finish(world.ctx.db, run, "failed", {})
    world.sql("UPDATE lis_images SET image_url = 'ftp://x/1.jpg'")
    download(world.ctx, batch_id)
    assert runs.load(world.ctx.db, run.run_id).state == "running"


def again_planned(world: World, images: int) -> tuple[runs.Run, int]:
    """A day's run, with what the days before have left in one batch."""
    run = world.run()
    runs.begin(world.ctx.db, run)
    batches = plan(world.ctx, run)
    assert [batch.size for batch in batches] == [images]
    return run, batches[0].batch_id


def test_an_image_at_which_workers_die_five_times_is_poison(world: World) -> None:
    world.new_images(1)
    for times in range(1, 6):
        run, batch_id = again_planned(world, 1)
        leases.acquire(world.ctx.db, batch_id, f"worker-{times}", 0)  # and is never heard of again
        runs.finish(world.ctx.db, run, "failed", {})
        healed = heal(world.ctx)
        assert (healed.images, healed.poison) == ((0, 1) if times == 5 else (1, 0))
    assert set(world.states().values()) == {"quarantined:poison"}
    assert plan(world.ctx, world.run()) == []
    assert retry(world.ctx, reason="poison") == 1
    assert len(plan(world.ctx, world.run())) == 1


def test_an_outage_of_many_days_makes_no_image_poison(world: World) -> None:
    world.new_images(3)
    world.reconfigure(staging={"min_free_mb": 2**40})
    for _ in range(8):
        run, batch_id = again_planned(world, 3)
        with pytest.raises(DiskFull):
            download(world.ctx, batch_id, "worker")
        runs.finish(world.ctx.db, run, "failed", {})
        assert heal(world.ctx) == Healed(batches=1, images=3)
    assert {(row.state, row.releases, row.attempts) for row in world.images().values()} == {("new", 0, 0)}


def test_only_what_a_dead_worker_was_at_counts_against_an_image(world: World) -> None:
    world.new_images(4)
    run, batch_id = again_planned(world, 4)
    world.sql("UPDATE lis_images SET state = 'downloaded' ORDER BY image_id LIMIT 1")
    leases.release(world.ctx.db, leases.acquire(world.ctx.db, batch_id, "download", 60), "downloaded")
    leases.acquire(world.ctx.db, batch_id, "thumbnail", 0)
    runs.finish(world.ctx.db, run, "failed", {})
    assert heal(world.ctx).images == 4
    assert sorted(row.releases for row in world.images().values()) == [0, 0, 0, 1]


def test_a_batch_of_thousands_is_released_in_steps_and_a_killed_heal_loses_no_count(world: World) -> None:
    world.reconfigure(batch={"size": 3000})
    world.new_images(2500)
    run, batch_id = again_planned(world, 2500)
    leases.acquire(world.ctx.db, batch_id, "worker", 0)
    runs.finish(world.ctx.db, run, "failed", {})
    today = world.run()
    runs.begin(world.ctx.db, today)
    stop = threading.Event()
    ctx = world.context(stop=stop)

    @sa.event.listens_for(ctx.db, "commit")
    def kill_after_the_first_step(_connection: object) -> None:
        if world.count()["new"]:
            stop.set()

    with pytest.raises(Stopped):
        heal(ctx, today)
    left = 2500 - world.count()["new"]
    assert 0 < left < 2500
    assert runs.figures(world.ctx.db, today.run_id, "heal.") == {"images": 2500 - left}
    assert heal(world.ctx, today) == Healed(batches=1, images=left)
    assert runs.figures(world.ctx.db, today.run_id, "heal.") == {"batches": 1, "images": 2500}
    assert {row.releases for row in world.images().values()} == {1}


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(world: World) -> None:
    world.new_images(12)
    run, batch_id = again_planned(world, 12)
    leases.acquire(world.ctx.db, batch_id, "worker", 0)
    runs.finish(world.ctx.db, run, "failed", {})
    world.sql("UPDATE lis_images SET releases = 4 ORDER BY image_id LIMIT 2")
    for condition, change in (
        ("'%/9.jpg'", "batch_id = 99999999"),
        ("'%/8.jpg'", "state = 'new', next_attempt_at = '2099-01-01'"),
        ("'%/7.jpg'", "state = 'failed', attempts = 60000, next_attempt_at = '2099-01-01'"),
        ("'%/6.jpg'", "state = 'new', releases = 5"),
    ):
        world.sql(f"UPDATE lis_images SET {change} WHERE image_url LIKE {condition}")
    stray = world.staging / "out" / "uk" / "0" / ".0.tmp"
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.touch()
    os.utime(stray, (time.time() - 49 * 3600,) * 2)
    would = Healed(batches=1, images=6, poison=2, bad_retries=2, staged=1, orphans=1, endless=1)
    before = world.dump()
    assert heal(world.ctx, world.run(), dry_run=True) == would
    reported = world.cli("heal", "uk", "--dry-run", "--json").json
    assert Healed(**reported) == would
    assert world.dump() == before
    assert stray.exists()
    assert heal(world.ctx) == would
    assert heal(world.ctx, dry_run=True) == Healed()
    assert not stray.exists()


def test_retry_dates_beyond_any_back_off_are_brought_to_now(world: World) -> None:
    world.new_images(3)
    world.sql("UPDATE lis_images SET state = 'failed', reason = 'dns', next_attempt_at = '2099-01-01'")
    world.sql("UPDATE lis_images SET next_attempt_at = TIMESTAMPADD(DAY, 6, UTC_TIMESTAMP(6)) LIMIT 1")
    assert heal(world.ctx).bad_retries == 2
    assert sum(batch.size for batch in plan(world.ctx, world.run())) == 2


def test_what_has_had_its_attempts_is_rejected_and_a_date_of_no_pause_is_now(world: World) -> None:
    world.new_images(5)
    for number, (state, attempts, days) in enumerate(
        [("failed", 12, 0), ("failed", 60_000, 400), ("failed", 11, 1), ("new", 0, 400), ("new", 0, 1)]
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
    lease = leases.acquire(world.ctx.db, batch_id, "worker-a", 60)
    assert heal(world.ctx) == Healed()  # somebody is at it all the same
    leases.release(world.ctx.db, lease)
    assert heal(world.ctx) == Healed(batches=1, images=10, lost_runs=1)
    assert world.count() == {"new": 10}
    assert [batch.size for batch in plan(world.ctx, run)] == [0, 10]  # its own row stays, and is empty


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


def test_a_write_that_finds_fewer_images_than_it_made_is_an_error_not_a_loss(world: World) -> None:
    entries = world.seed(3)
    run = world.run()
    ingest(world.ctx, run)
    batch = plan(world.ctx, run)[0].batch_id
    download(world.ctx, batch)
    thief = next(iter(entries))

    def steal(connection: sa.Connection) -> None:
        connection.execute(sa.update(lis_images).where(lis_images.c.image_url == thief).values(state="failed"))

    class Thief(Decoders):
        def submit(self, jobs: Sequence[ThumbnailJob]) -> Future[list[Made]]:
            write(world.ctx.db, steal)
            return super().submit(jobs)

    world.patch.setattr(thumbnail_module, "Decoders", Thief)
    with pytest.raises(RuntimeError, match="3 images were made but 2"):
        thumbnail(world.ctx, batch)
    assert world.count() == {"downloaded": 2, "failed": 1}
