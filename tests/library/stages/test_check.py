"""Check and repair: every difference between files and database named, and put right from where the truth still is."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.db.engine import write
from imagesys_lib.db.schema import lis_images, lis_live_images, lis_node_checks, lis_node_repairs
from imagesys_lib.images.hash_and_path import lis_hash_for_url, lis_path_for_hash, thumbnail_path
from imagesys_lib.images.states import Desired, State
from imagesys_lib.nodes import NodeFault, NodeSession
from imagesys_lib.replication.node_records import latest_check
from imagesys_lib.stages.check import check, daily_part, db_scan, expected_on, stat_images
from imagesys_lib.stages.check.db_scan import LIVE_TABLE
from imagesys_lib.stages.check.parts import of_day
from imagesys_lib.stages.purge.delete import delete_files
from imagesys_lib.stages.purge.rules import Cutoffs, PurgeRule
from imagesys_lib.stages.purge.unpublish import unpublish
from imagesys_lib.stages.repair import repair as repair_module
from imagesys_lib.stages.repair.repair import Repaired, repair
from imagesys_lib.stages.sync import sync
from include.sandbox import ManifestEntry
from tests.support.trees import assert_equal_nodes
from tests.support.world import DAY, NODES, World

Entries = dict[str, ManifestEntry]


@pytest.fixture
def paths(live: Entries) -> list[str]:
    """The live files, below a node's root, in order."""
    return sorted(thumbnail_path("uk", lis_hash_for_url(url), n) for url in live for n in (1, 2))


def age(file: Path, hours: float) -> None:
    os.utime(file, (time.time() - hours * 3600,) * 2)


def stray(world: World, node: str, below: str, hours: float) -> Path:
    file = world.root(node) / "uk" / below
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"stray")
    age(file, hours)
    return file


def found_long_ago(world: World) -> None:
    """Have what checks have marked be marked for longer than any grace."""
    world.sql("UPDATE lis_node_repairs SET since = TIMESTAMPADD(HOUR, -48, since)")


def marked(world: World) -> set[tuple[str, str]]:
    return {(row.node, row.reason) for row in world.rows(sa.select(lis_node_repairs))}


def test_every_difference_is_named_and_repaired_and_nothing_else_is_touched(world: World, paths: list[str]) -> None:
    good = world.equal_trees()
    root = world.root("n2")
    (root / paths[0]).unlink()
    with (root / paths[5]).open("ab") as file:
        file.write(b"x")
    (root / paths[9]).write_bytes(b"")
    h = "f" * 40
    old = stray(world, "n2", f"f/f/f/{h[3:]}.1.jpg", 48)
    young = stray(world, "n2", f"f/f/f/{h[3:]}.2.jpg", 1)
    strange = [
        stray(world, "n2", below, 48)
        for below in ("README", "f/f/f/line\nbreak.jpg", "f/f/f/tab\t.jpg", "f/f/f/\udcff.jpg", paths[3][3:] + ".bak")
    ]
    leftover = stray(world, "n2", "f/f/f/.x.1.jpg.Ab12Cd", 48)

    found = check(world.ctx, "n2", "run-1")
    assert found.findings == {"acked_absent": 1, "wrong_size": 2, "extra": 2, "impossible_name": 5, "leftover": 1}
    assert found.files == 80 - 1 + 2 + 5 + 1
    assert found.samples["acked_absent"] == [paths[0].removeprefix("uk/")]
    assert found.samples["wrong_size"] == [paths[5].removeprefix("uk/"), paths[9].removeprefix("uk/")]
    assert "README" in found.samples["impossible_name"]
    row = latest_check(world.ctx.db, "n2", "run-1")
    assert (row.findings, row.samples) == (dict(found.findings), found.samples)
    assert (row.kind, row.part, row.files, found.absent) == ("full", "all", found.files, 1)

    assert repair(world.ctx, "n2", dry_run=True).restored >= 2
    assert not (root / paths[0]).exists()
    found_long_ago(world)
    done = repair(world.ctx, "n2")
    assert (done.deleted, done.requeued) == (1, 0)
    assert {path: digest for path, digest in world.tree("n2").items() if path in good} == good
    assert not old.exists()
    assert young.exists()  # spared: an upload may be under way
    assert all(file.exists() for file in (*strange, leftover))  # named, never deleted
    assert marked(world) == set()
    for name in ("n1", "n3"):
        assert world.tree(name) == good
        assert check(world.ctx, name).clean

    age(young, 48)
    check(world.ctx, "n2")
    found_long_ago(world)
    repair(world.ctx, "n2")
    assert not young.exists()
    assert check(world.ctx, "n2").findings.keys() == {"impossible_name", "leftover"}
    for file in (*strange, leftover):  # somebody has looked at them
        file.unlink()
    assert assert_equal_nodes(world).keys() == set(paths)


Kept = dict[sa.Table, list[dict[str, object]]]


def forget(world: World, hashes: list[str]) -> Kept:
    """Take images out of the database; returns their rows."""
    kept: Kept = {
        table: [dict(row._mapping) for row in world.rows(sa.select(table).where(table.c.image_hash.in_(hashes)))]
        for table in (lis_images, lis_live_images)
    }
    world.write_all(world.ctx.db, [table.delete().where(table.c.image_hash.in_(hashes)) for table in reversed(kept)])
    return kept


def remember(world: World, kept: Kept) -> None:
    """Put them back."""
    world.write_all(world.ctx.db, [table.insert().values(rows) for table, rows in kept.items()])


def test_a_database_that_lags_behind_the_nodes_costs_no_file_within_the_grace_period(
    world: World, live: Entries
) -> None:
    """What a replica that is behind would answer: the newest images are not known yet, though nodes have them."""
    good = world.equal_trees()
    newest = sorted(lis_hash_for_url(url) for url in live)[:10]
    kept = forget(world, newest)
    assert [len(rows) for rows in kept.values()] == [10, 10]
    for name in NODES:
        assert check(world.ctx, name).findings == {"extra": 20}
        assert repair(world.ctx, name) == Repaired()
    assert world.equal_trees() == good

    remember(world, kept)
    assert all(check(world.ctx, name).clean for name in NODES)
    assert world.equal_trees() == good
    assert assert_equal_nodes(world).keys() == good.keys()


@pytest.mark.parametrize("when", ["before the repair", "while it is under way"])
def test_extra_files_that_the_database_knows_again_when_it_is_read_again_are_not_deleted(
    world: World, live: Entries, when: str
) -> None:
    """A replica may lag for longer than the grace period: what a check has marked is only what the repair looks at."""
    good = world.equal_trees()
    newest = sorted(lis_hash_for_url(url) for url in live)[:10]
    kept = forget(world, newest)
    for path in good:
        if path[3:].replace("/", "")[:40] in newest:
            age(world.root("n2") / path, 48)
    assert check(world.ctx, "n2").findings == {"extra": 20}
    assert marked(world) == {("n2", "extra")}
    found_long_ago(world)
    assert repair(world.ctx, "n2", dry_run=True).deleted == 20  # as long as the database does not know them

    if when == "before the repair":
        remember(world, kept)
    else:

        def at_the_last_moment(*arguments: Any) -> Any:
            if kept:
                remember(world, kept)
                kept.clear()
            return expected_on(*arguments)

        world.patch.setattr(repair_module, "expected_on", at_the_last_moment)
    assert repair(world.ctx, "n2").deleted == 0
    assert world.equal_trees() == good
    assert marked(world) == set()
    assert check(world.ctx, "n2").clean
    assert assert_equal_nodes(world).keys() == good.keys()


def test_a_file_is_brought_back_only_from_a_peer_whose_copy_is_right(world: World, paths: list[str]) -> None:
    good = world.equal_trees()
    (world.root("n1") / paths[0]).unlink()
    broken = world.root("n2") / paths[0]
    broken.write_bytes(bytes(len(broken.read_bytes())))  # the same size, other bytes
    check(world.ctx, "n1")
    assert repair(world.ctx, "n1") == Repaired(restored=1)
    assert world.tree("n1") == good


def test_staging_is_the_first_place_to_look(world: World, paths: list[str]) -> None:
    good = world.equal_trees()
    number_two = paths[0].replace(".1.jpg", ".2.jpg")
    for path in (paths[0], number_two):
        kept = world.staging / "out" / path
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes((world.root("n1") / path).read_bytes())
    for name in NODES:
        (world.root(name) / paths[0]).unlink()
    for name in ("n2", "n3"):
        world.sandbox.nodes.stop_node(name)
    check(world.ctx, "n1")
    assert repair(world.ctx, "n1") == Repaired(restored=1)
    assert world.tree("n1") == good


def test_an_image_that_no_node_has_is_unpublished_and_made_again(world: World, live: Entries, paths: list[str]) -> None:
    good = world.equal_trees()
    for name in NODES:
        (world.root(name) / paths[0]).unlink()
        check(world.ctx, name)
    h = paths[0][3:].replace("/", "")[:40]
    url = next(url for url in live if lis_hash_for_url(url) == h)
    assert repair(world.ctx, "n1") == Repaired(requeued=1)
    assert url not in world.live()
    assert world.images()[url].state == "new"
    for name in ("n2", "n3"):
        repair(world.ctx, name)
    world.forget_requests()
    assert world.pipeline().lost == []
    assert sum(world.requests().values()) == 1
    assert url in world.live()
    assert world.equal_trees() == good
    assert marked(world) == set()


def test_while_a_peer_is_away_nothing_is_given_up(world: World, live: Entries, paths: list[str]) -> None:
    for name in ("n1", "n2"):
        (world.root(name) / paths[0]).unlink()
    world.sandbox.nodes.stop_node("n3")
    check(world.ctx, "n1")
    assert repair(world.ctx, "n1") == Repaired(waiting=1)
    assert marked(world) == {("n1", "missing")}
    assert world.live().keys() == live.keys()
    world.sandbox.nodes.start_node("n3")
    assert repair(world.ctx, "n1") == Repaired(restored=1)


def test_a_node_that_comes_back_empty_is_refilled_and_nothing_is_purged(world: World, live: Entries) -> None:
    good = world.equal_trees()
    for path in world.root("n2").rglob("*.jpg"):
        path.unlink()
    assert check(world.ctx, "n2").findings == {"acked_absent": 80}
    assert repair(world.ctx, "n2").restored == 40
    assert world.equal_trees() == good
    assert world.live().keys() == live.keys()
    (world.root("n3") / "uk").rename(world.root("n3") / "elsewhere")
    found = check(world.ctx, "n3")
    assert (found.files, found.findings) == (0, {"acked_absent": 80})


def test_what_sync_has_still_to_do_is_not_counted_as_wrong(world: World, live: Entries) -> None:
    h = lis_hash_for_url(next(iter(live)))
    world.sql("DELETE FROM lis_listing_images WHERE image_hash = :h", h=h)
    now = world.scalar(sa.select(sa.func.utc_timestamp(6)))
    cut = Cutoffs(now)
    assert write(world.ctx.db, lambda s: unpublish(s, [h], PurgeRule.UNLISTED, cut, grace_hours=0)) == 1
    assert all(check(world.ctx, name).clean for name in NODES)  # while they wait, files belong where they are
    ids = [row.image_id for row in world.images().values() if row.image_hash == h]
    assert write(world.ctx.db, lambda connection: delete_files(connection, ids, cut)) == ids
    assert all(check(world.ctx, name).clean for name in NODES)
    sync(world.ctx, "n1")
    assert check(world.ctx, "n1").clean
    # Once applied, a file that stays is extra.
    file = stray(world, "n1", thumbnail_path("uk", h, 1)[3:], 48)
    assert check(world.ctx, "n1").findings == {"extra": 1}
    found_long_ago(world)
    assert repair(world.ctx, "n1").deleted == 1
    assert not file.exists()


def test_only_what_is_regular_counts_as_a_file(world: World, live: Entries) -> None:
    h = "e" * 40
    folder = world.root("n1") / "uk" / "e/e/e"
    folder.mkdir(parents=True)
    (folder / f"{h[3:]}.1.jpg").mkdir()
    (folder / f"{h[3:]}.2.jpg").symlink_to("/etc/passwd")
    (folder / f"{h[3:]}.3.jpg").touch()
    with NodeSession(world.ctx.node("n1")) as node:
        assert [entry.path[-6:] for entry in stat_images(node, "uk", [h])] == [".3.jpg"]
        with node.listing("uk") as listing:
            assert len(listing.read().split(b"\0")) == 84
        with node.listing("uk", "e/e/e") as listing:
            names = [f"e/e/e/{h[3:]}.{end}" for end in ("1.jpg\td", "2.jpg\tl", "3.jpg\t0")]
            assert listing.read() == "".join(f"{name}\0" for name in names).encode()
        with node.listing("de") as listing:
            assert listing.read() == b""
    found = check(world.ctx, "n1")
    assert (found.findings, found.files) == ({"extra": 1, "not_a_file": 2}, 81)


def test_a_node_that_cannot_be_reached_is_a_fault_not_a_finding(world: World, live: Entries) -> None:
    world.sandbox.nodes.stop_node("n2")
    with pytest.raises(NodeFault, match="unreachable"):
        check(world.ctx, "n2")
    assert (
        world.rows(sa.select(lis_node_checks).where(lis_node_checks.c.node == "n2", lis_node_checks.c.run_id.is_(None)))
        == []
    )
    world.sql("INSERT INTO lis_node_repairs VALUES ('n2', :h, 'missing', UTC_TIMESTAMP(6))", h="a" * 40)
    with pytest.raises(NodeFault, match="unreachable"):
        repair(world.ctx, "n2")


def test_what_a_node_never_acknowledged_is_told_from_what_it_said_to_have(world: World, live: Entries) -> None:
    one, two = (lis_hash_for_url(url) for url in list(live)[:2])
    for h in (one, two):
        for n in (1, 2):
            (world.root("n1") / thumbnail_path("uk", h, n)).unlink()
    world.sql("INSERT INTO lis_changes (change_id, created_at) VALUES (900, UTC_TIMESTAMP(6))")
    world.sql("UPDATE lis_images SET change_id = 900 WHERE image_hash = :h", h=one)
    assert check(world.ctx, "n1").findings == {"acked_absent": 2}  # the other is still to come: no fault

    world.sql("UPDATE lis_changes SET created_at = UTC_TIMESTAMP(6) - INTERVAL 3 DAY WHERE change_id = 900")
    found = check(world.ctx, "n1")
    assert found.findings == {"acked_absent": 2, "missing": 2, "live_unacknowledged": 1}
    assert found.samples["live_unacknowledged"] == [lis_path_for_hash(one)]
    assert found.samples["missing"] == [thumbnail_path("uk", one, n)[3:] for n in (1, 2)]
    assert check(world.ctx, "n2").findings == {"live_unacknowledged": 1}  # the files are there, nobody has said so

    world.sql("UPDATE lis_changes SET settled_at = UTC_TIMESTAMP(6) WHERE change_id = 900")  # by other nodes alone
    assert check(world.ctx, "n1").findings == {"acked_absent": 2, "missing": 2}
    repair(world.ctx, "n1")
    assert check(world.ctx, "n1").clean
    world.equal_trees()


def test_an_image_that_a_sync_set_aside_was_never_there(world: World, live: Entries) -> None:
    h = lis_hash_for_url(next(iter(live)))
    (world.root("n1") / thumbnail_path("uk", h, 1)).unlink()
    world.sql("INSERT INTO lis_node_repairs VALUES ('n1', :h, 'not_staged', UTC_TIMESTAMP(6))", h=h)
    for _ in range(2):  # the check itself must not make it look otherwise to the next one
        assert check(world.ctx, "n1").findings == {"missing": 1}
    assert marked(world) == {("n1", "not_staged")}
    assert repair(world.ctx, "n1") == Repaired(restored=1)


def test_a_part_sees_its_own_folders_alone(world: World, paths: list[str]) -> None:
    root = world.root("n2")
    part = of_day(DAY)
    mine = [path for path in paths if any(path.startswith(f"uk/{folder.path}/") for folder in part.folders)]
    other = next(path for path in paths if path not in mine)
    (root / mine[0]).unlink()
    (root / other).unlink()
    stray(world, "n2", f"{mine[0][3]}/README", 48)
    found = check(world.ctx, "n2", "r", part)
    assert (found.files, found.findings) == (len(mine), {"acked_absent": 1, "impossible_name": 1})
    row = latest_check(world.ctx.db, "n2", "r")
    assert (row.kind, row.part) == ("part", part.name)


def test_a_small_country_is_checked_whole_and_a_large_one_by_sevenths(world: World, live: Entries) -> None:
    interval = world.run().interval
    assert daily_part(world.reconfigure(check={"shard_above": 40}), interval).name == "all"
    assert daily_part(world.reconfigure(check={"shard_above": 39}), interval) == of_day(DAY)


def test_the_scan_of_the_live_table_finds_planted_faults(world: World, live: Entries) -> None:
    assert db_scan(world.ctx).findings == {}
    a, b, c, d = (lis_hash_for_url(url) for url in list(live)[:4])
    world.sql("DELETE FROM lis_images WHERE image_hash = :h", h=a)
    world.sql("UPDATE lis_images SET desired = 'absent', state = 'purged' WHERE image_hash = :h", h=b)
    world.sql("DELETE FROM lis_live_images WHERE image_hash = :h", h=c)
    world.sql("UPDATE lis_live_images SET image_data = '{}' WHERE image_hash = :h", h=d)
    found = db_scan(world.ctx, "run-1")
    assert found.findings == {"live_unknown": 2, "not_published": 1, "live_stale": 1}
    assert {kind: set(hashes) for kind, hashes in found.samples.items()} == {
        "live_unknown": {a, b},
        "not_published": {c},
        "live_stale": {d},
    }
    row = latest_check(world.ctx.db, LIVE_TABLE, "run-1")
    assert (row.kind, row.files, row.findings, row.samples) == ("db_scan", 39, dict(found.findings), found.samples)


def test_a_live_row_belongs_to_an_image_that_is_live_or_being_made_again_and_to_no_other(
    world: World, live: Entries
) -> None:
    h = lis_hash_for_url(min(live))
    found = {}
    for state in State:
        for desired in Desired:
            values = {"s": state.value, "d": desired.value, "h": h}
            world.sql("UPDATE lis_images SET state = :s, desired = :d WHERE image_hash = :h", **values)
            scanned = db_scan(world.ctx)
            assert scanned.samples.get("live_unknown", []) == [h] * scanned.findings.total()
            found[state.value, desired.value] = dict(scanned.findings)
    right = {(state, "present") for state in ("live", "new", "reserved", "downloaded", "thumbnailed")}
    assert found == {case: {} if case in right else {"live_unknown": 1} for case in found}


def test_a_live_image_without_thumbnails_in_its_row_is_stale_not_a_crash(world: World, live: Entries) -> None:
    world.write_all(
        world.ctx.db,
        [sa.update(lis_images).where(lis_images.c.image_url == next(iter(live))).values(thumbs=sa.null())],
    )
    assert db_scan(world.ctx).findings == {"live_stale": 1}
