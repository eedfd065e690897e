"""A node that comes back empty, or mostly so: noticed at once, not ready until it is refilled, and refilled whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from uuid import uuid4

import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_node_repairs
from imagesys_lib.images.hash_and_path import lis_hash_for_url, thumbnail_path
from imagesys_lib.replication import readiness
from imagesys_lib.stages import sync as sync_module
from imagesys_lib.stages.check import WHOLE, Part, check, daily_part, fs_check
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.repair import repair as repair_module
from imagesys_lib.stages.repair.repair import Repaired, repair
from imagesys_lib.stages.sync import sync
from include.sandbox import ManifestEntry
from tests.library.replication.test_sync import made
from tests.support.trees import assert_equal_nodes
from tests.support.world import NODES, World, remove_below

Entries = dict[str, ManifestEntry]


@pytest.fixture
def part(world: World, live: Entries) -> Part:
    """The day's part of a country that is so large that a day checks a seventh of it."""
    ctx = world.reconfigure(check={"shard_above": 10})
    part = daily_part(ctx, world.run().interval)
    assert part.name != "all"
    return part


def is_ready(world: World, node: str) -> bool:
    return (world.root(node) / ".imagesys" / "ready").exists()


def marked(world: World, node: str) -> int:
    query = sa.select(sa.func.count()).select_from(lis_node_repairs).where(lis_node_repairs.c.node == node)
    return int(world.scalar(query))


def empty(world: World, node: str, what: str) -> None:
    """Lose a disk in one of the ways in which disks are lost."""
    root = world.root(node)
    if what == "the country":
        shutil.rmtree(root / "uk")
    elif what == "what is in it":
        remove_below(root / "uk")
    elif what == "a part of it":
        shutil.rmtree(next(path for path in sorted((root / "uk").iterdir()) if path.is_dir()))
    else:
        remove_below(root)
    if what in ("all but ready", "the disk, another in its place"):
        (root / ".imagesys").mkdir()
        (root / ".imagesys" / "ready").touch()
    if what == "the disk, another in its place":
        (root / ".imagesys" / "identity").write_text(f"{uuid4()}\n")


@pytest.mark.parametrize(
    "what", ["everything", pytest.param("all but ready", marks=pytest.mark.long), "the disk, another in its place"]
)
def test_an_emptied_node_is_not_ready_from_its_sync_on_and_refilled_whole_by_the_run(
    world: World, part: Part, what: str
) -> None:
    assert is_ready(world, "n2")
    empty(world, "n2", what)
    sync(world.ctx, "n2")
    assert not is_ready(world, "n2")
    lost = 80 - len(world.tree("n2"))
    found = check(world.ctx, "n2", "run", part)
    assert (found.part, found.absent) == ("all", lost)
    assert not is_ready(world, "n2")
    sync(world.ctx, "n2")  # whatever else comes by
    assert not is_ready(world, "n2")
    repair(world.ctx, "n2", limit=1)
    assert not is_ready(world, "n2") or marked(world, "n2") == 0
    repair(world.ctx, "n2")
    assert is_ready(world, "n2")
    assert len(assert_equal_nodes(world)) == 80
    assert check(world.ctx, "n2", "run", part).part == part.name  # and from then on it is one like the others


@pytest.mark.parametrize("what", ["the country", pytest.param("what is in it", marks=pytest.mark.long), "a part of it"])
def test_folders_that_somebody_deleted_are_found_by_the_check_of_them_and_refilled(
    world: World, part: Part, what: str
) -> None:
    empty(world, "n2", what)
    lost = 80 - len(world.tree("n2"))
    sync(world.ctx, "n2")
    found = check(world.ctx, "n2", "run", WHOLE if what == "a part of it" else part)
    assert (found.part, found.absent) == ("all", lost)
    assert not is_ready(world, "n2") or what == "a part of it"
    sync(world.ctx, "n2")
    assert not is_ready(world, "n2")
    repair(world.ctx, "n2")
    assert is_ready(world, "n2")
    assert len(assert_equal_nodes(world)) == 80


@pytest.mark.parametrize("killed_at", ["doubt_others", "update_readiness"])
def test_a_sync_or_check_that_is_killed_is_made_again_and_leaves_nothing_out(
    world: World, part: Part, killed_at: str
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    remove_below(world.root("n2"))
    for module, work in ((readiness, sync), (fs_check, check), (sync_module, sync)):
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(module, killed_at, killed, raising=False)
            work(world.ctx, "n2")
        assert not is_ready(world, "n2")
    sync(world.ctx, "n2")
    check(world.ctx, "n2", "run", part)
    assert not is_ready(world, "n2")
    repair(world.ctx, "n2")
    assert is_ready(world, "n2")
    assert len(assert_equal_nodes(world)) == 80


def test_one_daily_run_brings_an_emptied_node_back(world: World, part: Part) -> None:
    remove_below(world.root("n2"))
    summary = world.pipeline()
    assert summary.lost == []
    assert len(assert_equal_nodes(world)) == 80
    assert is_ready(world, "n2")
    assert part.name != "all"


def test_folders_without_their_files_are_found_by_the_days_part_and_then_the_whole_is_looked_at(
    world: World, part: Part
) -> None:
    for path in (world.root("n2") / "uk").rglob("*.jpg"):
        path.unlink()
    sync(world.ctx, "n2")
    found = check(world.ctx, "n2", "run", part)
    assert (found.kind, found.part, found.absent) == ("full", "all", 80)
    assert not is_ready(world, "n2")
    repair(world.ctx, "n2")
    assert is_ready(world, "n2")
    assert_equal_nodes(world)


def test_a_check_killed_before_its_end_leaves_the_node_unknown(world: World, part: Part) -> None:
    for path in (world.root("n2") / "uk").rglob("*.jpg"):
        path.unlink()
    compare, calls = fs_check._compare, list[int]()

    def killed(*arguments: object, **options: object) -> object:
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return compare(*arguments, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fs_check, "_compare", killed)
        with pytest.raises(KeyboardInterrupt):
            check(world.ctx, "n2", "run", part)
    sync(world.ctx, "n2")
    assert not is_ready(world, "n2")
    assert check(world.ctx, "n2", "run", part).part == "all"


def test_a_node_that_lost_a_few_files_stays_ready_until_a_check_has_seen_it(world: World, part: Part) -> None:
    next((world.root("n2") / "uk").rglob("*.jpg")).unlink()
    sync(world.ctx, "n2")
    assert is_ready(world, "n2")
    assert check(world.ctx, "n2", "run", part).part == part.name


@pytest.mark.parametrize(
    "forgotten",
    [
        # Its change log holds only what is new: what came before it was settled among the others.
        ["lis_nodes WHERE node = 'n2'", "lis_change_acks WHERE node = 'n2'"],
        # Changes are forgotten a month after all nodes had them, and there was none since.
        ["lis_nodes", "lis_change_acks", "lis_changes"],
    ],
    ids=["later", "without news"],
)
def test_a_node_that_joins_is_not_ready_before_it_has_what_the_others_have(
    world: World, part: Part, forgotten: list[str]
) -> None:
    remove_below(world.root("n2"))
    for rows in forgotten:
        world.sql(f"DELETE FROM {rows}")
    sync(world.ctx, "n2")
    assert not is_ready(world, "n2")
    check(world.ctx, "n2", "run", part)
    repair(world.ctx, "n2")
    assert is_ready(world, "n2")
    assert_equal_nodes(world)


def test_a_repair_killed_before_it_could_say_that_the_node_is_ready_says_so_when_it_is_made_again(
    world: World, live: Entries
) -> None:
    remove_below(world.root("n2"))
    check(world.ctx, "n2")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repair_module, "update_readiness", killed)
        with pytest.raises(KeyboardInterrupt):
            repair(world.ctx, "n2")
    assert marked(world, "n2") == 0
    repair(world.ctx, "n2", dry_run=True)
    assert not is_ready(world, "n2")
    repair(world.ctx, "n2")
    assert is_ready(world, "n2")


def test_a_new_node_is_ready_as_soon_as_it_has_caught_up(world: World) -> None:
    made(world, 5)
    for name in NODES:
        sync(world.ctx, name)
        assert is_ready(world, name)
    publish(world.ctx)
    sync(world.ctx, "n1")
    assert is_ready(world, "n1")
    assert_equal_nodes(world)


def test_a_node_by_a_new_name_is_not_ready_before_its_tree_was_looked_at(world: World, live: Entries) -> None:
    path = min(world.tree("n2"))
    (world.root("n2") / path).unlink()
    check(world.ctx, "n2")
    sync(world.ctx, "n2")
    assert not is_ready(world, "n2")
    world.patch.setenv("AIRFLOW_CONN_WEB2", os.environ["AIRFLOW_CONN_N2"])
    ctx = world.reconfigure(nodes=["n1", "web2", "n3"])
    sync(ctx, "web2")
    sync(ctx, "web2")
    assert not is_ready(world, "n2")
    check(ctx, "web2")
    repair(ctx, "web2")
    assert is_ready(world, "n2")
    sync(ctx, "web2")
    assert is_ready(world, "n2")
    assert path in assert_equal_nodes(world)


def test_an_emptied_node_says_so_and_what_to_do(world: World, live: Entries, caplog: pytest.LogCaptureFixture) -> None:
    remove_below(world.root("n2"))
    sync(world.ctx, "n2")
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "UK n2: it was emptied or replaced" in warning
    assert "imagesys fs-check uk --node n2" in warning
    assert world.cli("fs-check", "uk", "--node", "n2").code == 1
    assert world.cli("repair", "uk", "--node", "n2").code == 0
    assert is_ready(world, "n2")
    assert_equal_nodes(world)


def test_an_image_is_not_given_up_because_a_peers_disk_is_not_mounted(world: World, live: Entries) -> None:
    path = thumbnail_path("uk", sorted(map(lis_hash_for_url, live))[0], 1)
    for name in ("n2", "n3"):
        (world.root(name) / path).unlink()
        check(world.ctx, name)
    mounted = world.root("n1")
    elsewhere = mounted.rename(mounted.with_name("elsewhere"))
    mounted.mkdir()
    try:
        assert repair(world.ctx, "n2", dry_run=True) == Repaired(waiting=1)
        assert repair(world.ctx, "n2") == Repaired(waiting=1)
    finally:
        remove_below(mounted)
        mounted.rmdir()
        elsewhere.rename(mounted)
    assert len(world.live()) == 40
    assert [repair(world.ctx, name).restored for name in ("n2", "n3")] == [1, 1]
    assert_equal_nodes(world)


def test_a_node_whose_files_were_not_staged_any_more_is_not_ready_before_a_peer_has_given_them(world: World) -> None:
    paths = made(world, 12)
    sync(world.ctx, "n1")
    sync(world.ctx, "n3")
    publish(world.ctx)
    assert world.count() == {"live": 12}
    for path in paths:
        (world.staging / "out" / path).unlink()
    assert sync(world.ctx, "n2").set_aside == 12
    assert world.tree("n2") == {}
    assert not is_ready(world, "n2")
    sync(world.ctx, "n2")
    check(world.ctx, "n2")
    assert not is_ready(world, "n2")
    assert repair(world.ctx, "n2").restored == 12
    assert is_ready(world, "n2")
    assert len(assert_equal_nodes(world)) == 24


def test_what_no_node_holds_keeps_none_from_being_ready(world: World) -> None:
    for path in made(world, 3):
        (world.staging / "out" / path).unlink()
    world.sync_all()
    assert [is_ready(world, name) for name in NODES] == [True] * 3
    assert world.live() == {}
