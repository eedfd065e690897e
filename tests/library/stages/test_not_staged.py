"""A node that is behind for too long, or at the cost of the staging disk: what is not staged any more a peer brings."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesys_lib.db.engine import write
from imagesys_lib.db.schema import lis_change_acks, lis_changes, lis_images, lis_node_repairs
from imagesys_lib.images.hash_and_path import lis_hash_for_url, lis_path_for_hash
from imagesys_lib.nodes import NodeFault
from imagesys_lib.ops.explain import explain
from imagesys_lib.replication import change_log, node_records
from imagesys_lib.stages.check import check
from imagesys_lib.stages.heal import heal
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.repair.repair import Repaired, repair
from imagesys_lib.stages.report import render, report
from imagesys_lib.stages.sync import Synced, sync
from include.sandbox import ManifestEntry
from tests.support.trees import assert_equal_nodes
from tests.support.world import NODES, World, wait_for

Entries = dict[str, ManifestEntry]


def made_up(world: World, count: int, *, images: int = 1, host: str = "made.up") -> list[str]:
    """So many changes with made-up thumbnails that wait in staging; returns their paths."""
    paths: list[str] = []
    rows = []

    def one(number: int) -> dict[str, object]:
        url = f"http://{host}/{number}.jpg"
        h, data = lis_hash_for_url(url), f"thumbnail {number}".encode()
        thumb = {"n": 1, "path": f"uk/{lis_path_for_hash(h)}.1.jpg", "width": 1, "height": 1, "bytes": len(data)}
        file = world.staging / "out" / str(thumb["path"])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        paths.append(str(thumb["path"]))
        thumb["sha1"] = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        return {"image_url": url, "image_hash": h, "thumbs": [thumb]}

    def work(connection: sa.Connection) -> None:
        now = sa.func.utc_timestamp(6)
        for number in range(count):
            change = change_log.record(connection)
            for position in range(images):
                rows.append({"change_id": change, **one(number * images + position)})
        connection.execute(
            sa.insert(lis_images).values(
                datasource_id=1,
                etl_version=now,
                state="thumbnailed",
                desired="present",
                next_attempt_at=now,
                created_at=now,
                updated_at=now,
            ),
            rows,
        )

    write(world.ctx.db, work)
    return paths


def away(world: World, *nodes: str, groups: int = 3) -> None:
    """So many changes of four photos each, synced and published while some nodes cannot be reached."""
    made_up(world, groups, images=4)
    for name in nodes:
        world.sandbox.nodes.stop_node(name)
    for name in NODES:
        with contextlib.suppress(NodeFault):
            sync(world.ctx, name)
    publish(world.ctx)


def back(world: World, *nodes: str) -> None:
    for name in nodes:
        world.sandbox.nodes.start_node(name)


def age(world: World, days: float) -> None:
    world.sql("UPDATE lis_changes SET created_at = TIMESTAMPADD(HOUR, :h, created_at)", h=-round(days * 24))


def reasons(world: World) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in world.rows(sa.select(lis_node_repairs)):
        found.setdefault(row.node, set()).add(row.reason)
    return found


def is_ready(world: World, node: str) -> bool:
    return (world.root(node) / ".imagesys" / "ready").exists()


def open_changes(world: World) -> int:
    return int(world.scalar(sa.select(sa.func.count()).where(lis_changes.c.settled_at.is_(None))))


# By age


def test_a_node_that_was_away_too_long_is_repaired_from_a_peer_when_it_is_back(world: World) -> None:
    away(world, "n2")
    age(world, 6)
    assert heal(world.ctx).unstaged == 0
    assert len(world.staged("out")) == 12
    age(world, 2)
    assert heal(world.ctx, dry_run=True).unstaged == 12
    assert len(world.staged("out")) == 12
    assert heal(world.ctx).unstaged == 12
    assert heal(world.ctx).unstaged == 0
    assert world.staged("out") == []
    assert reasons(world) == {}
    assert change_log.backlog(world.ctx.db, "n2") == 12

    back(world, "n2")
    (world.root("n2") / ".imagesys").mkdir()
    (world.root("n2") / ".imagesys" / "ready").touch()  # as it was before it went away
    assert sync(world.ctx, "n2") == Synced(changes=3, set_aside=12)
    assert not is_ready(world, "n2")
    assert open_changes(world) == 0
    assert reasons(world) == {"n2": {"not_staged"}}
    url, row = next(iter(world.images().items()))
    assert "its files were not staged any more" in dict(explain(world.ctx, [row.image_hash])[0].facts)["n2"]
    run = world.run()
    lost = report(world.ctx, run).lost
    assert any("Node n2 lacks 12 images that were not staged any more" in loss for loss in lost)
    assert "12 marked for repair (12 not staged)" in render(report(world.ctx, run))
    check(world.ctx, "n2")
    assert reasons(world) == {"n2": {"not_staged"}}  # a check that sees them missing does not make it forget
    assert repair(world.ctx, "n2", limit=5).restored == 5
    assert not is_ready(world, "n2")
    assert repair(world.ctx, "n2") == Repaired(restored=7)
    assert is_ready(world, "n2")
    assert_equal_nodes(world)
    assert url in world.live()


def test_what_was_not_staged_for_a_node_counts_not_towards_the_quorum(world: World) -> None:
    world.reconfigure(quorum=3)
    away(world, "n2")
    age(world, 8)
    assert heal(world.ctx).unstaged == 12
    assert publish(world.ctx) == 0
    back(world, "n2")
    sync(world.ctx, "n2")
    assert publish(world.ctx) == 0
    assert repair(world.ctx, "n2").restored == 12
    assert publish(world.ctx) == 12
    assert_equal_nodes(world)


def test_nothing_leaves_staging_that_no_node_holds(world: World) -> None:
    away(world, *NODES)
    age(world, 30)
    assert heal(world.reconfigure(staging={"min_free_mb": 10**9})).unstaged == 0
    world.reconfigure()
    assert len(world.staged("out")) == 12
    back(world, *NODES)
    sync(world.ctx, "n1")
    sync(world.ctx, "n3")
    h = next(iter(world.images().values())).image_hash
    for name in ("n1", "n3"):
        world.sql("INSERT INTO lis_node_repairs VALUES (:n, :h, 'transfer', UTC_TIMESTAMP(6))", n=name, h=h)
    assert heal(world.ctx).unstaged == 11  # one image is on neither
    assert len(world.staged("out")) == 1
    world.sql("DELETE FROM lis_node_repairs WHERE node = 'n1'")
    assert heal(world.ctx).unstaged == 1
    assert world.staged("out") == []


def test_a_deletion_waits_for_the_node_however_long(world: World, live: Entries) -> None:
    h = lis_hash_for_url(next(iter(live)))
    world.sql("DELETE FROM lis_listing_images WHERE image_hash = :h", h=h)
    assert world.purge_now([h]) == 1
    sync(world.ctx, "n1")
    sync(world.ctx, "n3")
    age(world, 8)
    assert heal(world.ctx).unstaged == 0
    assert sync(world.ctx, "n2").deleted == 2
    assert is_ready(world, "n2")
    assert_equal_nodes(world)


def test_what_comes_later_reaches_a_node_through_its_sync_and_takes_the_mark_away(world: World) -> None:
    away(world, "n2")
    age(world, 8)
    heal(world.ctx)
    back(world, "n2")
    sync(world.ctx, "n2")
    assert node_records.count_marks(world.ctx.db, "n2") == 12
    hashes = sorted(row.image_hash for row in world.images().values())
    world.sql("DELETE FROM lis_listing_images WHERE image_hash = :h", h=hashes[0])
    assert world.purge_now([hashes[0]]) == 1
    for name in NODES:
        sync(world.ctx, name)
    assert node_records.count_marks(world.ctx.db, "n2") == 11
    repair(world.ctx, "n2")
    assert_equal_nodes(world)


@pytest.mark.long  # three commands that are killed
def test_heal_sync_and_repair_that_are_killed_on_the_way_go_on_where_they_were(world: World) -> None:
    made_up(world, 400)
    sync(world.ctx, "n1")
    sync(world.ctx, "n3")
    publish(world.ctx)
    age(world, 8)

    def kill(when: Callable[[], bool], *command: str) -> None:
        child = world.spawn(*command)
        wait_for(when, f"{command} to be under way")
        child.kill()
        child.wait()

    def marks() -> int:
        return node_records.count_marks(world.ctx.db, "n2")

    kill(lambda: len(world.staged("out")) < 400, "heal", "uk")
    left = len(world.staged("out"))
    assert 0 < left < 400
    assert heal(world.ctx).unstaged == left
    world.reconfigure(transfer={"group_images": 10, "repair_kbps": 1})
    kill(lambda: marks() > 0, "sync", "uk", "--node", "n2")
    assert 0 < marks() < 400
    assert not is_ready(world, "n2")
    sync(world.ctx, "n2")
    assert marks() == 400
    assert not is_ready(world, "n2")
    kill(lambda: any(world.ctx.staging.repairs_left("n2")), "repair", "uk", "--node", "n2")
    world.reconfigure()
    repair(world.ctx, "n2")
    assert marks() == 0
    assert is_ready(world, "n2")
    assert_equal_nodes(world)


# By pressure


def test_under_disk_pressure_the_oldest_changes_go_until_it_is_over(world: World) -> None:
    away(world, "n2")
    big = world.staging / "out" / world.staged("out")[0]
    younger = made_up(world, 30, host="younger")
    for name in ("n1", "n3"):
        sync(world.ctx, name)
    with big.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 2 << 30)  # what its change holds on the disk
    free_mb = world.ctx.staging.free_bytes() >> 20
    assert heal(world.ctx).unstaged == 0
    ctx = world.reconfigure(staging={"min_free_mb": (free_mb + 1024) // 2})
    try:
        assert heal(ctx).unstaged in (4, 8, 12)  # the big file's change is among the three oldest
    finally:
        big.unlink(missing_ok=True)
    assert {*younger} <= {*world.staged("out")}
    world.reconfigure()
    back(world, "n2")
    done = sync(world.ctx, "n2")
    assert (done.set_aside + done.pushed, done.set_aside >= 4) == (42, True)
    repair(world.ctx, "n2")
    assert_equal_nodes(world, all_live=False)


def test_a_staging_disk_that_runs_out_of_inodes_is_under_pressure_too(world: World) -> None:
    away(world, "n2")
    free = world.ctx.staging.free_inodes()
    assert heal(world.reconfigure(staging={"min_free_inodes": free // 3})).unstaged == 0
    ctx = world.reconfigure(staging={"min_free_inodes": free * 2 // 3})  # and the pressure begins at twice as many
    assert heal(ctx).unstaged == 12
    assert world.staged("out") == []
    world.reconfigure()
    back(world, "n2")
    sync(world.ctx, "n2")
    repair(world.ctx, "n2")
    assert_equal_nodes(world)


@pytest.mark.long
def test_pressure_waits_for_a_node_that_is_only_late_today(world: World) -> None:
    away(world)
    made_up(world, 3, host="younger")
    sync(world.ctx, "n1")
    ctx = world.reconfigure(staging={"min_free_mb": 10**9})
    assert heal(ctx).unstaged == 0
    age(world, 1.1)
    assert heal(ctx).unstaged == 3  # as n1 holds them
    world.reconfigure()
    for name in ("n2", "n3"):
        sync(world.ctx, name)
        repair(world.ctx, name)
    assert_equal_nodes(world, all_live=False)


# A long change log


@pytest.mark.long
def test_five_hundred_changes_are_caught_up_in_their_order(world: World) -> None:
    paths = made_up(world, 500, images=3)
    ctx = world.reconfigure(transfer={"group_images": 400})
    sync(ctx, "n1")
    sync(ctx, "n3")
    oldest = [row.image_hash for row in world.rows(sa.select(lis_images).order_by(lis_images.c.change_id).limit(20))]
    assert world.purge_now(oldest) == 20

    started = time.monotonic()
    order = change_log.pending(ctx.db, "n2", 1000)
    assert len(order) == 501
    assert change_log.backlog(ctx.db, "n2") == 1500
    assert change_log.ready_to_settle(ctx.db, NODES) == []
    assert time.monotonic() - started < 1

    # 1,500 images are more than one group. After each, n2 has acknowledged the oldest, and holds what they speak of.
    path_of = {f"uk/{lis_path_for_hash(row.image_hash)}.1.jpg": row.change_id for row in world.images().values()}
    left: list[list[int]] = []
    files: list[set[str]] = []

    def look(*_: int) -> None:
        pending = change_log.pending(world.ctx.db, "n2", 1000)
        if pending != (left[-1] if left else order):  # not in the middle of a group
            left.append(pending)
            files.append(set(world.tree("n2")))

    assert sync(world.context(progress=look), "n2") == Synced(pushed=1480, deleted=20, changes=501)
    assert left[-1] == []
    assert any(0 < len(some) < 501 for some in left)
    for some, there in zip(left, files, strict=True):
        assert some == order[len(order) - len(some) :]
        assert there == {path for path, change in path_of.items() if change not in some} - gone(oldest)
    for name in ("n1", "n3"):
        assert sync(ctx, name).deleted == 20
    ack = lis_change_acks.c
    acked = world.rows(sa.select(ack.change_id, ack.acked_at).where(ack.node == "n2").order_by(ack.change_id))
    times = [row.acked_at for row in acked]
    assert times == sorted(times)
    assert len(set(times)) > 1
    assert assert_equal_nodes(world, all_live=False).keys() == set(paths) - gone(oldest)
    assert world.staged("out") == []
    assert open_changes(world) == 0


def gone(hashes: list[str]) -> set[str]:
    return {f"uk/{lis_path_for_hash(h)}.1.jpg" for h in hashes}


@pytest.mark.long
def test_five_hundred_changes_whose_files_went_come_back_through_one_repair(world: World) -> None:
    made_up(world, 500)
    sync(world.ctx, "n1")
    sync(world.ctx, "n3")
    age(world, 8)
    started = time.monotonic()
    assert heal(world.ctx).unstaged == 500
    assert time.monotonic() - started < 10
    assert world.staged("out") == []
    assert sync(world.ctx, "n2") == Synced(changes=500, set_aside=500)
    assert open_changes(world) == 0
    assert repair(world.ctx, "n2") == Repaired(restored=500)
    assert_equal_nodes(world, all_live=False)
    assert Path(world.root("n2") / ".imagesys" / "ready").exists()
