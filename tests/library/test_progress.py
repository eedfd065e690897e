"""How far a long command is: done of a total that is known before it is reached."""

from __future__ import annotations

from importlib import import_module

import pytest

from imagesys_lib.context import Context
from imagesys_lib.stages.check import db_scan
from imagesys_lib.stages.purge import delete, due, lookup, purge
from include.sandbox import ManifestEntry
from tests.library.test_purge import GENEROUS, first_listings
from tests.world import World

Entries = dict[str, ManifestEntry]
Told = list[tuple[int, int]]


def listening(world: World) -> tuple[Context, Told]:
    told: Told = []
    return world.context(progress=lambda done, total: told.append((done, total))), told


@pytest.mark.parametrize("rotate_above", [0, 20_000])
def test_a_purge_by_hand_knows_how_much_there_is_to_look_up_to_unpublish_and_to_delete(
    world: World, live: Entries, rotate_above: int
) -> None:
    world.reconfigure(purge={**GENEROUS, "retention_days": 0, "rotate_above": rotate_above})
    listings, urls = first_listings(live, 3)
    world.sandbox.etl.remove("uk", listings)
    for module in (lookup, due, delete):
        world.patch.setattr(module, "CHUNK", 3)
    ctx, told = listening(world)
    found = purge(ctx)
    assert (found.looked_up, found.unpublished, found.deleted) == (10, len(urls), len(urls))
    assert len(urls) > 4
    assert {total for _, total in told} == {10, len(urls)}
    assert told[:4] == [(3, 10), (6, 10), (9, 10), (10, 10)]
    for done in (3, len(urls)):  # two phases, each from its start to its end
        assert told[4:].count((done, len(urls))) == 2


def test_a_scan_of_the_live_table_is_half_done_when_it_has_seen_every_row(world: World, live: Entries) -> None:
    world.patch.setattr(import_module("imagesys_lib.stages.check.db_scan"), "CHUNK", 10)
    ctx, told = listening(world)
    assert db_scan(ctx).clean
    shares = [done / total for done, total in told]
    assert told[-1] == (80, 80)
    assert (40, 80) in told
    assert shares == sorted(shares)
    assert shares[0] < 0.3
    assert all(share < 1 for share in shares[:-2])  # its last page is a full one, and one more is asked for
