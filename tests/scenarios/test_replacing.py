"""Files that are replaced: whoever is killed on the way, visitors see the old version or the new one, whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import time

import psutil
import pytest

from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import RunKind
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.thumbnail import thumbnail
from include.sandbox import ManifestEntry
from tests.library.nodes.test_node_faults import receivers
from tests.support.trees import assert_equal_nodes, wanted
from tests.support.watch import beside
from tests.support.world import NODES, World, has_ended, wait_for

Entries = dict[str, ManifestEntry]

LARGER = [{"width": 400, "height": 400, "mode": "crop"}, {"width": 800, "height": 600, "mode": "fit"}]
"""So large that a transfer under a limit is nearly always in the middle of a file."""

SECONDS = 60  # that a push would take; it is killed as soon as a file is half way there, however slow the machine is
LOOKS = 6  # that visitors take at the least


class Visitors:
    """Read every file on every node again and again, and note each that was neither an old nor a new one."""

    def __init__(self, world: World, old: dict[str, str], new: dict[str, str]) -> None:
        self._roots = {node: world.root(node) for node in NODES}
        self._good = {path: {old[path], new[path]} for path in old}
        self.looks = 0
        self.wrong: list[str] = []

    def looking(self) -> contextlib.AbstractContextManager[None]:
        return beside(self._look, 0.01)

    def _look(self) -> None:
        for node, root in self._roots.items():
            for path, good in self._good.items():
                try:
                    data = (root / path).read_bytes()
                except OSError as error:
                    self.wrong.append(f"{node} {path}: {error}")
                else:
                    if hashlib.sha1(data, usedforsecurity=False).hexdigest() not in good:
                        self.wrong.append(f"{node} {path}: {len(data)} bytes of neither version")
        self.looks += 1


def remade(world: World) -> dict[str, str]:
    """Make a day's photos again, larger, as far as staging; returns the SHA-1 that each file is to have, by path."""
    world.reconfigure(sizes=LARGER)
    run = world.run(RunKind.BACKFILL, force=True)
    runs.begin(world.ctx.db, run)
    ingest(world.ctx, run)
    for batch in plan(world.ctx, run):
        download(world.ctx, batch.batch_id)
        thumbnail(world.ctx, batch.batch_id)
    return {path: digest for path, (_, digest) in wanted(world).items()}


def senders(child: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes of rsync that a worker has started."""
    return [process for process in psutil.Process(child.pid).children(recursive=True) if process.name() == "rsync"]


@pytest.mark.parametrize(("end", "node"), [("sender", "n1"), pytest.param("receiver", "n2", marks=pytest.mark.long)])
def test_a_remake_killed_on_its_way_to_a_node_leaves_every_file_old_or_new(
    world: World, live: Entries, end: str, node: str
) -> None:
    old = world.equal_trees()
    new = remade(world)
    changed = {path for path in old if old[path] != new[path]}
    assert 20 <= len(changed) < len(old) == len(new)
    size = sum((world.staging / "out" / path).stat().st_size for path in changed)
    root = world.root(node)
    temporary = root / ".imagesys" / "tmp"

    times = {path: (root / path).stat().st_mtime_ns for path in changed}

    def arrived() -> int:
        return sum((root / path).stat().st_mtime_ns != times[path] for path in changed)

    visitors = Visitors(world, old, new)
    with visitors.looking():
        world.configure(sizes=LARGER, transfer={"bandwidth_kbps": size // 1024 // SECONDS})
        child = world.spawn("sync", "uk", "--node", node)
        for _ in range(2):  # after the first kill it tries once more by itself
            leftovers = set(temporary.iterdir())
            wait_for(
                lambda known=leftovers: arrived() > 2 and set(temporary.iterdir()) - known, "a file half way there", 60
            )
            victims = senders(child) if end == "sender" else receivers(world, node)
            assert victims
            for process in victims:  # first all are held, so that none sees another's end and says something of its own
                process.suspend()
            for process in victims:
                process.kill()
            wait_for(lambda killed=victims: all(map(has_ended, killed)), "the killed to end")
        assert child.wait(60) == 1
        there = world.tree(node)
        assert 0 < sum(there[path] == new[path] for path in changed) < len(changed)

        for leftover in temporary.iterdir():
            os.utime(leftover, (time.time() - 7200,) * 2)
        world.reconfigure(sizes=LARGER)
        world.sync_all()
        publish(world.ctx)
    assert visitors.looks > LOOKS
    assert visitors.wrong == []
    assert world.equal_trees() == new
    assert len(assert_equal_nodes(world)) == len(old)
    assert [list((world.root(name) / ".imagesys" / "tmp").iterdir()) for name in NODES] == [[], [], []]
