"""A node that is reached and then says nothing more: whatever waits for it has an end."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_nodes
from imagesys_lib.errors import Stopped
from imagesys_lib.nodes import NodeFault, NodeSession
from imagesys_lib.nodes.subprocesses import Silent, run
from imagesys_lib.stages.check import check
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.sync import sync
from include.sandbox import ManifestEntry
from tests.library.replication.test_sync import made
from tests.support.trees import assert_equal_nodes
from tests.support.world import World

A = "0/1/2/" + "3" * 37
IMPATIENT = {"io_timeout": 0.6}  # so three seconds for a command


@contextlib.contextmanager
def stalled(world: World, node: str) -> Iterator[None]:
    """Stop the processes that serve connections to a node, but not the one that takes them."""
    server = psutil.Process(int((world.sandbox.nodes[node].directory / "sshd.pid").read_text()))
    serving = server.children(recursive=True)
    assert serving
    for process in serving:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield
    finally:
        for process in serving:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def _list(node: NodeSession, _folder: Path) -> None:
    with node.listing("uk") as listing:
        listing.read()


def _push(node: NodeSession, folder: Path) -> None:
    file = folder / "uk" / f"{A}.1.jpg"
    file.parent.mkdir(parents=True)
    file.touch()
    node.push(folder, [f"uk/{A}.1.jpg"])


@pytest.mark.parametrize(
    ("timeout", "ask"),
    [
        (0.6, lambda node, _: node.space()),
        pytest.param(0.6, lambda node, _: node.delete([f"uk/{A}.1.jpg"]), marks=pytest.mark.long),
        pytest.param(0.6, _list, marks=pytest.mark.long),
        (2, _push),
    ],
    ids=["space", "delete", "list", "push"],
)
def test_a_node_that_falls_silent_is_given_up(
    world: World, tmp_path: Path, timeout: float, ask: Callable[[NodeSession, Path], None]
) -> None:
    ctx = world.reconfigure(transfer={"io_timeout": timeout})
    with NodeSession(ctx.node("n1")) as node:
        node.prepare()
        began = time.monotonic()
        with stalled(world, "n1"), pytest.raises(NodeFault) as caught:
            ask(node, tmp_path)
        assert time.monotonic() - began < 30
    assert caught.value.reason == "timeout", caught.value


def test_a_pipe_in_the_place_of_a_file_is_not_read(world: World) -> None:
    ctx = world.reconfigure(transfer=IMPATIENT)
    pipe = world.root("n1") / "uk" / f"{A}.1.jpg"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    with NodeSession(ctx.node("n1")) as node:
        assert node.sums("uk", [f"{A}.1.jpg"]) == {}


def test_a_sync_of_a_silent_node_frees_its_lock_and_the_next_one_brings_all(world: World) -> None:
    paths = made(world, 10)
    world.reconfigure(transfer={"io_timeout": 2, "group_images": 2})
    stack = contextlib.ExitStack()

    def stall(done: int, _total: int) -> None:
        if done == 2:
            stack.enter_context(stalled(world, "n1"))

    with stack, pytest.raises(NodeFault) as caught:
        sync(world.context(progress=stall), "n1")
    assert caught.value.reason == "timeout"
    assert world.scalar(sa.select(lis_nodes.c.fault).where(lis_nodes.c.node == "n1")) == "timeout"
    world.reconfigure()
    world.sync_all()
    publish(world.ctx)
    assert assert_equal_nodes(world).keys() == set(paths)


def test_a_check_of_a_silent_node_is_a_fault_and_no_finding(world: World, live: dict[str, ManifestEntry]) -> None:
    ctx = world.reconfigure(transfer=IMPATIENT)
    original = NodeSession.listing

    def listing(self: NodeSession, *arguments: str) -> contextlib.AbstractContextManager[object]:
        stack.enter_context(stalled(world, "n1"))
        return original(self, *arguments)

    with contextlib.ExitStack() as stack:
        world.patch.setattr(NodeSession, "listing", listing)
        with pytest.raises(NodeFault, match="timeout"):
            check(ctx, "n1")
    assert world.rows(sa.text("SELECT * FROM lis_node_repairs")) == []


def test_signs_of_life_are_enough() -> None:
    slowly = "for i in 1 2 3 4 5 6; do sleep 0.5; echo >&2; done; echo done"
    assert run(["sh", "-c", slowly], patience=1.6).output == b"done\n"
    with pytest.raises(Silent, match=r"1\.6 s"):
        run(["sleep", "60"], patience=1.6)


def test_a_command_is_waited_for_until_the_work_is_to_stop() -> None:
    stop = threading.Event()
    threading.Timer(1, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        run(["sleep", "60"], stop=stop)
    assert time.monotonic() - began < 10
