"""The benchmark of tables by size: what it says of a size that it has not measured, what heal reads of one."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa

from benchmarks.ops_scale import tables
from benchmarks.ops_scale.__main__ import COUNTRY_IMAGES, extended
from imagesys_lib.stages.heal import Healed, heal
from tests.support.world import World


def test_a_line_that_rises_is_followed_and_one_that_falls_promises_nothing() -> None:
    rising = [(100_000, 1.0), (300_000, 1.2), (1_000_000, 1.9)]
    assert extended(rising) == pytest.approx(0.9 + COUNTRY_IMAGES / 1_000_000)
    assert extended([(100_000, 0.86), (300_000, 0.78), (1_000_000, 0.75)]) == 0.86
    assert extended([(100_000, 0.78), (300_000, 0.86), (1_000_000, 0.78)]) == 0.86


def hours_from_now(world: World, hours: int) -> dt.datetime:
    now: dt.datetime = world.scalar(sa.select(sa.func.utc_timestamp(6)))
    return now + dt.timedelta(hours=hours)


def test_what_heal_reads_does_not_grow_with_the_failed_images_that_wait_for_a_later_day(world: World) -> None:
    with world.sandbox.mariadb.connect("imagesys", "imagesys_uk") as connection:
        tables.fill(connection, 20_000)
        soon = sa.text("SELECT COUNT(*) FROM lis_images WHERE state = 'failed' AND next_attempt_at < :then")
        assert world.scalar(soon.bindparams(then=hours_from_now(world, 48))) > 100
        assert world.scalar(soon.bindparams(then=hours_from_now(world, 1))) == 0
        before = tables.rows_read(connection)
        assert heal(world.ctx) == Healed()
        assert tables.rows_read(connection) - before < 100
