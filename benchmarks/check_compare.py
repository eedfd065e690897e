"""What comparing a node's listing with the database costs, beside ``comm`` and a straight merge in Python.

Synthetic listings and rows of ``--images`` images with two thumbnails each; no database and no node is asked. What is
timed is what a check does beyond the node's listing and the database's ordered read. Every thousandth image differs in
the second round. Times are of one process on one core, in seconds.

    python -m benchmarks.check_compare --images 1000000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from imagesys_lib.images.hash_and_path import lis_path_for_hash
from imagesys_lib.stages.check.compare import Page, differences
from imagesys_lib.stages.check.expected import page_of

_PAGE = 1000


@dataclass
class Seen:
    """Counts what lies there."""

    files: int = 0
    bytes: int = 0


def hashes(images: int) -> Iterator[str]:
    """Yield hashes evenly spread, in order."""
    step = 16**40 // images
    return (f"{number * step:040x}" for number in range(images))


def rows(piece: list[str]) -> list[tuple[str, str]]:
    """Return rows as the database gives them: (hash, thumbnails as JSON text)."""
    found = []
    for h in piece:
        thumbs = [
            {"n": n, "path": f"uk/{lis_path_for_hash(h)}.{n}.jpg", "width": 60 * n, "height": 60, "bytes": 2000 * n}
            | {"sha1": h}
            for n in (1, 2)
        ]
        found.append((h, json.dumps(thumbs)))
    return found


def write_listing(path: Path, images: int, *, differing: bool) -> None:
    """Write what a node would send."""
    with path.open("wb") as file:
        for number, h in enumerate(hashes(images)):
            stem = lis_path_for_hash(h)
            second = 3999 if differing and number % _PAGE == 500 else 4000
            file.write(f"{stem}.1.jpg\t2000\0{stem}.2.jpg\t{second}\0".encode())


class Pages:
    """The database's side; ``spent`` is the time that making the rows took, which is not the check's."""

    def __init__(self, images: int) -> None:
        self.images, self.spent = images, 0.0

    def __iter__(self) -> Iterator[Page]:
        source = hashes(self.images)
        done = 0
        while True:
            began = time.perf_counter()
            piece = rows([h for _, h in zip(range(_PAGE), source, strict=False)])
            self.spent += time.perf_counter() - began
            done += len(piece)
            complete = len(piece) < _PAGE
            yield page_of("uk", cast("Any", piece), complete)
            if complete:
                return


def ours(listing: Path, images: int) -> tuple[float, int]:
    """Return the seconds that a check takes, and how many differences it saw."""
    pages = Pages(images)
    began = time.perf_counter()
    with listing.open("rb") as stream:
        found = sum(1 for _ in differences(stream, pages, Seen()))
    return time.perf_counter() - began - pages.spent, found


def straight(listing: Path, images: int) -> tuple[float, int]:
    """The same by a straight merge: each row and each record taken apart, two by two."""
    spent = 0.0

    def wanted() -> Iterator[tuple[str, int]]:
        nonlocal spent
        source = hashes(images)
        while True:
            began = time.perf_counter()
            piece = rows([h for _, h in zip(range(_PAGE), source, strict=False)])
            spent += time.perf_counter() - began
            for _, text in piece:
                for thumb in json.loads(text):
                    yield thumb["path"][3:], thumb["bytes"]
            if len(piece) < _PAGE:
                return

    began = time.perf_counter()
    found = 0
    with listing.open("rb") as stream:
        expected = wanted()
        want = next(expected, None)
        for path, size in records(stream):
            while want is not None and want[0] < path:
                found += 1
                want = next(expected, None)
            if want is not None and want[0] == path:
                found += want[1] != size
                want = next(expected, None)
            else:
                found += 1
    return time.perf_counter() - began - spent, found


def records(stream: IO[bytes]) -> Iterator[tuple[str, int]]:
    """Take a listing apart."""
    rest = b""
    while block := stream.read(64 * 1024):
        *whole, rest = (rest + block).split(b"\0")
        for record in whole:
            path, _, size = record.decode("utf-8", "backslashreplace").rpartition("\t")
            yield path, int(size)


def comm(one: Path, other: Path) -> float:
    """Return the seconds that ``comm`` takes over two sorted listings."""
    began = time.perf_counter()
    subprocess.run(
        ["comm", "-z", "-3", str(one), str(other)],
        env={**os.environ, "LC_ALL": "C"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - began


def through_comm(listing: Path, images: int) -> float:
    """The same with the database's side written into ``comm``."""
    pages = Pages(images)
    began = time.perf_counter()
    with subprocess.Popen(
        ["comm", "-z", "-3", str(listing), "-"],
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as process:
        if process.stdin is None:
            raise RuntimeError("no pipe to comm")
        for page in pages:
            process.stdin.write(page.records)
        process.stdin.close()
        process.wait()
    return time.perf_counter() - began - pages.spent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    images: int = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        good, bad = Path(folder, "good"), Path(folder, "bad")
        write_listing(good, images, differing=False)
        write_listing(bad, images, differing=True)
        base = min(comm(good, bad) for _ in range(3))
        print(f"comm over two listings of {2 * images} files  {base:6.2f} s")
        for name, listing in (("equal", good), ("a file in every thousand images differs", bad)):
            seconds, found = ours(listing, images)
            print(f"page by page, {name}  {seconds:6.2f} s  {seconds / base:4.1f} x comm  {found} differ")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"peak memory so far  {peak} MB")
        seconds = through_comm(good, images)
        print(f"pages written into comm  {seconds:6.2f} s  {seconds / base:4.1f} x comm")
        seconds, found = straight(bad, images)
        print(f"straight merge in Python  {seconds:6.2f} s  {seconds / base:4.1f} x comm  {found} differ")


if __name__ == "__main__":
    main()
