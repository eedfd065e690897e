"""Refilling a node that came back empty, beside plain `rsync -a` of the same files; and reading a node's files (scrub).

ImageSys takes the files from a peer through the worker, compares their checksums and brings them to the node; rsync
goes from the worker's own disk to the node. Beside it: rsync as the worker would have to use it, from peer to node.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.common.outcome import Grid, Part, Target

from . import rows, trees
from .rounds import Figures, as_data, interleaved, median, spread
from .settings import COUNTRY, FILES_AN_IMAGE, TREES, Options
from .testbed import BenchmarkError, Figure, Testbed, run
from .trees import Image

_EMPTY, _PEER_1, _PEER_2 = "n1", "n2", "n3"
_WANTED = 1.3
_SOURCE, _REFILLED, _BETWEEN = TREES / "peers", TREES / "refilled", TREES / "between"
_OURS, _RSYNC, _TWICE = "ImageSys repair", "rsync -a, worker to node", "rsync -a, peer to worker to node"
_SHARES = (0.25, 0.5, 1.0)


def measure(options: Options, testbed: Testbed) -> Part:
    """Refill in turn; then smaller numbers of images through ImageSys alone."""
    images = _fill(options, testbed)
    refill = _Refill(testbed, images)
    try:
        figures = interleaved(refill.contenders(), options.rounds, testbed.say)
        points = [(len(images) * FILES_AN_IMAGE, median(figures[_OURS]))]
        for share in _SHARES[:-1]:
            some = images[: round(len(images) * share)]
            again = [refill.ours(some) for _ in range(options.rounds)]
            points.append((len(some) * FILES_AN_IMAGE, median(again)))
    finally:
        if not options.keep:
            trees.remove(_SOURCE, _REFILLED, _BETWEEN)
    return _part(figures, sorted(points), len(images) * FILES_AN_IMAGE, options.rounds)


def measure_scrub(options: Options, testbed: Testbed) -> Part:
    """Read shares of a node's files and compare checksums: a part without a target, for the table at the end."""
    images = _fill(options, testbed)
    files = len(images) * FILES_AN_IMAGE
    sizes = [round(files * share) for share in _SHARES]
    try:
        contenders = {f"{size} files": partial(_scrub, testbed, size) for size in sizes}
        figures = interleaved(contenders, options.rounds, testbed.say)
    finally:
        if not options.keep:
            trees.remove(_SOURCE)
    part = Part(f"Scrub of a node's files, medians of {options.rounds} rounds")
    part.grids.append(_grid("Read and compared", figures, files))
    points = [(size, median(some)) for size, some in zip(sizes, figures.values(), strict=True)]
    part.data = {"figures": as_data(figures), "points": {"scrub": points}}
    return part


def _fill(options: Options, testbed: Testbed) -> list[Image]:
    """Make live images whose files are on two nodes, and let the third be empty."""
    testbed.say(f"writing {options.refill_images * FILES_AN_IMAGE} files")
    testbed.forget()
    images = trees.written_images(_SOURCE, 0, options.refill_images)
    with testbed.connect() as connection:
        rows.put_live(connection, images)
    testbed.point(_SOURCE, _PEER_1, _PEER_2)
    testbed.point(_REFILLED, _EMPTY)
    return images


class _Refill:
    """The contenders, each of which begins with an empty node."""

    def __init__(self, testbed: Testbed, images: Sequence[Image]) -> None:
        self.testbed, self.images = testbed, images

    def contenders(self) -> dict[str, Callable[[], Figure]]:
        """Return what is measured by name."""
        from_worker = self._rsync(_SOURCE, _EMPTY)
        peer = self.testbed.ssh(_PEER_2), f"{self.testbed.host(_PEER_2)}:{self.testbed.root(_PEER_2)}"
        pull = ["rsync", "-a", "-e", shlex.join(peer[0]), f"{peer[1]}/{COUNTRY}/", f"{_BETWEEN / COUNTRY}/"]
        twice = f"{shlex.join(pull)} && {shlex.join(self._rsync(_BETWEEN, _EMPTY))}"
        return {
            _OURS: lambda: self.ours(self.images),
            _RSYNC: lambda: self._other(from_worker),
            _TWICE: lambda: self._other(twice),
        }

    def _rsync(self, source: Path, name: str) -> list[str]:
        there = f"{self.testbed.host(name)}:{self.testbed.root(name)}/{COUNTRY}/"
        return ["rsync", "-a", "-e", shlex.join(self.testbed.ssh(name)), f"{source / COUNTRY}/", there]

    def ours(self, images: Sequence[Image]) -> Figure:
        """Mark these images as missing and let the node be repaired."""
        self._begin()
        with self.testbed.connect() as connection:
            rows.mark_missing(connection, _EMPTY, images)
        figure = self.testbed.work("repair", _EMPTY)
        if figure.result["restored"] != len(images):
            raise BenchmarkError(f"repair restored {figure.result}, not {len(images)} images")
        self._require(images)
        return figure

    def _other(self, command: Sequence[str] | str) -> Figure:
        self._begin()
        figure = run(command)
        self._require(self.images)
        return figure

    def _begin(self) -> None:
        trees.remove(_REFILLED, _BETWEEN)
        for folder in (_REFILLED / COUNTRY, _REFILLED / ".imagesys" / "tmp", _BETWEEN / COUNTRY):
            folder.mkdir(parents=True)  # .imagesys: as the run's sync leaves it, which comes before its repair

    def _require(self, images: Sequence[Image]) -> None:
        if trees.count_files(_REFILLED) != len(images) * FILES_AN_IMAGE:
            raise BenchmarkError(f"{trees.count_files(_REFILLED)} files have come of {len(images)} images")
        for path in trees.paths(images[:: max(1, len(images) // 1000)]):
            if (_REFILLED / path).read_bytes() != (_SOURCE / path).read_bytes():
                raise BenchmarkError(f"{path} has come with other bytes")


def _scrub(testbed: Testbed, files: int) -> Figure:
    with testbed.connect() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM lis_nodes")  # begin a round anew
        connection.commit()
    figure = testbed.work("scrub", _PEER_2, str(files))
    if figure.result != {"files": files, "findings": {}}:
        raise BenchmarkError(f"the scrub found {figure.result}, not {files} files as they should be")
    return figure


def _part(figures: Figures, points: Sequence[tuple[int, float]], files: int, rounds: int) -> Part:
    part = Part(f"Refill of an empty node with {files} files, medians of {rounds} interleaved rounds")
    part.grids.append(_grid("Until the node has all files", figures, files))
    ratio = median(figures[_OURS]) / median(figures[_RSYNC])
    part.targets.append(Target("ImageSys / rsync -a between two directories over ssh", "<=", _WANTED, ratio, "x"))
    part.data = {"figures": as_data(figures), "points": {"refill": list(points)}}
    return part


def _grid(title: str, figures: Figures, files: int) -> Grid:
    table = []
    for name, some in figures.items():
        done = some[0].result.get("files", files)
        rate = f"{done / median(some):.0f}"
        table.append([name, f"{median(some):.2f}", spread(some), rate, f"{median(some, 'machine'):.1f}"])
    return Grid(title, ("contender", "seconds", "min-max", "files/s", "processor s, all"), table)
