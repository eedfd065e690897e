"""The staging disk fills in mid-batch: the task names the disk, nothing half done stays, and all is done afterwards."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from include.sandbox import ManifestEntry
from tests.library.nodes.test_node_faults import MOUNTS, grow, small_disk
from tests.support.trees import assert_equal_nodes
from tests.support.world import World

Entries = dict[str, ManifestEntry]
IMAGES = 60
IN_FLIGHT = 4
NO_FLOOR = {"min_free_mb": 0, "min_free_inodes": 0}


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def assert_whole(world: World, entries: Entries) -> int:
    """Every file below ``originals`` is a photo as the site has it, or a note of one; returns how many are noted."""
    photos = {sha1(Path(entry.file).read_bytes()) for entry in entries.values()}
    notes = 0
    for name in world.staged("originals"):
        data = (world.staging / "originals" / name).read_bytes()
        if name.endswith(".json"):
            photo = (world.staging / "originals" / name).with_suffix("").read_bytes()
            assert json.loads(data)["sha1"] == sha1(photo), name
            notes += 1
        else:
            assert sha1(data) in photos, name
    return notes


@pytest.mark.long
@MOUNTS
@pytest.mark.parametrize("full", ["floor", "space", "inodes"])
def test_a_staging_disk_that_fills_in_mid_batch_costs_no_image_and_no_attempt(world: World, full: str) -> None:
    entries = world.seed(IMAGES)
    photos = sum(Path(entry.file).stat().st_size for entry in entries.values())
    megabytes = (photos >> 20) + 1
    disk, floors, says = {
        "floor": (f"size={megabytes}m", {**NO_FLOOR, "min_free_mb": megabytes // 2}, "MB free, below its floor of"),
        "space": (f"size={megabytes // 2}m", NO_FLOOR, "No space left to write"),
        "inodes": (f"size={4 * megabytes}m,nr_inodes=80", NO_FLOOR, "No space left to write"),
    }[full]
    world.reconfigure(staging=floors, batch={"size": 500}, fetch={"in_flight": IN_FLIGHT, "per_host": 1})
    world.sandbox.website.set_delay(300)
    said: list[str] = []
    run = world.run()
    world.staging.mkdir(exist_ok=True)
    with small_disk(world.staging, disk):
        summary = world.pipeline(run, said.append)
        (failure,) = [line for line in said if line.startswith("process.download[0] failed: ")]
        assert says in failure
        assert str(world.staging) in failure
        assert "Remedy: free " in failure
        assert "Batch 0 is unfinished" in summary.lost[0]
        noted = assert_whole(world, entries)
        assert 0 < noted < IMAGES
        assert world.count().keys() <= {"reserved", "downloaded"}
        assert {row.attempts for row in world.images().values()} == {0}
        assert world.live() == {}

        grow(world.staging, f"size={8 * megabytes}m,nr_inodes=100000")
        world.sandbox.website.set_delay(0)
        assert world.pipeline(run, said.append).lost == []  # cleared
        assert world.live().keys() == entries.keys()
        assert (world.staged("originals"), world.staged("out")) == ([], [])
        assert len(assert_equal_nodes(world)) == 2 * IMAGES
        # What was under way when the disk was full, and what could not be noted any more, is asked for again.
        assert max(world.requests().values()) <= 2
        assert sum(world.requests().values()) <= IMAGES + 2 * IN_FLIGHT
