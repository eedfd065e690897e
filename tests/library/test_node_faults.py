"""Faults of nodes: full disks, killed transfers, workers killed at any moment. Afterwards all nodes are the same."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_nodes
from imagesys_lib.nodes import NodeFault
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.sync import sync
from tests.library.test_sync import made
from tests.library.trees import assert_equal_nodes
from tests.world import DAY, World, wait_for

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


@pytest.mark.parametrize("seed", [8, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(20, 40))])
def test_a_worker_killed_at_any_moments_converges(world: World, seed: int) -> None:
    """Kill the whole pipeline again and again, at moments drawn by lot; at last it is let through."""
    moments = random.Random(seed)
    world.seed(IMAGES, seed=seed)
    run = DAY.isoformat()
    kills = 0
    for _ in range(1 if seed < 10 else 3):
        child = world.spawn("run", "uk", "--interval", run)
        time.sleep(moments.uniform(1.5, 6.0))
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            kills += 1
        child.wait()
    wait_for(lambda: not any(receivers(world, node) for node in ("n1", "n2", "n3")), "the nodes' rsyncs to end")
    time.sleep(5.5)  # the lease of whoever was killed
    for command in ("download", "thumbnail"):  # batches that were planned and never begun are not another run's
        assert world.cli(command, "uk").code == 0
    last = world.cli("run", "uk", "--interval", run)
    assert last.code == 0, last.out[-3000:]
    assert kills > 0
    assert len(assert_equal_nodes(world)) == 2 * IMAGES
    assert world.count() == {"live": IMAGES}
    requested = world.requests()
    assert max(requested.values()) <= 1 + kills, requested.most_common(3)
    assert sum(requested.values()) <= IMAGES + 64 * kills  # what was in flight is asked for again, and nothing else


def test_an_unreachable_node_says_so_at_once(world: World) -> None:
    world.seed(3)
    world.sandbox.nodes.stop_node("n3")
    began = time.monotonic()
    with pytest.raises(NodeFault, match="unreachable"):
        sync(world.ctx, "n3")
    assert time.monotonic() - began < 5
