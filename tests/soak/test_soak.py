"""Simulated days of one country with random faults; at the end every URL's fate must be what the model says.

``make soak`` lives through thirty days; SOAK_DAYS and SOAK_SEED choose others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_batches
from tests.soak.days import QUIET_DAYS, Soak
from tests.soak.model import GONE, Fate
from tests.support.trees import assert_equal_nodes
from tests.support.world import World

_DAYS = int(os.environ.get("SOAK_DAYS", "30"))
_SEED = int(os.environ.get("SOAK_SEED", "1"))


@pytest.mark.long
def test_a_few_days_with_faults_lose_nothing(world: World) -> None:
    faults = ("a worker is killed", "the database restarts", "files are lost", "a node is down")
    live_through(world, len(faults), 3, faults)


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_many_days_with_faults_lose_nothing(world: World) -> None:
    live_through(world, _DAYS, _SEED)


def live_through(world: World, days: int, seed: int, faults: Sequence[str] = ()) -> None:
    """Live through so many days, with these faults or any, and some quiet ones, and compare with the model."""
    soak = Soak(world, seed)
    faults = faults or soak.any_faults(days)
    for fault in faults:
        print(soak.pass_day(fault), flush=True)
    for _ in range(QUIET_DAYS):
        print(soak.pass_day(quiet=True), flush=True)
    soak.wait_for_leases()
    injected = {**soak.events, **soak.faults, "runs that lost work": soak.reds}
    reported = f"seed {seed}, {days} days, {len(soak.entries)} URLs: {injected}; missed: {dict(soak.missed)}"
    print(reported, flush=True)
    assert {fault for fault in faults if not soak.faults[fault]} == set(), reported
    assert wrong(world, soak.model.fates()) == {}
    assert_equal_nodes(world)
    assert world.staged("originals") == world.staged("out") == []
    assert world.rows(sa.select(lis_batches).where(lis_batches.c.holder.is_not(None))) == []


def wrong(world: World, fates: Mapping[str, Fate]) -> dict[str, str]:
    """Return, by URL, what the system says where it is not what must be."""
    images, live = world.images(), world.live()
    return {
        url: f"{fate}, but {_describe(images.get(url), url in live)}"
        for url, fate in fates.items()
        if not _agrees(fate, images.get(url), url in live)
    }


def _agrees(fate: Fate, row: Any, is_live: bool) -> bool:
    if row is None or is_live != fate.live:
        return False
    if fate.live:
        return row.state == "live" and row.desired == "present"
    if fate == GONE:  # whatever it was, its files must be gone and the cause known
        return row.desired != "present" and (row.state == "purged" or row.reason is not None)
    return row.state in ("failed", "rejected") and row.reason in fate.reasons


def _describe(row: Any, is_live: bool) -> str:
    return "unknown" if row is None else f"{row.state}, {row.reason}, desired {row.desired}, live: {is_live}"
