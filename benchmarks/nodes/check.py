"""The full check of a node: what it costs beyond the node's own listing and the database's own ordered read.

The listing runs on the node, and beside the read, so seconds of wall clock cannot be told apart: a check may well take
less than the two together. What the check itself costs is therefore counted in processor seconds of its process: ssh,
the node and the database have processes of their own, and what reading the rows costs is what a plain cursor takes.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.common.outcome import Grid, Part, Target
from include.sandbox.nodes_and_ports import NODE_NAMES

from . import rows, trees
from .rounds import Figures, as_data, interleaved, median, spread
from .settings import BASE, COUNTRY, FILES_AN_IMAGE, TREES, Options
from .testbed import BenchmarkError, Figure, Testbed, run

_TREE = TREES / "checked"
_LISTS = (BASE / "listing-1.txt", BASE / "listing-2.txt")
_WANTED, _WANTED_MB = 10, 200
_SHARES = (0.1, 0.3, 1.0)
"""Sizes that are measured, as shares of the full one."""

_LISTING, _READ, _CLIENT = "find | sort on the node, over ssh", "plain cursor, by pages", "mariadb --quick"
_COMM, _COMM_3, _MERGE = "LC_ALL=C comm -3", "LC_ALL=C comm", "straight merge in Python"


def measure(options: Options, testbed: Testbed) -> Part:
    """Let tree and table grow to three sizes; at the last, measure all nodes and all that they are compared with."""
    sizes = sorted({max(1, round(options.images * share)) for share in _SHARES})
    testbed.forget()
    testbed.point(_TREE, *NODE_NAMES)  # one tree for all: none of this writes to it
    points, made = [], 0
    figures: Figures = {}
    try:
        for size in sizes:
            _grow(testbed, made, size)
            made = size
            nodes = NODE_NAMES if size == sizes[-1] else NODE_NAMES[:1]
            contenders: dict[str, Callable[[], Figure]] = {
                _ours(name): partial(_check, testbed, name, size) for name in nodes
            }
            if size == sizes[-1]:
                contenders |= _others(testbed, size)
            figures = interleaved(contenders, options.rounds, testbed.say)
            points.append((size * FILES_AN_IMAGE, median(figures[_ours(NODE_NAMES[0])])))
    finally:
        if not options.keep:
            trees.remove(_TREE, *_LISTS)
    return _part(figures, points, options)


def _ours(name: str) -> str:
    return f"check of {name}"


def _grow(testbed: Testbed, first: int, after: int) -> None:
    testbed.say(f"growing tree and table from {first} to {after} images")
    trees.link_tree(_TREE, first, after)
    with testbed.connect() as connection:
        rows.put_live(connection, trees.linked_images(first, after))


def _check(testbed: Testbed, name: str, images: int) -> Figure:
    figure = testbed.work("check", name, sample=True)
    if figure.result != {"files": images * FILES_AN_IMAGE, "findings": {}}:
        raise BenchmarkError(f"the check of {name} found {figure.result} where {images} images are as they should be")
    return figure


def _others(testbed: Testbed, images: int) -> dict[str, partial[Figure]]:
    """Return what a check stands beside. All three nodes have one tree, so that the first one's listing is any's."""
    name = NODE_NAMES[0]
    folder = shlex.quote(str(testbed.root(name) / COUNTRY))
    remote = f"cd {folder} && find . -type f -printf '%P\\t%s\\0' | LC_ALL=C sort -z"
    listing = [*testbed.ssh(name), testbed.host(name), remote]
    run(f"{shlex.join(listing)} | tr '\\0' '\\n' > {_LISTS[0]}")
    shutil.copy(*_LISTS)
    lists = [str(file) for file in _LISTS]
    query = "SELECT image_hash, thumbs FROM lis_images WHERE desired = 'present' ORDER BY image_hash"
    client = [*testbed.mariadb_client(), "--execute", query]
    return {
        _LISTING: partial(run, listing),
        _READ: partial(_expect, partial(testbed.work, "read"), {"images": images}),
        _CLIENT: partial(run, client),
        _COMM_3: partial(run, ["env", "LC_ALL=C", "comm", "-3", *lists]),
        _COMM: partial(run, ["env", "LC_ALL=C", "comm", *lists]),
        _MERGE: partial(
            _expect, partial(testbed.work, "merge", *lists), {"files": images * FILES_AN_IMAGE, "only": [0, 0]}
        ),
    }


def _expect(work: Callable[[], Figure], result: object) -> Figure:
    figure = work()
    if figure.result != result:
        raise BenchmarkError(f"{figure.result} came out, not {result}")
    return figure


def _part(figures: Figures, points: Sequence[tuple[int, float]], options: Options) -> Part:
    files = options.images * FILES_AN_IMAGE
    part = Part(f"Full check of {files} files on each node, medians of {options.rounds} interleaved rounds")
    table = []
    for name, some in figures.items():
        peak = max(figure.peak_mb for figure in some)
        values = [f"{median(some):.2f}", spread(some), f"{median(some, 'cpu'):.2f}", f"{median(some, 'machine'):.2f}"]
        table.append([name, *values, f"{peak:.0f}" if peak else ""])
    columns = ("what", "seconds", "min-max", "processor s, own", "processor s, all", "peak MB")
    part.grids.append(Grid("What was measured", columns, table))
    checks = {name: some for name, some in figures.items() if name in map(_ours, NODE_NAMES)}
    part.grids.append(_beyond(figures, checks))
    comm, read = median(figures[_COMM_3], "cpu"), median(figures[_READ], "cpu")
    for name, some in checks.items():
        own = (median(some, "cpu") - read) / comm
        part.targets.append(Target(f"{name} beyond listing and read / comm -3", "<=", _WANTED, own, "x"))
    peak = max(figure.peak_mb for some in checks.values() for figure in some)
    part.targets.append(Target("peak PSS of a check, with its ssh", "<=", _WANTED_MB, peak, "MB"))
    merge = median(figures[_MERGE], "cpu") / comm
    part.notes += [
        f"A straight merge in Python of the same two lists takes {merge:.1f} times comm -3; neither is to be made.",
        "Own: the process of the check, cursor or command. All: the whole machine, with ssh, node and database.",
        "The nodes' tree is one of hard links, with all inodes in memory: a real node's listing waits for its disk.",
    ]
    part.data = {"figures": as_data(figures), "points": {"check": list(points)}}
    return part


def _beyond(figures: Figures, checks: Figures) -> Grid:
    """Return what each check costs beyond listing and read, in three ways of counting, by comm -3 in the same way."""
    table = []
    for name, some in checks.items():
        row = [name]
        for what in ("cpu", "machine", "wall"):
            listing = 0.0 if what == "cpu" else median(figures[_LISTING], what)
            beyond = median(some, what) - listing - median(figures[_READ], what)
            row.append(f"{beyond:.2f} s = {beyond / median(figures[_COMM_3], what):.1f} x")
        table.append(row)
    columns = ("node", "processor s, own", "processor s, all", "seconds (listing and read overlap)")
    return Grid("Beyond the listing and the plain cursor, and how many times comm -3 that is", columns, table)
