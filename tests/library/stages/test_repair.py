"""Repair: a node that is empty, peers that are damaged, files that are too many, workers that die in the middle."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_node_repairs
from imagesys_lib.errors import DiskFull
from imagesys_lib.images.hash_and_path import lis_hash_for_url, thumbnail_path
from imagesys_lib.nodes import NodeFault, NodeSession
from imagesys_lib.stages.check import check
from imagesys_lib.stages.heal import heal
from imagesys_lib.stages.repair import repair as repair_module
from imagesys_lib.stages.repair.repair import Repaired, repair
from imagesys_lib.stages.sync import node_lock, sync
from include.sandbox import ManifestEntry
from tests.support.trees import assert_equal_nodes
from tests.support.world import NODES, World, remove_below, wait_for

Entries = dict[str, ManifestEntry]
SMALL_GROUPS = "from imagesys_lib.stages.repair import repair; repair._GROUP = 6\n"


@pytest.fixture
def paths(live: Entries) -> list[str]:
    """The live files, below a node's root, in order."""
    return sorted(thumbnail_path("uk", lis_hash_for_url(url), n) for url in live for n in (1, 2))


@pytest.fixture
def pulls(world: World) -> list[tuple[str, int]]:
    """Who was asked for how many files, as it happens; groups are small, so that there are several."""
    seen: list[tuple[str, int]] = []
    pull = NodeSession.pull

    def noted(self: NodeSession, files: list[str], target: Path, **options: Any) -> None:
        seen.append((self.node.name, len(files)))
        pull(self, files, target, **options)

    world.patch.setattr(NodeSession, "pull", noted)
    world.patch.setattr(repair_module, "_GROUP", 10)
    return seen


def mark(world: World, node: str, *paths: str, reason: str = "missing") -> None:
    for path in paths:
        h = path[3:].replace("/", "")[:40]
        world.sql("REPLACE INTO lis_node_repairs VALUES (:n, :h, :r, UTC_TIMESTAMP(6))", n=node, h=h, r=reason)


def marked(world: World) -> set[tuple[str, str]]:
    return {(row.node, row.reason) for row in world.rows(sa.select(lis_node_repairs))}


def flip_a_bit(file: Path) -> None:
    """Change content alone: size and time stay, so that nothing but a checksum can tell."""
    before = file.stat()
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(bytes(data))
    os.utime(file, (before.st_atime, before.st_mtime))


def leftovers(world: World) -> list[str]:
    found = [folder for node in NODES for folder in world.ctx.staging.repairs_left(node)]
    return sorted(folder.name for folder in {*found, *world.staging.glob("*repair-*")})


def is_ready(world: World, node: str) -> bool:
    return (world.root(node) / ".imagesys" / "ready").exists()


# An empty node


def test_an_empty_node_is_refilled_from_its_peers_by_turns_and_nothing_is_deleted(
    world: World, live: Entries, pulls: list[tuple[str, int]]
) -> None:
    remove_below(world.root("n2"))
    found = check(world.ctx, "n2")
    assert (found.files, found.findings) == (0, {"acked_absent": 80})
    sync(world.ctx, "n2")
    assert not is_ready(world, "n2")
    seen: list[tuple[int, int]] = []
    ctx = world.context(progress=lambda done, total: seen.append((done, total)))
    assert repair(ctx, "n2") == Repaired(restored=40)
    assert pulls == [("n1", 20), ("n3", 20), ("n1", 20), ("n3", 20)]
    assert seen == [(10, 40), (20, 40), (30, 40), (40, 40)]
    assert_equal_nodes(world)
    assert world.live().keys() == live.keys()
    assert marked(world) == set()
    assert is_ready(world, "n2")
    assert leftovers(world) == []


def test_a_mostly_empty_node_and_one_whose_peer_is_empty_too_are_refilled(world: World, paths: list[str]) -> None:
    for path in paths[6:]:
        (world.root("n2") / path).unlink()
    remove_below(world.root("n1"))
    check(world.ctx, "n1")
    check(world.ctx, "n2")
    assert repair(world.ctx, "n2").restored == 37
    assert repair(world.ctx, "n1").restored == 40
    assert_equal_nodes(world)


def test_a_limit_is_kept_and_the_rest_waits(world: World, live: Entries, pulls: list[tuple[str, int]]) -> None:
    remove_below(world.root("n2"))
    check(world.ctx, "n2")
    assert repair(world.ctx, "n2", limit=7).restored == 7
    assert pulls == [("n1", 14)]
    assert not is_ready(world, "n2")
    assert repair(world.ctx, "n2").restored == 33
    assert_equal_nodes(world)


# Peers


def test_what_is_wrong_on_the_first_peer_comes_from_the_second_and_is_never_pushed(
    world: World, paths: list[str], pulls: list[tuple[str, int]]
) -> None:
    for path in paths[:3]:
        (world.root("n2") / path).unlink()
        flip_a_bit(world.root("n1") / path)
    (world.root("n1") / paths[4]).unlink()
    mark(world, "n2", *paths[:5])
    assert repair(world.ctx, "n2").waiting == 0
    assert [name for name, _ in pulls] == ["n1", "n3"]
    mark(world, "n1", *paths[:3], reason="damaged")
    mark(world, "n1", paths[4])
    assert repair(world.ctx, "n1").restored == len({path[:-6] for path in (*paths[:3], paths[4])})
    assert_equal_nodes(world)
    assert marked(world) == set()


def test_a_peer_that_goes_away_is_asked_once_and_the_other_brings_all(
    world: World, live: Entries, pulls: list[tuple[str, int]]
) -> None:
    remove_below(world.root("n2"))
    check(world.ctx, "n2")
    world.sandbox.nodes.stop_node("n1")
    assert repair(world.ctx, "n2") == Repaired(restored=40)
    assert {name for name, _ in pulls} == {"n3"}
    world.sandbox.nodes.start_node("n1")
    assert_equal_nodes(world)


def test_an_image_is_not_given_up_because_a_peer_without_its_disk_has_no_files(world: World, paths: list[str]) -> None:
    for name in ("n2", "n3"):
        (world.root(name) / paths[0]).unlink()
        mark(world, name, paths[0])
    root = world.root("n1")
    hidden = root.rename(root.with_name("hidden"))
    try:
        assert repair(world.ctx, "n2") == Repaired(waiting=1)
    finally:
        hidden.rename(root)
    assert len(world.live()) == 40
    assert [repair(world.ctx, name).restored for name in ("n2", "n3")] == [1, 1]
    assert_equal_nodes(world)


def test_a_repair_does_not_fill_the_staging_disk(world: World, paths: list[str]) -> None:
    (world.root("n2") / paths[0]).unlink()
    mark(world, "n2", paths[0])
    ctx = world.reconfigure(staging={"min_free_mb": 10**9})
    with pytest.raises(DiskFull, match="below its floor"):
        repair(ctx, "n2")
    assert marked(world) == {("n2", "missing")}
    world.reconfigure()
    assert repair(world.ctx, "n2").restored == 1


# Images that no node has


def test_what_no_node_has_is_made_again_but_never_very_many_at_once(world: World, paths: list[str]) -> None:
    for name in NODES:
        for path in paths[:4]:
            (world.root(name) / path).unlink()
        check(world.ctx, name)
    images = len({path[:-6] for path in paths[:4]})
    world.reconfigure(check={"extra_cap_images": 0})
    refused = repair(world.ctx, "n1")
    assert (refused.requeued, refused.waiting) == (0, images)
    assert "imagesys repair uk --node n1 --make-again" in refused.refused
    assert len(world.live()) == 40
    assert repair(world.ctx, "n1", make_again=True).requeued == images
    assert len(world.live()) == 40 - images
    world.reconfigure()
    for name in ("n2", "n3"):
        repair(world.ctx, name)
    assert world.pipeline().lost == []
    assert_equal_nodes(world)
    assert len(world.live()) == 40


# Extra files


def test_many_extra_files_are_not_deleted_before_somebody_has_said_so(world: World, paths: list[str]) -> None:
    extra = []
    for number in range(3):
        extra.append(world.root("n2") / "uk" / "f/f/f" / f"{number:037x}.1.jpg")
        extra[-1].parent.mkdir(parents=True, exist_ok=True)
        extra[-1].write_bytes(b"stray")
        os.utime(extra[-1], (time.time() - 48 * 3600,) * 2)
    (world.root("n2") / paths[0]).unlink()
    world.configure(check={"extra_cap_images": 0, "extra_cap_percent": 5})  # of 40: two
    assert world.cli("fs-check", "uk", "--node", "n2", "--json").json["uk n2"]["findings"] == {
        "extra": 3,
        "acked_absent": 1,
    }
    command = ["repair", "uk", "--node", "n2", "--json"]
    ran = world.cli(*command)
    assert ran.code == 1
    reported = ran.json["uk n2"]
    assert (reported["restored"], reported["deleted"], reported["ok"]) == (1, 0, False)
    assert "3 images have extra files" in reported["refused"]
    assert "imagesys repair uk --node n2 --delete-extra" in reported["refused"]
    assert all(file.exists() for file in extra)
    assert world.cli(*command, "--delete-extra", "--dry-run").json["uk n2"]["deleted"] == 3
    assert all(file.exists() for file in extra)
    ran = world.cli(*command, "--delete-extra")
    assert (ran.code, ran.json["uk n2"]["deleted"]) == (0, 3)
    assert_equal_nodes(world)


def test_by_hand_every_node_is_repaired_and_one_that_is_away_named(world: World, paths: list[str]) -> None:
    for name in ("n1", "n2"):
        (world.root(name) / paths[0]).unlink()
        mark(world, name, paths[0])
    world.sandbox.nodes.stop_node("n2")
    ran = world.cli("repair", "uk")
    assert ran.code == 1
    assert "start sshd on n2" in ran.out
    assert "'restored': 1" in ran.out
    world.sandbox.nodes.start_node("n2")
    assert world.cli("repair", "uk").code == 0
    assert_equal_nodes(world)


# Dry run


def test_a_dry_run_of_a_repair_says_what_the_repair_then_does_and_changes_nothing(
    world: World, paths: list[str]
) -> None:
    images = sorted({path[:-6] for path in paths})
    for path in (f"{image}.1.jpg" for image in images[:5]):
        (world.root("n2") / path).unlink()
    for name in NODES:
        (world.root(name) / f"{images[0]}.1.jpg").unlink(missing_ok=True)  # on no node
    in_staging = world.staging / "out" / f"{images[1]}.1.jpg"
    in_staging.parent.mkdir(parents=True)
    for number in (1, 2):
        path = f"{images[1]}.{number}.jpg"
        (world.staging / "out" / path).write_bytes((world.root("n1") / path).read_bytes())
        for name in ("n1", "n3"):
            (world.root(name) / path).unlink()
    with (world.root("n1") / f"{images[2]}.1.jpg").open("ab") as file:
        file.write(b"x")  # n3 has it whole
    extra = world.root("n2") / "uk" / "f/f/f" / f"{1:037x}.1.jpg"
    extra.parent.mkdir(parents=True, exist_ok=True)
    extra.write_bytes(b"stray")
    os.utime(extra, (time.time() - 48 * 3600,) * 2)
    check(world.reconfigure(check={"extra_grace_hours": 0}), "n2")

    before, trees = world.dump(), world.trees()
    said = repair(world.ctx, "n2", dry_run=True)
    assert said == Repaired(restored=4, deleted=1, requeued=1)
    ctx = world.reconfigure(check={"extra_cap_images": 0, "extra_cap_percent": 0, "extra_grace_hours": 0})
    capped = repair(ctx, "n2", dry_run=True)
    assert (capped.restored, capped.deleted, capped.requeued, capped.waiting) == (4, 0, 0, 1)
    assert "--make-again" in capped.refused or "--delete-extra" in capped.refused
    world.sandbox.nodes.stop_node("n3")
    world.reconfigure(check={"extra_grace_hours": 0})
    assert repair(world.ctx, "n2", dry_run=True) == Repaired(restored=3, deleted=1, waiting=2)
    world.sandbox.nodes.start_node("n3")
    assert (world.dump(), world.trees(), leftovers(world)) == (before, trees, [])
    assert repair(world.ctx, "n2") == said


# Killed


def refill(world: World) -> subprocess.Popen[str]:
    """Start a refill of n2, in many small groups and slowly, as a process of its own."""
    code = SMALL_GROUPS + "from imagesys_lib import cli; cli.main()"
    return world.spawn("repair", "uk", "--node", "n2", program=(sys.executable, "-c", code))


def test_a_refill_killed_in_the_middle_goes_on_where_it_was(world: World, live: Entries) -> None:
    remove_below(world.root("n2"))
    check(world.ctx, "n2")
    world.configure(transfer={"bandwidth_kbps": 60})
    child = refill(world)
    wait_for(lambda: len(marked_on(world, "n2")) < 30 and len(world.tree("n2")) > 20, "a refill under way")
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    left = len(marked_on(world, "n2"))
    assert 0 < left < 30
    assert leftovers(world)
    world.reconfigure()
    assert repair(world.ctx, "n2").restored == left
    assert_equal_nodes(world)
    assert leftovers(world) == []
    assert is_ready(world, "n2")


def test_a_refill_that_is_stopped_ends_soon_and_leaves_nothing(world: World, live: Entries) -> None:
    remove_below(world.root("n2"))
    check(world.ctx, "n2")
    world.configure(transfer={"repair_kbps": 20})
    child = refill(world)
    wait_for(lambda: leftovers(world), "a refill under way")
    started = time.monotonic()
    child.terminate()
    _, err = child.communicate(timeout=20)
    assert time.monotonic() - started < 5
    assert err == "Stopped; what was held has been given back.\n"
    assert leftovers(world) == []
    world.reconfigure()
    repair(world.ctx, "n2")
    assert_equal_nodes(world)


def marked_on(world: World, node: str) -> list[str]:
    query = sa.select(lis_node_repairs.c.image_hash).where(lis_node_repairs.c.node == node)
    return [row.image_hash for row in world.rows(query)]


@pytest.mark.long
def test_a_refill_killed_at_many_points_converges(world: World, live: Entries) -> None:
    rng = random.Random(4)
    for _ in range(20):
        remove_below(world.root("n2"))
        check(world.ctx, "n2")
        world.configure(transfer={"bandwidth_kbps": 100})
        child = refill(world)
        time.sleep(rng.uniform(0.5, 4))
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        world.reconfigure()
        heal(world.ctx)
        repair(world.ctx, "n2")
        assert_equal_nodes(world)
        assert (marked(world), leftovers(world)) == (set(), [])


def test_files_on_their_way_lie_in_memory_that_is_ours_alone_or_if_many_in_staging(world: World) -> None:
    staging = world.ctx.staging
    in_memory, on_disk = staging.repair_folder("n2", 1 << 20), staging.repair_folder("n2", 33 << 20)
    assert on_disk.parent == world.staging
    assert in_memory.parent == Path("/dev/shm")
    assert in_memory.stat().st_mode & 0o777 == 0o700
    assert sorted(staging.repairs_left("n2")) == sorted([in_memory, on_disk])
    staging.sweep_repairs("n1")
    assert in_memory.exists()
    staging.sweep_repairs("n2")
    assert staging.repairs_left("n2") == []


def test_what_a_killed_repair_has_left_is_swept_but_not_under_the_hands_of_a_living_one(
    world: World, live: Entries
) -> None:
    two, one = (world.ctx.staging.repair_folder(name, 1 << 30) for name in ("n2", "n1"))
    (two / "n1" / "uk").mkdir(parents=True)
    other = two.with_name(two.name.replace("-uk-", "-de-"))
    other.mkdir()
    ctx = world.reconfigure(transfer={"lock_timeout": 0.5})
    with node_lock(ctx, "n1"), pytest.raises(NodeFault, match="busy"):
        repair(ctx, "n1")
    repair(ctx, "n2")
    assert leftovers(world) == sorted([one.name, other.name])
    repair(ctx, "n1")
    assert leftovers(world) == [other.name]
