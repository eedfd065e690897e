"""An independent comparison of nodes and live table: files from disk, rows by plain SQL, nothing of the library."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import sqlalchemy as sa

from tests.support.world import COUNTRY, NODES, World

OWN = ".imagesys"  # the folder of ImageSys on a node


def files_of(world: World, node: str) -> dict[str, tuple[int, str]]:
    """Bytes and SHA-1 of every file below a node's root, by path; not those in its own folder."""
    root = world.root(node)
    found = {}
    for path in sorted(root.rglob("*")):
        below = path.relative_to(root)
        if below.parts[0] == OWN:
            continue
        assert not path.is_symlink(), path
        if path.is_file():
            data = path.read_bytes()
            found[str(below)] = (len(data), hashlib.sha1(data, usedforsecurity=False).hexdigest())
    return found


def wanted(world: World) -> dict[str, tuple[int, str]]:
    """Bytes and SHA-1 of every file that should be on every node, by path: what was made and is to be present."""
    found = {}
    for row in _select(world, "SELECT image_hash, thumbs FROM lis_images WHERE desired = 'present'"):
        thumbs = row["thumbs"]
        assert thumbs, row["image_hash"]
        for thumb in thumbs:
            assert thumb["path"].replace("/", "")[len(COUNTRY) :].startswith(row["image_hash"]), thumb
            found[thumb["path"]] = (thumb["bytes"], thumb["sha1"])
    return found


def published(world: World) -> dict[str, int]:
    """Bytes of every file that the website is given, by path."""
    rows = _select(world, "SELECT image_data FROM lis_live_images")
    return {thumb["path"]: thumb["bytes"] for row in rows for thumb in row["image_data"].values()}


def assert_equal_nodes(world: World, *, all_live: bool = True) -> dict[str, tuple[int, str]]:
    """Assert that all nodes hold exactly the files that they should, byte by byte, and all that is published.

    ``all_live``: nothing else than what is published. Returns the files with their bytes and SHA-1, by path.
    """
    want, live = wanted(world), published(world)
    for node in NODES:
        there = files_of(world, node)
        assert there.keys() - want.keys() == set(), f"extra on {node}"
        assert want.keys() - there.keys() == set(), f"missing on {node}"
        assert {path for path in want if there[path] != want[path]} == set(), f"wrong on {node}"
    assert {path for path, size in live.items() if want.get(path, (None,))[0] != size} == set()
    if all_live:
        assert live.keys() == want.keys()
    return want


def _select(world: World, text: str) -> list[dict[str, Any]]:
    with world.ctx.db.connect() as connection:
        rows = [dict(row) for row in connection.execute(sa.text(text)).mappings()]
    for row in rows:
        for name in ("thumbs", "image_data"):
            if isinstance(row.get(name), str):
                row[name] = json.loads(row[name])
    return rows
