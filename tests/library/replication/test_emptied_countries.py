"""A node that several countries share comes back empty: it is not ready before each of them has looked at it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import yaml

from imagesys_lib.context import Context, open_context
from imagesys_lib.db.upgrade import upgrade
from imagesys_lib.nodes import NodeSession
from imagesys_lib.stages.check import check
from imagesys_lib.stages.repair.repair import repair
from imagesys_lib.stages.sync import sync
from include.sandbox import ManifestEntry
from include.sandbox.environment import write_config
from tests.library.replication.test_emptied_node import is_ready
from tests.support.world import QUICK, World, remove_below, set_connection

Entries = dict[str, ManifestEntry]


@pytest.fixture
def other(world: World) -> Iterator[Context]:
    """Germany, whose tables are made and which has never run; all other countries have no tables."""
    anew = ["DROP SCHEMA IF EXISTS imagesys_de", "CREATE SCHEMA imagesys_de CHARACTER SET utf8mb4"]
    for statement in anew:
        world.sql(statement)
    ctx = open_context("de")
    upgrade(ctx.db, "country")
    yield ctx
    ctx.close()
    for statement in anew:
        world.sql(statement)


def refill(ctx: Context) -> None:
    """Do as a country's daily run does with n2."""
    sync(ctx, "n2")
    check(ctx, "n2")
    repair(ctx, "n2")


def test_a_replaced_disk_is_not_ready_before_every_country_has_refilled_it(
    world: World, live: Entries, other: Context
) -> None:
    refill(other)
    assert is_ready(world, "n2")
    remove_below(world.root("n2"))
    refill(world.ctx)
    assert not is_ready(world, "n2")
    assert [path.name for path in (world.root("n2") / ".imagesys" / "behind").iterdir()] == ["de"]
    repair(other, "n2")  # by hand, before its sync: that it lacks nothing that is known proves nothing
    assert not is_ready(world, "n2")
    refill(other)
    assert is_ready(world, "n2")
    sync(world.ctx, "n2")
    assert is_ready(world, "n2")


def test_a_check_by_hand_says_so_for_every_country(world: World, live: Entries, other: Context) -> None:
    refill(other)
    remove_below(world.root("n2"))
    check(world.ctx, "n2", dry_run=True)
    assert not (world.root("n2") / ".imagesys" / "behind").exists()
    check(world.ctx, "n2")
    repair(world.ctx, "n2")
    assert not is_ready(world, "n2")


def test_a_country_that_was_never_given_anything_keeps_no_node_from_being_ready(
    world: World, live: Entries, other: Context
) -> None:
    remove_below(world.root("n2"))
    refill(world.ctx)
    assert is_ready(world, "n2")


def test_a_country_whose_folders_are_there_is_not_doubted(world: World, live: Entries, other: Context) -> None:
    refill(other)
    remove_below(world.root("n2") / "uk")
    refill(world.ctx)
    assert is_ready(world, "n2")


def test_a_country_that_cannot_be_asked_counts_as_behind(world: World, live: Entries, other: Context) -> None:
    refill(other)
    set_connection(world, "IMAGESYS_DB", port=1)  # of all other countries; this one's is open already
    remove_below(world.root("n2"))
    refill(world.ctx)
    assert not is_ready(world, "n2")


@pytest.mark.parametrize(
    "away",
    ["the node", *(pytest.param(away, marks=pytest.mark.long) for away in ("the country", "the node by another name"))],
)
def test_a_country_that_is_brought_to_a_node_no_more_does_not_keep_it_from_being_ready(
    world: World, live: Entries, other: Context, away: str
) -> None:
    remove_below(world.root("n2"))
    refill(other)
    refill(world.ctx)
    with NodeSession(world.ctx.node("n2")) as node:
        node.set_behind("de", True)
    sync(world.ctx, "n2")
    assert not is_ready(world, "n2")
    nodes = ["n1", "other" if away == "the node by another name" else "n3"]
    world.patch.setenv("AIRFLOW_CONN_OTHER", os.environ["AIRFLOW_CONN_N2"])
    file = write_config(world.sandbox.settings, QUICK, {"de": {"nodes": nodes, "quorum": 1}})
    if away == "the country":
        countries = yaml.safe_load(file.read_text())
        del countries["countries"]["de"]
        file.write_text(yaml.safe_dump(countries))
    sync(world.ctx, "n2")
    assert is_ready(world, "n2") is (away != "the node by another name")


def test_what_else_lies_among_the_marks_is_left_alone_and_keeps_no_node_from_being_ready(
    world: World, live: Entries
) -> None:
    with NodeSession(world.ctx.node("n2")) as node:
        node.set_behind("uk", True)
    stranger = world.root("n2") / ".imagesys" / "behind" / ".nfs 0001"
    stranger.touch()
    sync(world.ctx, "n2")
    assert is_ready(world, "n2")
    assert stranger.exists()
