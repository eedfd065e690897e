"""Extra files: they say nothing of an image's own files, which stay where they are, and cost no transfer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from imagesys_lib.db.schema import lis_change_acks, lis_changes, lis_images, lis_live_images
from imagesys_lib.images.hash_and_path import lis_hash_for_url, thumbnail_path
from imagesys_lib.stages.check import check, scrub
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.repair.repair import Repaired, repair
from include.sandbox import ManifestEntry
from tests.library.stages.test_check import age, found_long_ago, stray
from tests.library.stages.test_repair import flip_a_bit, marked
from tests.support.trees import assert_equal_nodes
from tests.support.world import CONSOLE_SCRIPT, NODES, World


@pytest.fixture
def hashes(live: dict[str, ManifestEntry]) -> list[str]:
    """The live images, in order."""
    return sorted(map(lis_hash_for_url, live))


def sibling(world: World, node: str, image_hash: str) -> Path:
    """An old file of an image that nothing wants."""
    return stray(world, node, thumbnail_path("uk", image_hash, 9)[3:], 48)


def lose(world: World, node: str, image_hash: str) -> None:
    (world.root(node) / thumbnail_path("uk", image_hash, 1)).unlink()


def test_an_image_that_only_the_node_under_repair_has_stays_live(world: World, hashes: list[str]) -> None:
    extra = sibling(world, "n1", hashes[0])
    for name in ("n2", "n3"):
        lose(world, name, hashes[0])
    check(world.ctx, "n1")
    done = repair(world.ctx, "n1")
    assert (done.restored, done.requeued, done.waiting) == (0, 0, 0)
    assert len(world.live()) == 40
    extra.unlink(missing_ok=True)
    for name in ("n2", "n3"):
        check(world.ctx, name)
        assert repair(world.ctx, name).restored == 1
    assert_equal_nodes(world)


def test_images_with_extra_files_alone_are_neither_pulled_nor_pushed(world: World, hashes: list[str]) -> None:
    for image_hash in hashes[:3]:
        sibling(world, "n2", image_hash)
    check(world.ctx, "n2")
    lose(world, "n2", hashes[1])
    assert marked(world) == {("n2", "extra")}
    world.reconfigure(check={"extra_cap_images": 0, "extra_cap_percent": 5})  # of 40: two
    assert repair(world.ctx, "n2", dry_run=True).restored == 1
    assert [repair(world.ctx, "n2").restored for _ in range(2)] == [1, 0]
    assert repair(world.ctx, "n2", delete_extra=True) == Repaired(deleted=3)
    assert_equal_nodes(world)
    assert marked(world) == set()


def test_what_is_damaged_is_mended_though_it_has_extra_files_too(world: World, hashes: list[str]) -> None:
    sibling(world, "n2", hashes[0])
    check(world.ctx, "n2")
    flip_a_bit(world.root("n2") / thumbnail_path("uk", hashes[0], 1))
    scrub(world.ctx, "n2")
    assert marked(world) == {("n2", "damaged")}
    assert repair(world.ctx, "n2").restored == 1
    check(world.ctx, "n2")
    assert marked(world) == {("n2", "extra")}


def test_old_files_that_nothing_wants_only_since_today_are_spared(world: World, hashes: list[str]) -> None:
    good = world.equal_trees()
    for name in NODES:
        for path in good:
            age(world.root(name) / path, 48)
    world.write_all(world.ctx.db, [table.delete() for table in (lis_live_images, lis_images)])  # by mistake
    for name in NODES:
        assert check(world.ctx, name).findings == {"extra": 80}
        assert repair(world.ctx, name, dry_run=True) == repair(world.ctx, name) == Repaired()
    assert world.equal_trees() == good
    assert marked(world) == {(name, "extra") for name in NODES}
    found_long_ago(world)
    assert repair(world.ctx, "n1").deleted == 80
    assert repair(world.ctx, "n2", delete_extra=True).deleted == 80


def test_whoever_asks_for_it_has_files_deleted_that_were_found_today(world: World, hashes: list[str]) -> None:
    extra = sibling(world, "n1", hashes[0])
    check(world.ctx, "n1")
    assert repair(world.ctx, "n1", delete_extra=True) == Repaired(deleted=1)
    assert not extra.exists()


def test_a_worker_whose_clock_is_ahead_spares_new_files_all_the_same(
    world: World, hashes: list[str], shim: Path
) -> None:
    extra = stray(world, "n1", thumbnail_path("uk", hashes[0], 9)[3:], 1)
    clock = {"LD_PRELOAD": str(shim), "WRONG_CLOCK": str(2 * 86400)}
    command = [CONSOLE_SCRIPT, "fs-check", "uk", "--node", "n1", "--json"]
    ran = subprocess.run(
        command, env=world.child_environment() | clock, capture_output=True, text=True, timeout=120, check=False
    )
    assert '"extra": 1' in ran.stdout
    assert marked(world) == set()
    assert extra.exists()


def test_an_image_that_comes_back_is_published_though_it_has_extra_files_on_most_nodes(
    world: World, hashes: list[str]
) -> None:
    hidden = "UPDATE lis_images SET state = 'thumbnailed' WHERE image_hash = :h"
    for pruned in (False, True):  # its change is open, or settled and its acknowledgements are gone
        if pruned:
            world.write_all(world.ctx.db, [lis_change_acks.delete(), lis_changes.delete()])
        for name in ("n1", "n2"):
            sibling(world, name, hashes[0])
            check(world.ctx, name)
        world.sql("DELETE FROM lis_live_images WHERE image_hash = :h", h=hashes[0])
        world.sql(hidden, h=hashes[0])
        assert publish(world.ctx) == 1
    assert len(world.live()) == 40
