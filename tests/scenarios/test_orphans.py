"""A worker that is killed alone, as by the kernel when memory runs out: what it had started ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from imagesys_lib.nodes import subprocesses
from imagesys_lib.stages.check import check
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.repair.repair import repair
from imagesys_lib.stages.sync import sync
from include.sandbox import ManifestEntry
from include.sandbox.services.process import start_time_of
from tests.library.nodes.test_node_faults import receivers
from tests.library.replication.test_sync import made
from tests.support.trees import assert_equal_nodes
from tests.support.world import NODES, World, has_ended, remove_below, wait_for

Entries = dict[str, ManifestEntry]


def kill_alone(child: subprocess.Popen[str]) -> None:
    os.kill(child.pid, signal.SIGKILL)
    child.wait()


def wait_for_receivers(world: World) -> None:
    wait_for(lambda: not any(receivers(world, node) for node in NODES), "the nodes' rsyncs to end", 60)


def test_what_a_killed_sync_was_pushing_does_not_come_back_after_the_next_one_deleted_it(world: World) -> None:
    paths = made(world, 40)
    sync(world.ctx, "n2")
    sync(world.ctx, "n3")
    publish(world.ctx)
    world.configure(transfer={"bandwidth_kbps": 10})
    child = world.spawn("sync", "uk", "--node", "n1")
    wait_for(lambda: len(world.tree("n1")) > 5 and receivers(world, "n1"), "a transfer under way")
    kill_alone(child)
    arrived = world.tree("n1")
    assert len(arrived) < len(paths) / 2
    gone = [row.image_hash for row in world.images().values() if not any(row.image_hash[3:] in p for p in arrived)]
    world.reconfigure()
    world.sql("DELETE FROM lis_listing_images")
    assert world.purge_now(gone) == len(gone)
    world.sync_all()
    wait_for_receivers(world)
    assert len(assert_equal_nodes(world)) == 2 * (40 - len(gone))


def test_a_killed_refill_writes_nothing_more(world: World, live: Entries) -> None:
    remove_below(world.root("n2"))
    check(world.ctx, "n2")
    world.configure(transfer={"bandwidth_kbps": 10})
    child = world.spawn("repair", "uk", "--node", "n2")
    wait_for(lambda: len(world.tree("n2")) > 5 and receivers(world, "n2"), "a refill under way")
    kill_alone(child)
    wait_for(lambda: not receivers(world, "n2"), "the node's rsync to end", 10)
    assert len(world.tree("n2")) < 40
    world.reconfigure()
    repair(world.ctx, "n2")
    assert_equal_nodes(world)


def test_a_command_dies_with_who_waits_for_it() -> None:
    program = "from imagesys_lib.nodes.subprocesses import run; run(['sleep', '60'])"
    with subprocess.Popen([sys.executable, "-c", program]) as child:
        wait_for(lambda: [c.name() for c in psutil.Process(child.pid).children()] == ["sleep"], "the command")
        (sleeping,) = psutil.Process(child.pid).children()
        child.kill()
    wait_for(lambda: has_ended(sleeping), "the command to end with it", 10)


@pytest.mark.parametrize("setpriv", ["", "#!/bin/sh\necho unknown option >&2\nexit 1\n"], ids=["missing", "too simple"])
def test_a_machine_that_cannot_make_them_die_runs_them_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setpriv: str
) -> None:
    if setpriv:
        (tmp_path / "setpriv").write_text(setpriv)
        (tmp_path / "setpriv").chmod(0o755)
    (tmp_path / "echo").symlink_to("/bin/echo")
    monkeypatch.setenv("PATH", str(tmp_path))
    subprocesses._dying_with_us.cache_clear()
    try:
        assert subprocesses.run(["echo", "x"]).output == b"x\n"
    finally:
        subprocesses._dying_with_us.cache_clear()


REAPS_NOBODY = """
import ctypes, subprocess, sys, time
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER: orphans below become ours
orphans_parent = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!"], stdout=subprocess.PIPE, text=True)
print(orphans_parent.stdout.readline(), end="", flush=True)
time.sleep(600)
"""


def test_a_process_that_nobody_reaps_has_ended() -> None:
    """As in a container whose first process is no init."""
    with subprocess.Popen([sys.executable, "-c", REAPS_NOBODY], stdout=subprocess.PIPE, text=True) as init:
        try:
            assert init.stdout is not None
            orphan = psutil.Process(int(init.stdout.readline()))
            wait_for(lambda: orphan.ppid() == init.pid, "it to be an orphan")
            assert not has_ended(orphan)
            assert start_time_of(orphan.pid) is not None
            orphan.kill()
            wait_for(lambda: has_ended(orphan), "it to end")
            assert psutil.pid_exists(orphan.pid)  # what looks for its number alone would wait for ever
            assert start_time_of(orphan.pid) is None
        finally:
            init.kill()
