"""Something else of a thumbnail's name on a node: found, named, and out of the way where nothing is lost by that."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from imagesys_lib.images.hash_and_path import lis_path_for_hash
from imagesys_lib.stages.check import check, scrub
from imagesys_lib.stages.repair.repair import repair
from imagesys_lib.stages.sync import sync
from include.sandbox import ManifestEntry
from tests.support.trees import assert_equal_nodes
from tests.support.world import World, in_threads

Entries = dict[str, ManifestEntry]
STRANGER = "0123456789abcdef" * 2 + "01234567"


def _socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


THINGS: dict[str, Callable[[Path], None]] = {
    "a folder": Path.mkdir,
    "a link": lambda path: path.symlink_to("/etc/hostname"),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to a folder": lambda path: path.symlink_to("/etc"),
    "a pipe": os.mkfifo,
    "a socket": _socket,
}


def put(world: World, node: str, path: str, make: Callable[[Path], None]) -> Path:
    place = world.root(node) / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    make(place)
    if not place.is_symlink():
        os.utime(place, (0, 0))
    else:
        os.utime(place, (0, 0), follow_symlinks=False)
    return place


@pytest.mark.parametrize(
    ("make", "node"),
    [
        pytest.param(make, node, id=f"{name}-{node}", marks=[pytest.mark.long] if (number + other) % 2 else [])
        for number, (name, make) in enumerate(THINGS.items())
        for other, node in enumerate(("n1", "n2"))
    ],
)
def test_what_is_no_file_is_named_and_replaced_or_removed(
    world: World, live: Entries, node: str, make: Callable[[Path], None]
) -> None:
    ctx = world.reconfigure(check={"extra_grace_hours": 0})
    wanted = sorted(world.tree(node))[0]
    others = [f"uk/{lis_path_for_hash(STRANGER)}.1.jpg", f"{wanted.rpartition('.1.')[0]}.7.webp"]
    for path in (wanted, *others):
        put(world, node, path, make)
    found = check(ctx, node)
    assert found.findings == {"not_a_file": 3}
    assert sorted(found.samples["not_a_file"]) == sorted(path.removeprefix("uk/") for path in (wanted, *others))
    assert found.files == 79
    assert scrub(ctx, node).findings == {}
    repaired = repair(ctx, node)
    assert (repaired.restored, repaired.waiting) == (1, 0)
    assert not any(os.path.lexists(world.root(node) / path) for path in others)
    assert check(ctx, node).clean
    assert len(assert_equal_nodes(world)) == 80


def test_a_folder_that_is_not_empty_is_named_and_left(
    world: World, live: Entries, caplog: pytest.LogCaptureFixture
) -> None:
    ctx = world.reconfigure(check={"extra_grace_hours": 0})
    wanted = sorted(world.tree("n1"))[0]
    stranger = f"uk/{lis_path_for_hash(STRANGER)}.1.jpg"
    for path in (wanted, stranger):
        (put(world, "n1", path, Path.mkdir) / "kept").write_text("somebody's")
        os.utime(world.root("n1") / path, (0, 0))
    for _ in range(2):
        found = check(ctx, "n1")
        assert found.findings == {"not_a_file": 2, "impossible_name": 2}
        assert repair(ctx, "n1").waiting == 2
        for path in (wanted, stranger):
            assert (world.root("n1") / path / "kept").read_text() == "somebody's"
            assert path.removeprefix("uk/") in caplog.text
        assert "Directory not empty" in caplog.text
        caplog.clear()


def test_a_purge_takes_away_an_empty_folder_in_a_files_place(world: World, live: Entries) -> None:
    path = sorted(world.tree("n1"))[0]
    put(world, "n1", path, Path.mkdir)
    world.sql("DELETE FROM lis_listing_images")
    assert world.purge_now([row.image_hash for row in world.images().values()]) == 40
    in_threads(*[lambda name=name: sync(world.context(), name) for name in ("n1", "n2", "n3")])
    assert not (world.root("n1") / path).exists()
    assert assert_equal_nodes(world) == {}
