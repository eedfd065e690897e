"""Looks at a run from outside: memory and processes, the time of each stage, what is left when it is over."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import psutil

from imagesys_lib.images.hash_and_path import lis_hash_for_url, thumbnail_path
from tests.support.world import NODES, World, dead_children


@contextlib.contextmanager
def beside(look: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call ``look`` in a thread, so many seconds apart, while a block runs."""
    done = threading.Event()

    def go_on() -> None:
        while not done.wait(seconds):
            look()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class Watch:
    """The largest resident sizes while a block runs, in bytes: of this process beyond what it had, of any child."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self.grown = self.largest_child = 0

    def running(self) -> contextlib.AbstractContextManager[None]:
        return beside(self._look, 0.05)

    def _look(self) -> None:
        self.grown = max(self.grown, self._process.memory_info().rss - self._before)
        for child in self._process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                self.largest_child = max(self.largest_child, child.memory_info().rss)


class Stages:
    """The seconds that each line of the pipeline's own account took: give it to the pipeline as ``say``."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def __call__(self, line: str) -> None:
        now = time.monotonic()
        self.seconds[line.partition(":")[0]] = now - self._last
        self._last = now


def assert_nothing_is_left(world: World, live: set[str]) -> None:
    """Equal trees that hold what is live and nothing else; nothing in staging, no temporary file, no dead process."""
    paths = {thumbnail_path(world.country, lis_hash_for_url(url), number) for url in live for number in (1, 2)}
    assert world.equal_trees().keys() == paths
    assert (world.staged("originals"), world.staged("out")) == ([], [])
    for name in NODES:
        assert list((world.root(name) / ".imagesys" / "tmp").iterdir()) == []
    left = dead_children() - world.dead_before
    assert left == set(), [child.as_dict(["pid", "ppid", "create_time"]) for child in left]
