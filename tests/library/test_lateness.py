"""Why a run is late: the slowest stage and host, and one likely cause."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib import claims, runs
from imagesys_lib.db.schema import lis_batches
from imagesys_lib.hosts import store
from imagesys_lib.runs import Kind
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.lateness import Delay, Marks, likely_cause, look, slowest, stage_seconds
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.report import summarize
from tests.world import DAY, World

BUSY: dict[str, Any] = {"host": "img.example.com", "host_images": 90, "looked_at": 100, "host_limit": 6, "held": 1}


@pytest.mark.parametrize(
    ("delay", "told"),
    [
        (Delay(begun=False), "has not begun"),
        (Delay(ingested=False), "the ETL is slow or away"),
        (Delay(**BUSY, host_pause=300), "img.example.com is left alone for 300 s"),
        (Delay(**BUSY, sources=(7,)), "Data source 7 fails"),
        (Delay(**BUSY), "gets 6 requests at a time"),
        (Delay(**BUSY | {"host_images": 10}, waiting=4), "4 batches wait for a slot, 1 are worked on"),
        (Delay(nodes={"n2": "unreachable", "n3": ""}), "n2: unreachable; n3"),
        (Delay(), "Nothing stands out"),
    ],
)
def test_each_cause_is_named(delay: Delay, told: str) -> None:
    assert told in likely_cause(delay)


def at(minute: int) -> dt.datetime:
    return dt.datetime.combine(DAY, dt.time(3)) + dt.timedelta(minutes=minute)


def row(**values: Any) -> Any:
    return type("Row", (), values)


def a_batch(seq: int, downloaded: int | None, updated: int) -> Any:
    return row(
        seq=seq,
        created_at=at(12),
        updated_at=at(updated),
        downloaded_at=None if downloaded is None else at(downloaded),
    )


def minutes(
    now: int, *, left: tuple[int, ...] = (), kind: Kind = Kind.SCHEDULED, batches: Any = None, **marks: Any
) -> dict[str, float]:
    """Where the time goes of a run that began at 0, had its rows in at 10 and its batches planned at 12."""
    ended = {"heal": at(1), **marks.pop("ended", {})}
    batches = [a_batch(0, 40, 50), a_batch(1, 60, 70)] if batches is None else batches
    own = row(started_at=at(0), ingested_at=at(10))
    found = stage_seconds(kind, own, batches, left, Marks(ended=ended, **marks), now=at(now))
    return {stage: seconds / 60 for stage, seconds in found.items()}


BEGUN = {"heal": 1, "ingest": 9, "plan": 2}
MADE = {**BEGUN, "download": 48, "thumbnail": 10}
SYNCED = (at(75), at(80), at(77))


def test_the_time_of_a_run_goes_to_the_stage_that_took_it() -> None:
    running = [a_batch(0, 40, 50), a_batch(1, None, 89)]
    assert minutes(90, left=(1,), batches=running) == {**BEGUN, "download": 78}
    assert minutes(90, left=(0, 1), batches=[a_batch(0, 30, 89)]) == {**BEGUN, "download": 18, "thumbnail": 60}
    assert minutes(90, synced=(at(75), at(3), None)) == {**MADE, "sync": 20}  # two are still to come
    assert minutes(95, synced=SYNCED) == {**MADE, "sync": 10, "publish": 15}
    published = {"publish": at(82)}
    assert minutes(150, synced=SYNCED, ended=published) == {**MADE, "sync": 10, "publish": 2, "purge": 68}
    # What has purged syncs its deletions, too.
    purged = {**published, "purge": at(90)}
    later, after = (at(95), at(96), at(97)), {**MADE, "sync": 12, "publish": 0, "purge": 8}
    assert minutes(130, synced=later, ended=purged, checked=(at(99), None)) == {**after, "check": 40}
    checked = (at(99), at(110))
    assert minutes(130, synced=later, ended=purged, checked=checked) == {**after, "check": 20, "repair": 20}
    assert minutes(95, kind=Kind.BACKFILL, synced=SYNCED, ended=published) == {**MADE, "sync": 10, "publish": 2}


def test_what_left_no_instant_ends_with_the_next_stage_and_what_has_not_begun_takes_no_time() -> None:
    old = [a_batch(0, None, 50), a_batch(1, None, 70)]  # of before there was such an instant
    assert minutes(90, batches=old, synced=()) == {**BEGUN, "download": 58, "thumbnail": 0, "sync": 20}
    assert minutes(90, batches=[]) == {"heal": 1, "ingest": 9, "plan": 80}
    kind, not_in = Kind.SCHEDULED, row(started_at=at(0), ingested_at=None)
    assert stage_seconds(kind, not_in, [], (), Marks(), now=at(90)) == {"heal": 5400}
    assert stage_seconds(kind, not_in, [], (), Marks({"heal": at(30)}), now=at(90)) == {"heal": 1800, "ingest": 3600}


def test_a_real_run_leaves_the_instants_of_its_stages(world: World) -> None:
    world.seed(20)
    run = world.run()
    world.pipeline(run)
    delay = look(world.ctx, run, summarize(world.ctx, run))
    stages = ["heal", "ingest", "plan", "download", "thumbnail", "sync", "publish", "purge", "check", "repair"]
    assert list(delay.stages) == stages
    assert all(seconds >= 0 for seconds in delay.stages.values())
    assert delay.stages["download"] > 0
    assert sum(delay.stages.values()) < 60
    assert slowest(delay)[0].startswith("Slowest stage: ")


def test_the_slowest_host_and_stage_are_told_from_what_is_left(world: World) -> None:
    world.seed(20)
    for number in range(60):
        world.put(f"slow-{number}", f"http://slow.example.test/{number}.jpg")
    world.reconfigure(batch={"size": 100})
    run = world.run()
    runs.begin(world.ctx.db, run)
    ingest(world.ctx, run)
    batch = plan(world.ctx, run)[0]
    claims.acquire(world.ctx.db, batch.batch_id, "somebody", 60)
    world.write_all(world.ctx.db, [sa.update(lis_batches).values(created_at=sa.func.utc_timestamp(6))])
    store.pause(world.ctx.shared, "slow.example.test", 500, "http_429")

    delay = look(world.ctx, run, summarize(world.ctx, run))

    assert (delay.host, delay.host_images, delay.looked_at) == ("slow.example.test", 60, 80)
    assert (delay.begun, delay.ingested, delay.held, delay.waiting) == (True, True, 1, 0)
    assert slowest(delay)[1] == "Slowest host: slow.example.test, with 60 of 80 images to be fetched"
    assert "download" in delay.stages
    assert "slow.example.test is left alone" in likely_cause(delay)
    assert not look(world.ctx, world.run(), summarize(world.ctx, run)).begun
