"""Comparing a node's listing with the database: every difference found, nothing invented, in one streaming pass."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import pytest

from imagesys_lib.hashing import lis_path_for_hash, parse_thumbnail_path
from imagesys_lib.nodes import Entry
from imagesys_lib.stages.check import Expected, Finding, compare


def hash_of(number: int) -> str:
    return hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()


def path_of(image_hash: str, end: str) -> str:
    return f"{lis_path_for_hash(image_hash)}.{end}"


def in_order(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.path.encode())


def judged(entries: list[Entry], expected: list[Expected]) -> set[tuple[str, str]]:
    """The same judgement by brute force: (kind, path)."""
    there = {entry.path: entry for entry in entries}
    wanted = {e.image_hash: e for e in expected}
    found = set()
    for e in expected:
        for end, size in e.sizes.items() if not e.pending else ():
            path = path_of(e.image_hash, end)
            if path not in there:
                found.add(("missing", path))
            elif there[path].size != size:
                found.add(("wrong_size", path))
    for path in there:
        parsed = parse_thumbnail_path(path)
        if parsed is None:
            found.add(("leftover" if path.rpartition("/")[2].startswith(".") else "impossible_name", path))
            continue
        want = wanted.get(parsed[0])
        if want is None or (not want.pending and parsed[1] not in want.sizes):
            found.add(("extra", path))
    return found


def random_world(seed: int) -> tuple[list[Entry], list[Expected]]:
    rng = random.Random(seed)
    entries: list[Entry] = []
    expected: list[Expected] = []
    for number in range(rng.choice([0, 1, 2, 30, 200])):
        h = hash_of(rng.randrange(10**6) if rng.random() < 0.9 else number)
        if any(e.image_hash == h for e in expected):
            continue
        ends = [f"{n}.jpg" for n in range(1, rng.choice([2, 3, 3, 3, 10]))]
        ends += [end.replace("jpg", rng.choice(["webp", "avif"])) for end in ends if rng.random() < 0.3]
        sizes = {end: rng.randrange(1, 9999) for end in ends}
        if rng.random() < 0.9:
            expected.append(Expected(h, {} if rng.random() < 0.05 else sizes, rng.random() < 0.1))
        for n, size in sizes.items():
            if rng.random() < 0.9:
                entries.append(Entry(path_of(h, n), size + (rng.random() < 0.1), 1.0))
            if rng.random() < 0.1:
                name = rng.choice(
                    [".jpg", ".1.jpg.bak", ".1.jpg~", ".1", "-x.2.jpg", ".0.jpg", ".1.jpg\nx", ".1.jpg\tx"]
                )
                entries.append(Entry(lis_path_for_hash(h) + name, 1, 1.0))
            if rng.random() < 0.05:
                folder, _, name = path_of(h, n).rpartition("/")
                entries.append(Entry(f"{folder}/.{name}.A91bzQ", 1, 1.0))
    for stray in ("README", "zz/zz", "0", "0/0", ".hidden"):
        if rng.random() < 0.2:
            entries.append(Entry(stray, 1, 1.0))
    unique = {entry.path: entry for entry in entries}
    return in_order(list(unique.values())), sorted(expected, key=lambda e: e.image_hash)


@pytest.mark.parametrize("block", range(10))
def test_random_trees_are_judged_as_by_brute_force(block: int) -> None:
    for seed in range(block * 40, block * 40 + 40):
        entries, expected = random_world(seed)
        found = [(finding.kind, finding.path) for finding in compare(entries, expected)]
        assert len(found) == len(set(found)), seed
        assert set(found) == judged(entries, expected), seed


def test_equal_trees_have_no_findings() -> None:
    expected = sorted(
        (Expected(hash_of(n), {"1.jpg": 10, "2.jpg": 20}) for n in range(500)), key=lambda e: e.image_hash
    )
    entries = in_order([Entry(path_of(e.image_hash, n), s, 1.0) for e in expected for n, s in e.sizes.items()])
    assert list(compare(entries, expected)) == []


def test_a_strange_name_between_two_files_of_an_image_hides_neither() -> None:
    h = hash_of(1)
    paths = [path_of(h, "1.jpg"), path_of(h, "1.jpg") + ".bak", path_of(h, "2.jpg")]
    assert paths == sorted(paths)
    entries = [Entry(path, 7, 1.0) for path in paths]
    assert list(compare(entries, [Expected(h, {"1.jpg": 7, "2.jpg": 7})])) == [
        Finding("impossible_name", paths[1], mtime=1.0)
    ]


def test_an_image_whose_change_is_not_applied_yet_is_nobodys_fault() -> None:
    h = hash_of(1)
    entries = [Entry(path_of(h, "1.jpg"), 7, 1.0)]
    assert list(compare(entries, [Expected(h, {"1.jpg": 9, "2.jpg": 9}, pending=True)])) == []
    assert list(compare(entries, [Expected(h, {}, pending=True)])) == []  # to be deleted
    assert [f.kind for f in compare(entries, [])] == ["extra"]


def test_neither_side_is_read_ahead_of_the_other() -> None:
    """Memory does not grow with the tree: one image of each side is looked at at a time."""
    hashes = sorted(hash_of(n) for n in range(2000))
    taken = {"entries": 0, "expected": 0}

    def entries() -> Iterator[Entry]:
        for h in hashes:
            taken["entries"] += 1
            assert taken["entries"] - taken["expected"] < 5
            yield Entry(path_of(h, "1.jpg"), 8, 1.0)

    def expected() -> Iterator[Expected]:
        for h in hashes:
            taken["expected"] += 1
            assert taken["expected"] - taken["entries"] < 5
            yield Expected(h, {"1.jpg": 9})

    assert sum(1 for finding in compare(entries(), expected()) if finding.kind == "wrong_size") == 2000
