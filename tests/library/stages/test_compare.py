"""Comparing a node's listing with the database: every difference found, nothing invented, in one streaming pass."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

import pytest

from imagesys_lib.images.hash_and_path import lis_path_for_hash, parse_thumbnail_path
from imagesys_lib.nodes import Entry
from imagesys_lib.stages.check import Difference, Expected, compare, differences
from imagesys_lib.stages.check.compare import Page, judge_file
from imagesys_lib.stages.check.expected import page_of

Tree = dict[bytes, int]
"""Sizes by path."""

STRANGE = (b".jpg", b".1.jpg.bak", b".1.jpg~", b".1", b"-x.2.jpg", b".0.jpg", b".1.jpg\nx", b".1.jpg\tx", b".1.jpg\t7")
STRAY = (b"README", b"zz/zz", b"0/0", b".hidden", b"a\nb", b"a/\xff\xfe.jpg", b"\x01", b"f/f/\t\t", b"8/.~tmp~/x.1.jpg")


@dataclass
class Seen:
    files: int = 0
    bytes: int = 0


def hash_of(number: int) -> str:
    return hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()


def path_of(image_hash: str, end: str) -> str:
    return f"{lis_path_for_hash(image_hash)}.{end}"


def row(image_hash: str, sizes: dict[str, int]) -> tuple[str, str | None]:
    """A row as the database gives it: the thumbnails as JSON text."""
    thumbs = [
        {"n": int(end[0]), "path": f"uk/{path_of(image_hash, end)}", "bytes": size, "sha1": "0" * 40}
        for end, size in sizes.items()
    ]
    return image_hash, json.dumps(thumbs) if thumbs else None


def paged(expected: dict[str, dict[str, int]], size: int) -> Iterator[Page]:
    rows = [row(image_hash, expected[image_hash]) for image_hash in sorted(expected)]
    for at in range(0, len(rows) + 1, size):
        piece = cast("Any", rows[at : at + size])
        yield page_of("uk", piece, len(piece) < size)


def stream_of(tree: Tree) -> IO[bytes]:
    return io.BytesIO(b"".join(sorted(b"%s\t%d\0" % item for item in tree.items())))


def found_in(tree: Tree, expected: dict[str, dict[str, int]], page: int = 100) -> list[tuple[str, str]]:
    seen = Seen()
    found = [(f.kind, f.path) for f in differences(stream_of(tree), paged(expected, page), seen)]
    assert (seen.files, seen.bytes) == (len(tree), sum(tree.values()))
    return found


def by_brute_force(tree: Tree, expected: dict[str, dict[str, int]]) -> set[tuple[str, str]]:
    wanted = {path_of(h, end).encode(): size for h, sizes in expected.items() for end, size in sizes.items()}
    found = {("missing", path) for path in wanted.keys() - tree.keys()}
    found |= {("wrong_size", path) for path in wanted.keys() & tree.keys() if wanted[path] != tree[path]}
    for path in tree.keys() - wanted.keys():
        hidden = any(piece.startswith(b".") for piece in path.split(b"/"))
        possible = parse_thumbnail_path(path.decode("latin-1"))
        found.add(("extra" if possible else "leftover" if hidden else "impossible_name", path))
    return {(kind, path.decode("utf-8", "backslashreplace")) for kind, path in found}


def random_world(rng: random.Random) -> tuple[Tree, dict[str, dict[str, int]]]:
    tree: Tree = {}
    expected: dict[str, dict[str, int]] = {}
    faulty = rng.choice([0, 0.02, 0.2])
    for _ in range(rng.choice([0, 1, 2, 5, 30])):
        h = hash_of(rng.randrange(10**6))
        ends = [f"{n}.jpg" for n in range(1, rng.choice([2, 3, 3, 10]))]
        ends += [end.replace("jpg", rng.choice(["webp", "avif"])) for end in ends if rng.random() < 0.3]
        sizes = {end: rng.randrange(1, 9999) for end in ends}
        if rng.random() >= faulty:
            expected[h] = {} if rng.random() < faulty else sizes
        for end, size in sizes.items():
            path = path_of(h, end).encode()
            if rng.random() >= faulty:
                tree[path] = size + (rng.random() < faulty)
            if rng.random() < faulty:
                tree[lis_path_for_hash(h).encode() + rng.choice(STRANGE)] = 1
            if rng.random() < faulty:
                folder, _, name = path.rpartition(b"/")
                tree[folder + b"/." + name + b".A91bzQ"] = 1
    tree |= {stray: 1 for stray in STRAY if rng.random() < faulty}
    return tree, expected


@pytest.mark.parametrize("seed", range(4))
def test_random_trees_are_judged_as_by_brute_force(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    for number in range(1000):
        tree, expected = random_world(rng)
        monkeypatch.setattr(compare, "_BLOCK", rng.choice([1, 7, 100, 4096, 256 * 1024]))
        monkeypatch.setattr(compare, "_WINDOW", rng.choice([1, 60, 500, 32 * 1024]))
        found = found_in(tree, expected, rng.choice([1, 2, 3, 10, 1000]))
        assert len(found) == len(set(found)), (seed, number)
        assert set(found) == by_brute_force(tree, expected), (seed, number)


def test_equal_trees_have_no_findings_and_no_page_of_them_is_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {hash_of(n): {"1.jpg": 10, "2.jpg": 20, "1.webp": 5} for n in range(500)}
    tree = {path_of(h, end).encode(): size for h, sizes in expected.items() for end, size in sizes.items()}
    taken = []
    apart = compare._unlike
    monkeypatch.setattr(compare, "_unlike", lambda *args: taken.append(args[1].records) or apart(*args))
    assert found_in(tree, expected) == []
    assert set(taken) == {b""}  # only what may lie behind the last page
    del tree[min(tree)]
    assert len(found_in(tree, expected)) == 1
    assert len(set(taken)) == 2


def test_a_strange_name_between_two_files_of_an_image_hides_neither() -> None:
    h = hash_of(1)
    paths = [path_of(h, "1.jpg"), path_of(h, "1.jpg") + ".bak", path_of(h, "2.jpg")]
    tree = {path.encode(): 7 for path in paths}
    assert found_in(tree, {h: {"1.jpg": 7, "2.jpg": 7}}) == [("impossible_name", paths[1])]


def test_a_tree_of_which_the_database_knows_nothing_is_wholly_extra() -> None:
    tree = {path_of(hash_of(n), "1.jpg").encode(): 1 for n in range(50)}
    assert [kind for kind, _ in found_in(tree, {})] == ["extra"] * 50
    assert found_in({}, {hash_of(1): {"1.jpg": 1}}) == [("missing", path_of(hash_of(1), "1.jpg"))]


def test_a_listing_that_ends_in_the_middle_of_a_name_invents_no_file() -> None:
    seen = Seen()
    stream = io.BytesIO(b"0/0/0/x.1.jpg\t5\0" + b"0/0/0/y.1.jpg\t")
    found = list(differences(stream, paged({}, 10), seen))
    assert [finding.path for finding in found] == ["0/0/0/x.1.jpg"]


H = hash_of(3)
FILE = path_of(H, "1.jpg")


@pytest.mark.parametrize(
    ("want", "size", "kind"),
    [
        (Expected(H, {"1.jpg": 9}), 9, None),
        (Expected(H, {"1.jpg": 9}), 8, "wrong_size"),
        (Expected(H, {"1.jpg": 9}), None, "acked_absent"),
        (Expected(H, {"1.jpg": 9}, acked=False), None, "missing"),
        (Expected(H, {"1.jpg": 9}, acked=False), 8, "wrong_size"),
        (Expected(H, {"2.jpg": 9}), 9, "extra"),
        (Expected(H, {"2.jpg": 9}), None, None),
        (None, 9, "extra"),
        (None, None, None),
        (Expected(H, {"1.jpg": 9}, pending=True, acked=False), None, None),
        (Expected(H, {"1.jpg": 9}, pending=True, acked=False), 8, None),
        (Expected(H, {}, pending=True, acked=False), 9, None),  # to be deleted
    ],
)
def test_the_second_look_judges_by_both_sides_as_they_are_now(
    want: Expected | None, size: int | None, kind: str | None
) -> None:
    entry = None if size is None else Entry(FILE, size, 5.0)
    found = judge_file(want, FILE, entry)
    assert found == (kind and Difference(kind, FILE, H, 0.0 if entry is None else 5.0))


class Endless(io.RawIOBase):
    """A listing made while it is read."""

    def __init__(self, records: Iterator[bytes]) -> None:
        self._records, self._rest = records, b""

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size and (record := next(self._records, b"")):
            self._rest += record
        block, self._rest = self._rest[:size], self._rest[size:]
        return block


@pytest.mark.long
@pytest.mark.parametrize("known", [True, False])
def test_memory_does_not_grow_with_the_tree(known: bool) -> None:
    stems = [f"{n:06x}{'0' * 34}" for n in range(0, 2**24, 168)]  # 100,000 images, a wrong size at each thousandth

    def records() -> Iterator[bytes]:
        for number, h in enumerate(stems):
            yield f"{path_of(h, '1.jpg')}\t9\0".encode()
            yield f"{path_of(h, '2.jpg')}\t{9 if number % 1000 else 8}\0".encode()

    def pages() -> Iterator[Page]:
        for at in range(0, len(stems) + 1, 1000):
            rows = [row(h, {"1.jpg": 9, "2.jpg": 9}) for h in stems[at : at + 1000] if known]
            yield page_of("uk", cast("Any", rows), complete=at + 1000 > len(stems) or not known)
            if not known:
                return

    tracemalloc.start()
    try:
        began = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        listing = cast("IO[bytes]", Endless(records()))
        found = sum(1 for _ in differences(listing, pages(), Seen()))
        peak = tracemalloc.get_traced_memory()[1] - began
    finally:
        tracemalloc.stop()
    assert found == (100 if known else 2 * len(stems))
    assert peak < 8 * 2**20
