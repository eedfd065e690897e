"""Scrub: a flipped bit that size and time do not show is found by reading, round after round, and repaired."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_images, lis_node_checks, lis_node_repairs
from imagesys_lib.images.hash_and_path import lis_hash_for_url, thumbnail_path
from imagesys_lib.nodes import NodeFault, NodeSession
from imagesys_lib.replication.node_records import latest_check
from imagesys_lib.stages.check import check, scrub
from imagesys_lib.stages.check.scrub import scrubbed_to
from imagesys_lib.stages.repair.repair import Repaired, repair
from imagesys_lib.stages.report import render
from include.sandbox import ManifestEntry
from tests.support.trees import assert_equal_nodes
from tests.support.world import World

Entries = dict[str, ManifestEntry]


@pytest.fixture
def paths(live: Entries) -> list[str]:
    """The live files, below a node's root, in order."""
    return sorted(thumbnail_path("uk", lis_hash_for_url(url), n) for url in live for n in (1, 2))


def flip(file: Path) -> None:
    """Turn one bit over; size and time stay as they were."""
    before = file.stat()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def marks(world: World) -> dict[str, str]:
    rows = world.rows(sa.select(lis_node_repairs).where(lis_node_repairs.c.node == "n3"))
    return {thumbnail_path("uk", row.image_hash, 1): row.reason for row in rows}


def test_a_flipped_bit_is_found_and_repaired(world: World, paths: list[str]) -> None:
    good = world.equal_trees()
    flip(world.root("n3") / paths[20])
    assert check(world.ctx, "n3").clean  # nothing shows from outside
    assert scrub(world.ctx, "n1").clean
    found = scrub(world.ctx, "n3", "run-1")
    assert (found.files, found.findings) == (80, {"damaged": 1})
    assert found.samples == {"damaged": [paths[20][3:]]}
    row = latest_check(world.ctx.db, "n3", "run-1", scrub=True)
    assert (row.kind, row.part, row.findings) == ("scrub", "all", {"damaged": 1})
    assert latest_check(world.ctx.db, "n3", "run-1") is None  # a scrub says nothing of names and sizes
    assert marks(world) == {paths[20]: "damaged"}
    assert repair(world.ctx, "n3") == Repaired(restored=1)
    assert world.equal_trees() == good
    assert assert_equal_nodes(world).keys() == set(paths)
    assert scrub(world.ctx, "n3").clean


def test_each_scrub_goes_on_where_the_last_one_ended_until_the_round_is_full(world: World, paths: list[str]) -> None:
    for path in paths:
        flip(world.root("n3") / path)
    seen: set[str] = set()
    for number in range(4):
        found = scrub(world.ctx, "n3", files=24)
        assert found.files == (24 if number < 3 else 8)
        assert bool(scrubbed_to(world.ctx, "n3")) == (number < 3)
        assert seen <= set(marks(world))
        seen = set(marks(world))
        assert len(seen) == min(40, 12 * (number + 1))
    assert scrubbed_to(world.ctx, "n1") == ""  # each node has its own round
    names = [row.part for row in world.rows(sa.select(lis_node_checks).where(lis_node_checks.c.kind == "scrub"))]
    assert names[-4].startswith("0000-")
    assert names[-1].endswith("-ffff")
    scrub(world.ctx, "n3", files=24)
    assert 0 < int(scrubbed_to(world.ctx, "n3")[:2], 16) < 255  # and a new round has begun


def test_of_an_empty_node_no_more_is_asked_for_than_of_a_full_one(world: World, paths: list[str]) -> None:
    for path in paths:
        (world.root("n3") / path).unlink()
    found = scrub(world.ctx, "n3", files=20)
    assert (found.files, found.clean) == (0, True)
    assert scrubbed_to(world.ctx, "n3") == paths[19][3:].replace("/", "")[:40]


def test_a_file_that_is_not_there_is_no_damage_and_one_that_is_being_made_again_neither(
    world: World, live: Entries, paths: list[str]
) -> None:
    (world.root("n3") / paths[0]).unlink()
    url = next(url for url in live if thumbnail_path("uk", lis_hash_for_url(url), 1) == paths[10])
    flip(world.root("n3") / paths[10])
    world.sql("INSERT INTO lis_changes (change_id, created_at) VALUES (900, UTC_TIMESTAMP(6))")
    world.write_all(world.ctx.db, [sa.update(lis_images).where(lis_images.c.image_url == url).values(change_id=900)])
    found = scrub(world.ctx, "n3")
    assert (found.files, dict(found.findings)) == (79, {})


def test_sums_are_of_the_files_named_and_of_nothing_else(world: World, paths: list[str]) -> None:
    with NodeSession(world.ctx.node("n1")) as node:
        wanted = [paths[1][3:], paths[0][3:], f"0/0/0/{'0' * 37}.1.jpg"]
        good = world.tree("n1")
        assert node.sums("uk", wanted) == {path: good[f"uk/{path}"] for path in wanted[:2]}
        assert node.sums("de", wanted) == {}
        assert node.sums("uk", []) == {}


def test_no_scrub_is_asked_for_where_none_is_configured(world: World, live: Entries) -> None:
    world.sandbox.nodes.stop_node("n3")
    ctx = world.reconfigure(check={"scrub_files": 0})
    assert scrub(ctx, "n3").clean
    with pytest.raises(NodeFault, match="unreachable"):
        scrub(ctx, "n3", files=5)
    assert scrubbed_to(ctx, "n3") == ""


def test_a_daily_run_finds_repairs_and_tells_it(world: World, paths: list[str]) -> None:
    good = world.equal_trees()
    flip(world.root("n3") / paths[7])
    summary = world.pipeline()
    assert summary.nodes["n3"].findings == {"damaged": 1}
    assert "1 damaged found, 1 repaired" in render(summary)
    assert summary.lost == []
    assert world.equal_trees() == good
    assert assert_equal_nodes(world).keys() == set(paths)
