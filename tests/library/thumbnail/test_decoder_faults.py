"""Poison for decoders (24): what crashes, hangs or eats memory costs its own photo and a process, never the batch."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator

import psutil
import pytest

from imagesys_lib.stages import thumbnail as stage
from imagesys_lib.thumbnail.processes.pool import Decoders
from tests.support import bombs
from tests.support.images import encoded, quarters
from tests.support.photo_host import PhotoHost, photo_host
from tests.support.poison import poisoned
from tests.support.world import World

QUARANTINED = "quarantined:decoder_crash"


def poison(what: str, number: int = 0) -> bytes:
    return encoded(quarters(200 + number, 150), "JPEG", comment=f"poison: {what}".encode())


@pytest.fixture
def host(world: World) -> Iterator[PhotoHost]:
    with photo_host() as server:
        yield server


def assert_clean(world: World, host: PhotoHost, poisons: dict[str, str], good: list[str]) -> None:
    """Everything good is live, everything else has its reason, was asked for once, and nothing is left behind."""
    states = world.states()
    assert {url: states[url] for url in good} == dict.fromkeys(good, "live")
    assert {url: states[url] for url in poisons} == poisons, [world.images()[url].detail for url in poisons]
    assert len(world.equal_trees()) == 2 * len(good)
    assert (world.staged("originals"), world.staged("out")) == ([], [])
    assert len(host.asked) == len(good) + len(poisons)
    me = psutil.Process()
    assert [child for child in me.children() if child.status() == psutil.STATUS_ZOMBIE] == []


def test_photos_that_kill_their_decoder_are_quarantined_and_the_batch_goes_on(world: World, host: PhotoHost) -> None:
    world.reconfigure(thumbnail={"seconds": 1, "memory_mb": 256})
    world.patch.setattr(stage, "Decoders", functools.partial(Decoders, work=poisoned))
    good, poisons = [], {}
    for number in range(48):
        good.append(host.put(f"/{number}.jpg", encoded(quarters(300 + number, 200), "JPEG")))
        if number % 8 == 3:
            what = ("segv", "abort", "kill", "hang", "memory", "exit")[number // 8]
            poisons[host.put(f"/{what}.jpg", poison(what))] = QUARANTINED
    world.put("a", *(host.url(path) for path in host.replies))
    began = time.monotonic()
    summary = world.pipeline()
    assert time.monotonic() - began < 30
    assert summary.lost == []
    assert_clean(world, host, poisons, good)
    details = {url.rpartition("/")[2]: world.images()[url].detail for url in poisons}
    assert "SIGSEGV" in details["segv.jpg"]
    assert "no end after 3 s" in details["hang.jpg"]
    # Only a person, or the ETL, gives them another chance.
    world.sql("UPDATE lis_images SET next_attempt_at = '2026-01-01'")
    asked = len(host.asked)
    assert world.pipeline().images == 0
    assert len(host.asked) == asked
    world.patch.undo()


@pytest.mark.long  # test_corpus.py has bombs that cost too much
def test_real_files_that_cost_too_much_are_stopped_at_the_limits_of_their_process(
    world: World, host: PhotoHost
) -> None:
    """A PNG just under 50 million pixels in a process of 128 MB, and a JPEG of a thousand scans in two seconds."""
    world.reconfigure(thumbnail={"seconds": 2, "memory_mb": 128})
    good = [host.put(f"/{number}.jpg", encoded(quarters(300 + number, 200), "JPEG")) for number in range(20)]
    poisons = {
        host.put("/big.png", bombs.big_flat_png()): QUARANTINED,
        host.put("/scans.jpg", bombs.many_scans(3_000, 1_000)): QUARANTINED,
    }
    world.put("a", *good, *poisons)
    summary = world.pipeline()
    assert summary.lost == []
    assert_clean(world, host, poisons, good)
