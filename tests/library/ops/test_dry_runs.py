"""What is only looked at: a dry run says what would be done and writes nothing, nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_images, lis_listing_images
from imagesys_lib.images.hash_and_path import lis_hash_for_url, thumbnail_path
from imagesys_lib.stages.sync import sync
from include.sandbox import ManifestEntry
from tests.library.replication.test_sync import made
from tests.library.stages.test_check_scrub import flip
from tests.library.stages.test_purge import GENEROUS, first_listings
from tests.support.world import NODES, World

Entries = dict[str, ManifestEntry]


def everything(world: World) -> dict[str, Any]:
    """Every row, and every file on nodes and staging disk with its size and time, ImageSys's own folder as well."""
    roots = [*(world.root(node) for node in NODES), world.staging]
    return {"rows": world.dump(), **{str(root): stamps(root) for root in roots}}


def stamps(root: Path) -> dict[str, tuple[int, int]]:
    found = {str(path): path.stat() for path in sorted(root.rglob("*"))}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def test_a_publish_says_how_many_would_go_live(world: World) -> None:
    made(world, 6)
    for node in ("n1", "n2"):
        sync(world.ctx, node)
    before = everything(world)
    assert world.cli("publish", "uk", "--dry-run", "--json").json == {"published": 6}
    assert everything(world) == before
    assert world.cli("publish", "uk", "--json").json == {"published": 6}


def test_a_publish_that_would_set_placeholders_aside_counts_without_them(world: World) -> None:
    made(world, 6)
    for node in ("n1", "n2"):
        sync(world.ctx, node)
    image = next(iter(world.images().values()))
    note = "INSERT INTO lis_placeholders VALUES (:sha1, :source, 51, UTC_TIMESTAMP(6))"
    world.sql(note, sha1=image.source_sha1, source=image.datasource_id)
    before = everything(world)
    assert world.cli("publish", "uk", "--dry-run", "--json").json == {"published": 5}
    assert everything(world) == before
    assert world.cli("publish", "uk", "--json").json == {"published": 5}


@pytest.fixture
def damaged(world: World, live: Entries) -> list[str]:
    """Of n2 one file is gone, of one a bit is flipped; returns the command that sees both."""
    paths = sorted(thumbnail_path("uk", lis_hash_for_url(url), n) for url in live for n in (1, 2))
    (world.root("n2") / paths[0]).unlink()
    flip(world.root("n2") / paths[9])
    return ["fs-check", "uk", "--node", "n2", "--scrub", "100", "--json"]


def test_a_check_and_a_scrub_mark_nothing_and_keep_no_result(world: World, damaged: list[str]) -> None:
    before = everything(world)
    ran = world.cli(*damaged, "--dry-run")
    assert ran.code == 1
    assert (ran.json["uk n2"]["findings"], ran.json["uk n2 scrub"]["findings"]) == ({"acked_absent": 1}, {"damaged": 1})
    assert everything(world) == before
    assert world.cli(*damaged).json == ran.json
    assert everything(world) != before


def test_both_checks_at_once_keep_no_result_either(world: World, damaged: list[str]) -> None:
    world.sql("DELETE FROM lis_live_images LIMIT 1")
    before = everything(world)
    ran = world.cli("check", "--all", "--country", "uk", "--dry-run", "--json")
    assert (ran.code, ran.json["uk live table"]["findings"]) == (1, {"not_published": 1})
    scanned = world.cli("db-scan", "uk", "--dry-run", "--json").json
    assert scanned["uk live table"] == ran.json["uk live table"]
    assert everything(world) == before


def test_a_purge_in_all_its_phases_writes_nothing(world: World, live: Entries) -> None:
    """Some images are due, some wait for their grace to end, of some it has ended, and one of those is listed again."""
    world.reconfigure(purge={**GENEROUS, "retention_days": 0, "grace_hours": 24})
    listings, _ = first_listings(live, 4)
    world.sandbox.etl.remove("uk", listings[:3])
    assert world.cli("purge", "uk").code == 0
    shown = sa.select(lis_listing_images.c.image_hash).where(lis_listing_images.c.listing_id.in_(listings[:2]))
    over = sa.update(lis_images).where(lis_images.c.state == "purged", lis_images.c.image_hash.in_(shown))
    world.write_all(world.ctx.db, [over.values(next_attempt_at="2026-01-01")])
    world.seed(40)
    world.sandbox.etl.remove("uk", listings[1:])
    world.sql("UPDATE lis_listing_images SET missing_since = '2026-01-01' WHERE listing_id = :l", l=listings[3])
    before = everything(world)
    ran = world.cli("purge", "uk", "--dry-run", "--json")
    assert (ran.code, ran.json["refused"]) == (0, "")
    assert min(ran.json[name] for name in ("unpublished", "in_grace", "deleted", "returned")) > 0
    assert everything(world) == before
