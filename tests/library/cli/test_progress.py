"""How far a long command is: done of a total that is known before it is reached, and a bar of it on a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import re
from importlib import import_module

import pytest

from imagesys_lib.context import Context
from imagesys_lib.errors import EXIT_DONE, EXIT_WORK_LOST
from imagesys_lib.stages.check import check, db_scan, expected
from imagesys_lib.stages.purge import delete, due, lookup, purge
from include.sandbox import ManifestEntry
from tests.library.replication.test_sync import made
from tests.library.stages.test_purge import GENEROUS, first_listings
from tests.support.world import Ran, World

Entries = dict[str, ManifestEntry]
Told = list[tuple[int, int]]


def listening(world: World) -> tuple[Context, Told]:
    reported: Told = []
    return world.context(progress=lambda done, total: reported.append((done, total))), reported


@pytest.mark.parametrize("rotate_above", [0, 20_000])
def test_a_purge_by_hand_knows_how_much_there_is_to_look_up_to_unpublish_and_to_delete(
    world: World, live: Entries, rotate_above: int
) -> None:
    world.reconfigure(purge={**GENEROUS, "retention_days": 0, "rotate_above": rotate_above})
    listings, urls = first_listings(live, 3)
    world.sandbox.etl.remove("uk", listings)
    for module in (lookup, due, delete):
        world.patch.setattr(module, "CHUNK", 3)
    ctx, reported = listening(world)
    found = purge(ctx)
    assert (found.looked_up, found.unpublished, found.deleted) == (10, len(urls), len(urls))
    assert len(urls) > 4
    assert {total for _, total in reported} == {10, len(urls)}
    assert reported[:4] == [(3, 10), (6, 10), (9, 10), (10, 10)]
    for done in (3, len(urls)):  # two phases, each from its start to its end
        assert reported[4:].count((done, len(urls))) == 2


def test_a_scan_of_the_live_table_is_half_done_when_it_has_seen_every_row(world: World, live: Entries) -> None:
    world.patch.setattr(import_module("imagesys_lib.stages.check.db_scan"), "CHUNK", 10)
    ctx, reported = listening(world)
    assert db_scan(ctx).clean
    shares = [done / total for done, total in reported]
    assert reported[-1] == (80, 80)
    assert (40, 80) in reported
    assert shares == sorted(shares)
    assert shares[0] < 0.3
    assert all(share < 1 for share in shares[:-2])  # its last page is a full one, and one more is asked for


@pytest.mark.parametrize("page", [10, 1000])
def test_a_check_of_a_node_knows_by_the_hash_how_far_it_is(world: World, live: Entries, page: int) -> None:
    world.patch.setattr(expected, "CHUNK", page)
    ctx, reported = listening(world)
    assert check(ctx, "n2").clean
    assert [done for done, _ in reported] == ([20, 40, 60, 80, 80] if page == 10 else [80])
    shares = [done / total for done, total in reported]
    assert shares == sorted(shares)
    assert shares[0] < 0.5 or page == 1000
    assert reported[-1] == (80, 80)


# On a terminal


def on_a_terminal(world: World, *arguments: str, stop_at: str = "") -> Ran:
    """Run the console script with its standard error on a terminal; ``err`` is what was drawn there.

    As soon as ``stop_at`` was drawn it is told to stop.
    """
    world.patch.setenv("TERM", "xterm-256color")
    world.patch.setenv("COLUMNS", "100")
    ours, theirs = pty.openpty()
    child = world.spawn(*arguments, stderr=theirs)
    os.close(theirs)
    drawn = ""
    with os.fdopen(ours, "rb", buffering=0) as screen, contextlib.suppress(OSError):  # none is left that could draw
        while block := screen.read(65536):
            drawn += block.decode("utf-8", "replace")
            if stop_at and stop_at in drawn:
                stop_at = ""
                child.terminate()
    out, _ = child.communicate(timeout=60)
    return Ran(child.returncode, out, drawn)


def assert_drawn_and_gone(drawn: str, label: str) -> None:
    """A bar was drawn; at the end its line is erased, and the cursor is there again."""
    assert label in drawn
    assert "━" in drawn
    last = max(drawn.rindex("━"), drawn.rindex("\x1b[?25l"))
    assert "\x1b[?25h" in drawn[last:]
    assert "\x1b[2K" in drawn[last:]
    assert "Traceback" not in drawn


def test_a_sync_on_a_terminal_draws_a_bar_that_grows_and_goes(world: World) -> None:
    made(world, 40)
    world.configure(transfer={"group_images": 4, "bandwidth_kbps": 150})
    ran = on_a_terminal(world, "sync", "uk", "--node", "n1")
    assert ran.code == EXIT_DONE, ran.err
    assert_drawn_and_gone(ran.err, "uk sync")
    counted = [int(done) for done in re.findall(r"(\d+)/40", ran.err)]
    assert counted == sorted(counted)
    assert len(set(counted)) > 3
    assert counted[-1] == 40
    assert "'pushed': 80" in ran.out
    assert "\x1b" not in ran.out
    assert len(world.tree("n1")) == 80


def test_a_sync_that_is_stopped_leaves_the_terminal_as_it_was(world: World) -> None:
    made(world, 40)
    world.configure(transfer={"group_images": 4, "bandwidth_kbps": 40})
    ran = on_a_terminal(world, "sync", "uk", "--node", "n1", stop_at="/40")
    assert ran.code == EXIT_WORK_LOST
    assert_drawn_and_gone(ran.err, "uk sync")
    assert ran.err.endswith("Stopped; what was held has been given back.\r\n")
