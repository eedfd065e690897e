"""Faults of nodes: full disks, killed transfers, workers killed at any moment. Afterwards all nodes are the same."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_change_acks, lis_nodes
from imagesys_lib.nodes import NodeFault
from imagesys_lib.runs import runs
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.sync import sync
from include.sandbox import ManifestEntry
from tests.library.replication.test_sync import made
from tests.library.stages.test_purge import GENEROUS, paths_of
from tests.library.stages.test_purge_grace import let_pass
from tests.support.trees import assert_equal_nodes
from tests.support.world import DAY, NODES, World, wait_for

Entries = dict[str, ManifestEntry]

MOUNTS = pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
IMAGES = 60


@contextlib.contextmanager
def small_disk(root: Path, options: str) -> Iterator[None]:
    """Put a small file system of its own under a node's root."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "imagesys-test", root], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", root], check=True)


def grow(root: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", root], check=True)


@pytest.mark.long
@MOUNTS
@pytest.mark.parametrize(
    ("small", "large", "reason"),
    [
        ("size=160k,nr_inodes=0", "size=64m", "disk_full"),
        ("size=64m,nr_inodes=120", "nr_inodes=20000", "inodes_full"),
    ],
)
def test_a_full_disk_of_one_node_holds_up_no_other(world: World, small: str, large: str, reason: str) -> None:
    world.reconfigure(transfer={"node_min_free_mb": 0, "node_min_free_inodes": 0})
    entries = world.seed(IMAGES)
    root = world.root("n2")
    with small_disk(root, small):
        summary = world.pipeline()
        assert world.live().keys() == entries.keys()  # by quorum
        assert world.tree("n1") == world.tree("n3")
        (loss,) = summary.lost
        assert "n2" in loss
        assert reason in loss
        assert {row.node: row.fault for row in world.rows(sa.select(lis_nodes))} == {
            "n1": None,
            "n2": reason,
            "n3": None,
        }
        assert not (root / ".imagesys" / "ready").exists()
        for path, digest in world.tree("n2").items():
            assert world.tree("n1")[path] == digest  # what did arrive is whole

        grow(root, large)
        sync(world.ctx, "n2")
        assert len(assert_equal_nodes(world)) == 2 * IMAGES
        assert (root / ".imagesys" / "ready").exists()


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("node_min_free_mb", "disk_full"),
        pytest.param("node_min_free_inodes", "inodes_full", marks=pytest.mark.long),
    ],
)
def test_a_node_below_its_floor_is_given_nothing(world: World, setting: str, reason: str) -> None:
    world.seed(5)
    world.pipeline()
    world.reconfigure(transfer={setting: 2**40})
    world.seed(5, seed=2)
    before = world.tree("n1")
    summary = world.pipeline()
    assert world.tree("n1") == before
    assert all(reason in loss for loss in summary.lost)
    assert len(summary.lost) == 3
    world.reconfigure()
    world.sync_all()
    publish(world.ctx)
    assert len(assert_equal_nodes(world)) == 20


@pytest.mark.long
@MOUNTS
@pytest.mark.parametrize(
    ("disk", "floor", "more", "reason"),
    [
        ("size=2300k", {"node_min_free_mb": 2, "node_min_free_inodes": 0}, "size=64m", "disk_full"),
        ("nr_inodes=1k", {"node_min_free_mb": 0, "node_min_free_inodes": 800}, "nr_inodes=20k", "inodes_full"),
    ],
)
def test_a_long_backlog_stops_at_the_floor(
    world: World, disk: str, floor: dict[str, int], more: str, reason: str
) -> None:
    made(world, IMAGES)
    world.reconfigure(transfer={**floor, "group_images": 5})
    root = world.root("n2")
    with small_disk(root, disk):
        with pytest.raises(NodeFault) as caught:
            sync(world.ctx, "n2")
        assert caught.value.reason == reason
        disk_now = os.statvfs(root)
        free = disk_now.f_bavail * disk_now.f_frsize >> 20 if reason == "disk_full" else disk_now.f_favail
        assert 0 < len(world.tree("n2")) < 2 * IMAGES
        assert free >= max(floor.values()) * 0.5  # a group beyond the floor, and no more
        grow(root, more)
        world.sync_all()
        publish(world.ctx)
        assert len(assert_equal_nodes(world)) == 2 * IMAGES


def receivers(world: World, node: str) -> list[psutil.Process]:
    """Return the processes of rsync that run on a node."""
    found = []
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error, OSError):
            own = process.info["name"] == "rsync" and "--server" in process.cmdline()
            if own and process.environ().get("IMAGESYS_SANDBOX_NODE") == str(world.root(node)):
                found.append(process)
    return found


@pytest.mark.parametrize("kills", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_receiver_that_is_killed_leaves_whole_files_and_is_tried_once_more(world: World, kills: int) -> None:
    paths = made(world, 30)
    world.reconfigure(transfer={"bandwidth_kbps": 60})
    child = world.spawn("sync", "uk", "--node", "n1")
    whole = {path: (world.staging / "out" / path).read_bytes() for path in paths}
    for _ in range(kills):
        wait_for(lambda: len(world.tree("n1")) > 5 and receivers(world, "n1"), "a transfer under way")
        for process in receivers(world, "n1"):
            process.kill()
        for path in world.tree("n1"):
            assert (world.root("n1") / path).read_bytes() == whole[path]
        time.sleep(1)
    assert child.wait(60) == (0 if kills == 1 else 1)
    fault = world.rows(sa.select(lis_nodes.c.fault).where(lis_nodes.c.node == "n1"))[0].fault
    assert fault == (None if kills == 1 else "interrupted")
    temporary = world.root("n1") / ".imagesys" / "tmp"
    for leftover in temporary.iterdir():
        os.utime(leftover, (time.time() - 7200,) * 2)

    world.reconfigure()
    world.sync_all()
    publish(world.ctx)
    assert list(temporary.iterdir()) == []
    assert len(assert_equal_nodes(world)) == len(paths)


DIES_AT_THE_COMMIT = """
import os, signal, sys
from imagesys_lib.replication import change_log
from tests.soak import one_run
change_log.acknowledge = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(one_run.main())
"""


@pytest.mark.parametrize(
    "again",
    [
        pytest.param("day-0", id="the run cleared"),
        pytest.param("day-1", id="the next run", marks=pytest.mark.long),
    ],
)
def test_a_worker_killed_between_a_push_and_its_commit_costs_no_request(world: World, again: str) -> None:
    entries = world.seed(IMAGES)
    child = world.spawn("day-0", DAY.isoformat(), program=(sys.executable, "-c", DIES_AT_THE_COMMIT))
    reported = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, reported
    wait_for(lambda: not any(receivers(world, node) for node in NODES), "the nodes' rsyncs to end")
    assert any(len(world.tree(node)) == 2 * IMAGES for node in NODES)
    assert world.rows(sa.select(lis_change_acks)) == []
    assert (world.count(), world.live()) == ({"thumbnailed": IMAGES}, {})
    assert sum(world.requests().values()) == IMAGES

    world.forget_requests()
    assert world.pipeline(world.run(run_id=again)).lost == []
    assert world.requests() == {}
    assert world.live().keys() == entries.keys()
    assert len(assert_equal_nodes(world)) == 2 * IMAGES


STEPS = (
    *("heal", "ingest", "plan", "batch 0 download", "batch 0 thumbnail"),
    *("sync n1", "publish", "purge", "purge", "purge", "check n1", "repair n2"),
)
ONCE = [("plan", "purge"), ("batch 0 download", "purge"), ("publish", "sync n1"), ("purge", "publish")]
BEFORE_A_DOWNLOAD = ("heal", "ingest", "plan")  # a kill so soon after one of these may hit one


def killed(world: World, run_id: str, step: str, seconds: float) -> bool:
    """Start a scheduled run and kill it so long after a step has ended; says whether it came to that."""
    child = world.spawn(run_id, DAY.isoformat(), program=(sys.executable, "-m", "tests.soak.one_run"))
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(f"{step}:"):
            break
    time.sleep(seconds)
    killing = child.poll() is None
    if killing:
        os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    wait_for(lambda: not any(receivers(world, node) for node in NODES), "the nodes' rsyncs to end")
    return killing


@pytest.mark.parametrize(
    ("seed", "steps"),
    [
        *(
            pytest.param(seed, [[first], [second]], id=f"{first}, {second}", marks=[pytest.mark.long] if seed else [])
            for seed, (first, second) in enumerate(ONCE)
        ),
        *(pytest.param(seed, None, marks=pytest.mark.long) for seed in range(20, 40)),
    ],
)
def test_a_worker_killed_at_any_moments_of_two_days_that_make_unpublish_and_delete_converges(
    world: World, live: Entries, seed: int, steps: list[list[str]] | None
) -> None:
    """The first day makes photos and unpublishes others; on the second their grace is over, and more are unpublished.

    Each day's run is killed at moments drawn by lot, again and again, and at last let through.
    """
    moments = random.Random(seed)
    steps = steps or [moments.choices(STEPS, k=3) for _day in range(2)]
    world.reconfigure(
        purge={**GENEROUS, "retention_days": 0, "grace_hours": 12}, batch={"size": 500, "lease_seconds": 2}
    )
    listings = sorted({listing for entry in live.values() for listing in entry.listing_ids})
    new = world.seed(20, seed=1).keys()
    off: list[set[str]] = []
    kills = hits = 0
    for number in (0, 1):
        world.sandbox.etl.remove("uk", listings[: 2 + 2 * number])
        shown = set(listings[2 + 2 * number :])
        off.append({url for url, entry in live.items() if not shown & set(entry.listing_ids)})
        let_pass(world, hours=13 * number)
        for step in steps[number]:
            was_killed = killed(world, f"day-{number}", step, moments.uniform(0, 0.5))
            kills += was_killed
            hits += was_killed and step in BEFORE_A_DOWNLOAD
        last = world.spawn(f"day-{number}", DAY.isoformat(), program=(sys.executable, "-m", "tests.soak.one_run"))
        reported = last.communicate(timeout=120)
        assert last.returncode == 0, reported
        assert world.live().keys() == (live.keys() | new) - off[number]
    assert kills > 0
    first, second = off
    assert first < second
    assert assert_equal_nodes(world, all_live=False).keys() == paths_of((set(live) | new) - first)
    assert world.count() == {"live": 40 + len(new) - len(second), "purged": len(second)}
    assert runs.figures(world.ctx.db, "day-0", "purge.") == {"unpublished": len(first)}
    done = {"unpublished": len(second - first), "deleted": len(first)}
    assert runs.figures(world.ctx.db, "day-1", "purge.") == done
    requested = world.requests()
    assert max(requested.values()) <= 1 + hits, requested.most_common(3)
    assert sum(requested.values()) <= len(new) + 64 * hits  # what was in flight is asked for again, and nothing else


def test_an_unreachable_node_says_so_at_once(world: World) -> None:
    world.seed(3)
    world.sandbox.nodes.stop_node("n3")
    began = time.monotonic()
    with pytest.raises(NodeFault, match="unreachable"):
        sync(world.ctx, "n3")
    assert time.monotonic() - began < 5
