"""What a sync does first, what it says beforehand, and what a file that cannot be deleted holds up: nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_node_repairs
from imagesys_lib.images.hash_and_path import lis_hash_for_url, thumbnail_path
from imagesys_lib.nodes import NodeFault
from imagesys_lib.replication import change_log
from imagesys_lib.stages.check import check
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.repair.repair import Repaired, repair
from imagesys_lib.stages.sync import Synced, sync
from imagesys_lib.stages.thumbnail import thumbnail
from include.sandbox import ManifestEntry
from tests.library.replication.test_sync import made
from tests.library.stages.test_check import found_long_ago
from tests.support.trees import assert_equal_nodes
from tests.support.world import NODES, World

Entries = dict[str, ManifestEntry]


def purged(world: World, live: Entries, images: int) -> list[str]:
    """Purge so many images; returns the paths of their files, which all nodes still have."""
    hashes = sorted(lis_hash_for_url(url) for url in live)[:images]
    for h in hashes:
        world.sql("DELETE FROM lis_listing_images WHERE image_hash = :h", h=h)
    assert world.purge_now(hashes) == images
    return [thumbnail_path("uk", h, n) for h in hashes for n in (1, 2)]


def in_the_way(file: Path) -> None:
    """Put what no `rm -f` removes into the place of a file: who may do anything may still not do this."""
    file.unlink(missing_ok=True)
    (file / "kept").mkdir(parents=True)


@contextlib.contextmanager
def undeletable(file: Path) -> Iterator[None]:
    """Let nobody delete a file: neither the owner of its folder nor root."""
    if os.getuid() != 0:
        file.parent.chmod(0o555)
    elif subprocess.run(["chattr", "+i", file], capture_output=True, check=False).returncode != 0:
        pytest.skip("this file system has no files that root cannot delete")
    try:
        yield
    finally:
        if os.getuid() != 0:
            file.parent.chmod(0o755)
        else:
            subprocess.run(["chattr", "-i", file], check=True)


def age(file: Path) -> None:
    os.utime(file, (time.time() - 48 * 3600,) * 2)


def reasons(world: World) -> dict[tuple[str, str], str]:
    return {(row.node, row.image_hash): row.reason for row in world.rows(sa.select(lis_node_repairs))}


# Files that cannot be deleted


def test_one_file_that_cannot_be_deleted_is_set_aside_and_the_rest_goes(world: World, live: Entries) -> None:
    gone = purged(world, live, 8)
    in_the_way(world.root("n1") / gone[5])
    done = sync(world.ctx, "n1")
    assert (done.deleted, done.set_aside) == (14, 1)
    assert change_log.pending(world.ctx.db, "n1") == []
    h = gone[5][3:].replace("/", "")[:40]
    assert reasons(world) == {("n1", h): "transfer"}
    assert not any((world.root("n1") / path).is_file() for path in gone)
    for name in ("n2", "n3"):
        sync(world.ctx, name)

    stuck = world.root("n1") / gone[5]
    (stuck / "kept").rmdir()
    stuck.rmdir()
    stuck.write_bytes(b"still here")
    age(stuck)
    assert repair(world.ctx, "n1") == Repaired(deleted=1)
    assert reasons(world) == {}
    assert_equal_nodes(world)


def test_a_repair_that_cannot_delete_a_file_says_so_and_keeps_its_mark(world: World, live: Entries) -> None:
    extra = [world.root("n1") / "uk" / f"f/f/{number}" / f"{number:037x}.1.jpg" for number in range(3)]
    for file in extra:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"stray")
        age(file)
    check(world.ctx, "n1")
    found_long_ago(world)
    with undeletable(extra[1]):
        assert repair(world.ctx, "n1") == Repaired(deleted=2, waiting=1)
    assert set(reasons(world).values()) == {"transfer"}
    assert repair(world.ctx, "n1") == Repaired(deleted=1)
    assert_equal_nodes(world)


# A full node


def test_a_full_node_can_be_purged(world: World, live: Entries) -> None:
    gone = purged(world, live, 5)
    ctx = world.reconfigure(transfer={"node_min_free_mb": 2**40})
    for name in NODES:
        assert sync(ctx, name).deleted == len(gone)
        assert change_log.pending(ctx.db, name) == []
    assert len(assert_equal_nodes(world)) == 70


def test_a_full_node_is_freed_before_it_refuses_what_is_new(world: World, live: Entries) -> None:
    made_first = len(world.tree("n1"))
    new = made_more(world)
    gone = purged(world, live, 5)
    ctx = world.reconfigure(transfer={"node_min_free_mb": 2**40})
    for name in NODES:
        with pytest.raises(NodeFault, match="disk_full"):
            sync(ctx, name)
        assert len(world.tree(name)) == made_first - len(gone)
        assert not (world.root(name) / ".imagesys" / "ready").exists()
    world.reconfigure()
    world.sync_all()
    publish(world.ctx)
    assert len(assert_equal_nodes(world)) == made_first - len(gone) + 2 * new


def test_a_repair_frees_a_full_node_before_it_refuses_what_is_missing(world: World, live: Entries) -> None:
    paths = sorted(world.tree("n1"))
    extra = world.root("n1") / "uk" / "f/f/f" / f"{0:037x}.1.jpg"
    extra.parent.mkdir(parents=True, exist_ok=True)
    extra.write_bytes(b"stray")
    age(extra)
    (world.root("n1") / paths[0]).unlink()
    check(world.ctx, "n1")
    found_long_ago(world)
    ctx = world.reconfigure(transfer={"node_min_free_mb": 2**40})
    with pytest.raises(NodeFault, match="disk_full"):
        repair(ctx, "n1")
    assert not extra.exists()
    assert not (world.root("n1") / paths[0]).exists()
    world.reconfigure()
    assert repair(world.ctx, "n1").restored == 1
    assert_equal_nodes(world)


# What is said


def test_how_far_a_sync_is_shows_by_images(world: World) -> None:
    made(world, 20)
    seen: list[tuple[int, int]] = []
    world.reconfigure(transfer={"group_images": 8})
    sync(world.context(progress=lambda done, total: seen.append((done, total))), "n1")
    assert seen[-1] == (20, 20)
    assert {total for _, total in seen} == {20}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) >= 3


def test_a_dry_run_of_a_sync_says_what_the_sync_then_does_and_changes_nothing(world: World, live: Entries) -> None:
    new = made_more(world)
    gone = purged(world, live, 3)
    (world.staging / "out" / world.staged("out")[0]).unlink()
    world.sandbox.nodes.stop_node("n1")  # nothing is asked of it
    before, tree = world.dump(), world.tree("n1")
    said = sync(world.ctx, "n1", dry_run=True)
    assert said == Synced(pushed=2 * (new - 1), deleted=len(gone), changes=said.changes, set_aside=1)
    ran = world.cli("sync", "uk", "--dry-run", "--json")
    assert ran.code == 0
    assert ran.json["n1"] == {"pushed": 2 * (new - 1), "deleted": 6, "changes": said.changes, "set_aside": 1}
    assert ran.json.keys() == set(NODES)
    assert (world.dump(), world.tree("n1")) == (before, tree)
    world.sandbox.nodes.start_node("n1")
    assert sync(world.ctx, "n1") == said
    assert sync(world.ctx, "n1", dry_run=True) == Synced()


def made_more(world: World) -> int:
    """Make thumbnails of what the ETL has more than is live; returns of how many images."""
    world.seed(5, seed=2)
    run = world.run()
    ingest(world.ctx, run)
    batches = plan(world.ctx, run)
    for batch in batches:
        download(world.ctx, batch.batch_id)
        thumbnail(world.ctx, batch.batch_id)
    return world.count()["thumbnailed"]
