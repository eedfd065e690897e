"""Workers that die, hang and come back: the batch is finished once, and what a zombie writes late is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter

import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_batches
from imagesys_lib.images.hash_and_path import lis_hash_for_url, thumbnail_path
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.shared.batch import holder_name
from imagesys_lib.stages.thumbnail import thumbnail
from tests.support.world import World, wait_for


def planned(world: World, images: int = 60) -> int:
    world.seed(images)
    run = world.run()
    ingest(world.ctx, run)
    return plan(world.ctx, run)[0].batch_id


def slow(world: World, **config: object) -> None:
    world.configure(batch={"size": 500, "lease_seconds": 2}, fetch={"in_flight": 4, "per_host": 1}, **config)
    world.ctx = world.context()


def fetched(world: World) -> int:
    return len([name for name in world.staged("originals") if name.endswith(".json")])


def holder(world: World, batch: int) -> str | None:
    return world.scalar(sa.select(lis_batches.c.holder).where(lis_batches.c.batch_id == batch))


def in_mid_batch(world: World, batch: int) -> subprocess.Popen[str]:
    """Start a download of a slow site and return when it is well under way."""
    world.sandbox.website.set_delay(150)
    child = world.spawn("download", "uk", "--batch", str(batch))
    wait_for(lambda: fetched(world) > 8 and world.count()["downloaded"] > 2, "a download in mid-batch")
    assert fetched(world) < 50
    return child


def finish(world: World, batch: int, images: int = 60) -> None:
    """Bring everything to its end and look that nothing is lost, doubled or half done."""
    world.sandbox.website.set_delay(0)
    thumbnail(world.ctx, batch)
    world.sync_all()
    publish(world.ctx)
    assert world.count() == {"live": images}
    assert len(world.live()) == images
    paths = {thumbnail_path("uk", lis_hash_for_url(url), n) for url in world.images() for n in (1, 2)}
    assert world.equal_trees().keys() == paths
    assert world.staged("out") == []


def test_a_download_killed_in_mid_batch_is_finished_by_a_retry_that_fetches_nothing_twice(world: World) -> None:
    slow(world)
    batch = planned(world)
    child = in_mid_batch(world, batch)
    child.kill()
    child.wait()
    complete = {name.removesuffix(".json") for name in world.staged("originals") if name.endswith(".json")}
    killed_at = world.requests()
    world.sandbox.website.set_delay(0)

    started = time.monotonic()
    done = download(world.ctx, batch)  # waits for the dead one's lease
    assert time.monotonic() - started < 6
    assert done.adopted + done.fetched + world_downloaded_before(complete, done) == 60
    after = world.requests()
    assert set(after.values()) <= {1, 2}
    assert sum(count - 1 for count in after.values()) <= 4
    under_way = sum(after.values()) - sum(killed_at.values()) - done.fetched
    assert 0 <= under_way <= 4  # one request a thread was not answered yet
    assert world.count() == {"downloaded": 60}
    assert world.staged("out") == []
    finish(world, batch)
    assert Counter(world.requests()) == after


def world_downloaded_before(complete: set[str], done: object) -> int:
    """What the killed one had already written to the database: complete on disk, and not adopted."""
    return len(complete) - done.adopted


def test_a_retry_without_a_batch_id_finds_the_batch_of_a_killed_worker(world: World) -> None:
    slow(world)
    batch = planned(world, 12)
    world.sql(
        "UPDATE lis_batches SET holder = 'dead:1', lease_until = TIMESTAMPADD(SECOND, -1, UTC_TIMESTAMP(6)), fence = 1"
    )
    ran = world.cli("download", "uk", "--json")
    assert ran.code == 0
    done = {"fetched": 12, "adopted": 0, "failed": {}, "given_back": 0, "unchanged": 0}
    assert ran.json == {f"batch {batch}": done}


def test_sigterm_gives_the_lease_back_within_five_seconds_and_what_was_done_is_kept(world: World) -> None:
    slow(world)
    batch = planned(world)
    child = in_mid_batch(world, batch)
    started = time.monotonic()
    child.terminate()
    _, err = child.communicate(timeout=10)
    assert time.monotonic() - started < 5
    assert child.returncode == 1
    assert "Stopped; what was held has been given back." in err
    assert "Traceback" not in err
    assert holder(world, batch) is None
    counts = world.count()
    assert counts["downloaded"] + counts["reserved"] == 60
    # What was fetched to its end is in the database, or at least lies complete in staging.
    assert fetched(world) - 8 <= counts["downloaded"] <= fetched(world)
    world.sandbox.website.set_delay(0)
    started = time.monotonic()
    download(world.ctx, batch)
    assert time.monotonic() - started < 5  # no lease to wait for
    assert world.count() == {"downloaded": 60}


@pytest.mark.parametrize("command", ["run", "thumbnail", "sync"])
def test_sigterm_ends_every_command_without_a_traceback(world: World, command: str) -> None:
    slow(world, transfer={"bandwidth_kbps": 10})
    world.seed(40)
    run = world.run()
    if command != "run":
        ingest(world.ctx, run)
        (batch,) = plan(world.ctx, run)
        download(world.ctx, batch.batch_id)
    if command == "sync":
        thumbnail(world.ctx, batch.batch_id)
    world.sandbox.website.set_delay(150)
    arguments = ["--interval", "2026-03-28"] if command == "run" else []
    child = world.spawn(command, "uk", *arguments)
    under_way = {
        "run": lambda: fetched(world) > 4,
        "thumbnail": lambda: len(world.staged("out")) > 4,
        "sync": lambda: len(world.tree("n1")) > 4,
    }[command]
    wait_for(under_way, f"{command} to be under way")
    started = time.monotonic()
    child.terminate()
    _, err = child.communicate(timeout=30)
    assert time.monotonic() - started < 5
    assert child.returncode == 1
    assert err == "Stopped; what was held has been given back.\n"
    assert world.rows(sa.select(lis_batches).where(lis_batches.c.holder.is_not(None))) == []
    assert world.count().keys() <= {"reserved", "downloaded", "thumbnailed"}
    if command == "sync":
        assert list((world.root("n1") / ".imagesys" / "tmp").iterdir()) == []


def test_a_zombie_that_wakes_after_its_batch_was_taken_over_is_refused(world: World) -> None:
    slow(world)
    batch = planned(world)
    child = in_mid_batch(world, batch)
    os.kill(child.pid, signal.SIGSTOP)
    world.sandbox.website.set_delay(0)
    done = download(world.ctx, batch)
    assert done.adopted + done.fetched > 0
    assert world.count() == {"downloaded": 60}
    thumbnail(world.ctx, batch)
    before = world.dump()
    os.kill(child.pid, signal.SIGCONT)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 1
    assert "was taken over" in err
    assert "this write is refused" in err
    assert world.dump() == before


def test_a_zombie_making_thumbnails_is_refused_too(world: World) -> None:
    slow(world)
    batch = planned(world)
    download(world.ctx, batch)
    child = world.spawn("thumbnail", "uk", "--batch", str(batch))
    wait_for(lambda: len(world.staged("out")) > 6, "thumbnails in mid-batch")
    os.kill(child.pid, signal.SIGSTOP)
    if world.count()["downloaded"] == 0:
        pytest.skip("the batch was finished before it could be stopped")
    thumbnail(world.ctx, batch)
    before = world.dump()
    os.kill(child.pid, signal.SIGCONT)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 1
    assert "was taken over" in err
    assert world.dump() == before
    assert world.count() == {"thumbnailed": 60}


def test_a_thumbnail_worker_killed_in_mid_batch_leaves_nothing_half_done(world: World) -> None:
    slow(world)
    batch = planned(world)
    download(world.ctx, batch)
    requests = world.requests()
    child = world.spawn("thumbnail", "uk", "--batch", str(batch))
    wait_for(lambda: len(world.staged("out")) > 6, "thumbnails in mid-batch")
    child.kill()
    child.wait()
    assert {row.state for row in world.images().values()} <= {"downloaded", "thumbnailed"}
    thumbnail(world.ctx, batch)
    assert world.count() == {"thumbnailed": 60}
    visible = [name for name in world.staged("out") if not name.rpartition("/")[2].startswith(".")]
    assert len(visible) == 120
    world.sync_all()
    publish(world.ctx)
    assert len(world.live()) == 60
    assert len(world.equal_trees()) == 120
    assert world.requests() == requests


def test_a_lease_by_hand_names_its_process(world: World) -> None:
    assert holder_name().endswith(f":{os.getpid()}")
