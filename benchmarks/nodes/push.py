"""A push of new files into a node's tree of a million, beside the same push into an empty one.

And beside what somebody would do instead: `rsync -a` of the whole tree, or tar over ssh of the new files alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.common.outcome import Grid, Part, Target

from . import rows, trees
from .rounds import Figures, as_data, interleaved, median, spread
from .settings import BASE, COUNTRY, FILES_AN_IMAGE, TREES, Options
from .testbed import BenchmarkError, Figure, Testbed, run
from .trees import Image

NODE = "n1"
_WANTED = 1.2
_FULL, _SOURCE, _EMPTY, _FOLDERS = (TREES / name for name in ("full", "source", "empty", "folders"))
_INTO_FULL, _INTO_EMPTY, _INTO_FOLDERS = (
    "ImageSys, into the full tree",
    "ImageSys, empty tree",
    "ImageSys, folders only",
)
_RSYNC, _TAR = "rsync -a of the whole tree", "tar over ssh, new files"


def measure(options: Options, testbed: Testbed) -> Part:
    """Push the same new files into all trees in turn; then other numbers of them into the full tree."""
    held = options.images // FILES_AN_IMAGE
    testbed.say(f"making two trees of {held * FILES_AN_IMAGE} files")
    for tree in (_FULL, _SOURCE):
        trees.link_tree(tree, 0, held)
    trees.make_folders(_FOLDERS)
    testbed.forget()
    sizes = sorted({options.push_images // 2, options.push_images, options.push_images * 2})
    images = trees.written_images(testbed.staging, held, held + sizes[-1])
    push = _Push(testbed, images)
    usual = images[:: max(1, len(images) // options.push_images)][: options.push_images]
    trees.link_images(testbed.staging, _SOURCE, usual)
    try:
        figures = interleaved(push.contenders(usual), options.rounds, testbed.say)
        slope = {len(usual): figures[_INTO_FULL]}
        for size in sizes:
            some = images[:: len(images) // size][:size]
            if size != len(usual):
                slope[size] = [push.ours(_FULL, some) for _ in range(options.rounds)]
    finally:
        if not options.keep:
            trees.remove(*(tree for tree in (_FULL, _SOURCE, _EMPTY, _FOLDERS)))
    return _part(figures, slope, len(usual) * FILES_AN_IMAGE, held * FILES_AN_IMAGE, options.rounds)


class _Push:
    """The contenders, each of which leaves its tree as it was."""

    def __init__(self, testbed: Testbed, images: Sequence[Image]) -> None:
        self.testbed, self.images = testbed, images
        self.list = BASE / "new-files.txt"

    def contenders(self, images: Sequence[Image]) -> dict[str, Callable[[], Figure]]:
        """Return what is measured by name: ours into three trees, and the others into the full one."""
        self.list.write_text("".join(f"{path}\n" for path in trees.paths(images)))
        ssh, host = self.testbed.ssh(NODE), self.testbed.host(NODE)
        root = self.testbed.root(NODE)
        rsync = ["rsync", "-a", "-e", shlex.join(ssh), f"{_SOURCE / COUNTRY}/", f"{host}:{root}/{COUNTRY}/"]
        remote = shlex.join(["tar", "-x", "-C", str(root)])
        tar = (
            f"tar -c -C {shlex.quote(str(self.testbed.staging))} -T {shlex.quote(str(self.list))} | "
            f"{shlex.join([*ssh, host, remote])}"
        )
        return {
            _INTO_FULL: lambda: self.ours(_FULL, images),
            _INTO_EMPTY: lambda: self.ours(_EMPTY, images),
            _INTO_FOLDERS: lambda: self.ours(_FOLDERS, images),
            _RSYNC: lambda: self._other(rsync, images),
            _TAR: lambda: self._other(tar, images),
        }

    def ours(self, tree: Path, images: Sequence[Image]) -> Figure:
        """Let the change log hold these images alone, and sync the node."""
        if tree == _EMPTY:
            trees.remove(tree)
        with self.testbed.connect() as connection:
            rows.empty(connection)
            rows.put_waiting(connection, images)
        self.testbed.point(tree, NODE)
        figure = self.testbed.work("sync", NODE)
        if figure.result["pushed"] != len(images) * FILES_AN_IMAGE:
            raise BenchmarkError(f"sync pushed {figure.result}, not {len(images)} images")
        self._take_out(tree, images)
        return figure

    def _other(self, command: Sequence[str] | str, images: Sequence[Image]) -> Figure:
        self.testbed.point(_FULL, NODE)
        figure = run(command)
        self._take_out(_FULL, images)
        return figure

    def _take_out(self, tree: Path, images: Sequence[Image]) -> None:
        """Make sure that all new files have come, and remove them."""
        for image in images:
            for thumb in image.thumbs:
                file = tree / str(thumb["path"])
                if not file.exists() or file.stat().st_size != thumb["bytes"]:
                    raise BenchmarkError(f"{file} has not come as it should")
                file.unlink()


def _part(figures: Figures, slope: dict[int, list[Figure]], new: int, held: int, rounds: int) -> Part:
    part = Part(f"Push of {new} new files into a tree of {held}, medians of {rounds} interleaved rounds")
    seconds = {name: median(some) for name, some in figures.items()}
    empty = seconds[_INTO_EMPTY]
    table = [
        [name, f"{seconds[name]:.2f}", spread(some), f"{median(some, 'machine'):.1f}", f"{seconds[name] / empty:.2f}"]
        for name, some in figures.items()
    ]
    columns = ("contender", "seconds", "min-max", "processor s, all", "times the empty tree")
    part.grids.append(Grid("Until the new files are on the node", columns, table))
    part.targets = [
        Target("full tree / empty tree", "<=", _WANTED, seconds[_INTO_FULL] / empty, "x"),
        Target(
            "full tree / tree of folders without files",
            "<=",
            _WANTED,
            seconds[_INTO_FULL] / seconds[_INTO_FOLDERS],
            "x",
        ),
    ]
    part.notes.append(
        "The files of the full tree are hard links to some hundred files, so rsync -a finds their inodes cached: real "
        "trees cost it more. An empty tree must have its folders made, hence the second target."
    )
    part.data = {
        "figures": as_data(figures),
        "points": {"push": [(size * FILES_AN_IMAGE, median(some)) for size, some in slope.items()]},
    }
    return part
