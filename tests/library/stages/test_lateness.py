"""Why a run is late: one likely cause."""

from __future__ import annotations

from typing import Any

import pytest

from imagesys_lib.fetch.politeness import host_records
from imagesys_lib.runs import leases, runs
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.report import summarize
from imagesys_lib.stages.report.lateness import Delay, likely_cause, measured
from tests.support.world import World

BUSY: dict[str, Any] = {"host": "img.example.com", "host_images": 90, "looked_at": 100, "host_limit": 6, "held": 1}


@pytest.mark.parametrize(
    ("delay", "reported"),
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
def test_each_cause_is_named(delay: Delay, reported: str) -> None:
    assert reported in likely_cause(delay)


def test_the_host_that_a_run_waits_for_is_told_from_what_is_left(world: World) -> None:
    world.seed(20)
    for number in range(60):
        world.put(f"slow-{number}", f"http://slow.example.test/{number}.jpg")
    world.reconfigure(batch={"size": 100})
    run = world.run()
    runs.begin(world.ctx.db, run)
    ingest(world.ctx, run)
    batch = plan(world.ctx, run)[0]
    leases.acquire(world.ctx.db, batch.batch_id, "somebody", 60)
    host_records.pause(world.ctx.shared, "slow.example.test", 500, "http_429")

    delay = measured(world.ctx, run, summarize(world.ctx, run))

    assert (delay.host, delay.host_images, delay.looked_at) == ("slow.example.test", 60, 80)
    assert (delay.begun, delay.ingested, delay.held, delay.waiting) == (True, True, 1, 0)
    assert "slow.example.test is left alone" in likely_cause(delay)
    assert not measured(world.ctx, world.run(), summarize(world.ctx, run)).begun
