"""What a connection to a node keeps on the worker, and what becomes of it when the worker is killed."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from imagesys_lib.nodes import NodeSession, ssh_session
from tests.library.replication.test_sync import made, with_connection
from tests.scenarios.test_orphans import kill_alone
from tests.support.world import World, wait_for


@contextlib.contextmanager
def temporary(world: World) -> Iterator[Path]:
    """A temporary directory of our own; its path is short, as that of a socket must be."""
    with tempfile.TemporaryDirectory() as folder:
        world.patch.setenv("TMPDIR", folder)
        world.patch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_the_key_that_a_killed_worker_has_left_is_swept_but_not_under_the_hands_of_a_living_one(
    world: World,
) -> None:
    with_connection(world, "n1", key_file="", private_key=world.sandbox.nodes["n1"].client_key.read_text())
    made(world, 30)  # before, as a pool of processes keeps its own folder for as long as we live
    with temporary(world) as folder:
        _kill_and_come_back(world, folder)


def _kill_and_come_back(world: World, temporary: Path) -> None:
    def folders() -> set[Path]:
        return {path for path in temporary.glob("imagesys-ssh-*") if not path.is_symlink()}

    world.reconfigure(transfer={"bandwidth_kbps": 10})
    child = world.spawn("sync", "uk", "--node", "n1")
    wait_for(lambda: len(world.tree("n1")) > 2, "a transfer under way")
    kill_alone(child)
    (left,) = folders()
    assert "PRIVATE KEY" in (left / "key").read_text()
    link = temporary / "imagesys-ssh-elsewhere"
    link.symlink_to(left)
    with NodeSession(world.ctx.node("n1")) as node:
        assert left in folders()  # an earlier release, which locks nothing, may be at work there
        (living,) = folders() - {left}
        for folder in (left, living):
            os.utime(folder, (time.time() - 100_000,) * 2)
        with NodeSession(world.ctx.node("n2")) as other:
            assert left not in folders()
            assert living in folders()
            assert node.space().free_bytes > 0
            assert other.space().free_bytes > 0
    assert folders() == set()
    assert link.is_symlink()


def test_a_connection_that_does_not_close_fails_no_finished_work_and_leaves_no_key(world: World) -> None:
    with_connection(world, "n1", key_file="", private_key=world.sandbox.nodes["n1"].client_key.read_text())
    world.patch.setattr(ssh_session, "_GOODBYE", 1.0)
    with temporary(world) as folder:
        with NodeSession(world.ctx.node("n1")) as node:
            (here,) = folder.glob("imagesys-ssh-*")
            (master,) = [
                one for one in psutil.process_iter(["cmdline"]) if str(here) in " ".join(one.info["cmdline"] or ())
            ]
            assert node.space().free_bytes > 0
            master.suspend()
        assert list(folder.iterdir()) == []
    master.kill()
