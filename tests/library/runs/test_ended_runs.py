"""Runs that end, are cleared in part or begin again: what their rows say is what `heal` and the daily report go by."""

from __future__ import annotations

import pytest

from imagesys_lib.db.engine import write
from imagesys_lib.runs import runs
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.heal import heal
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from tests.library.db.test_database_indexes import BIG, KEPT_BY_RUN, explained, past_runs
from tests.support.world import World


def state(world: World, run_id: str) -> str:
    row = runs.load(world.ctx.db, run_id)
    assert row is not None
    return str(row.state)


def test_a_run_that_is_planned_again_is_under_way_and_no_heal_takes_its_batches(world: World) -> None:
    world.seed(4)
    run = world.run()
    world.pipeline(run)
    assert plan(world.ctx, run)  # nothing is due: it has ended still
    assert state(world, run.run_id) == "success"
    world.new_images(5)
    (batch,) = plan(world.ctx, run)[-1:]  # `plan` cleared with downstream; its download waits for a slot
    assert state(world, run.run_id) == "running"
    heal(world.ctx)
    assert world.count()["reserved"] == 5
    assert download(world.ctx, batch.batch_id)


@pytest.mark.parametrize(("well", "ended"), [(True, "success"), (False, "failed")])
def test_a_run_that_is_over_without_another_report_is_what_its_last_one_said(
    world: World, well: bool, ended: str
) -> None:
    world.seed(4)
    run = world.run()
    world.pipeline(run)
    runs.begin(world.ctx.db, run)  # `preflight` cleared alone
    assert run.run_id in runs.under_way(world.ctx.db)
    write(world.ctx.db, lambda connection: runs.close(connection, run.run_id, well=well))
    row = runs.load(world.ctx.db, run.run_id)
    assert row is not None
    assert (row.state, row.finished_at is not None) == (ended, True)
    assert runs.under_way(world.ctx.db) == []


def test_a_run_that_no_report_has_judged_has_not_ended_well_whoever_says_so(world: World) -> None:
    world.seed(6)
    run = world.run()
    runs.begin(world.ctx.db, run)
    ingest(world.ctx, run)
    (batch,) = plan(world.ctx, run)
    download(world.ctx, batch.batch_id)
    assert heal(world.ctx).batches == 0
    write(world.ctx.db, lambda connection: runs.close(connection, run.run_id, well=True))
    assert state(world, run.run_id) == "failed"
    world.pipeline()  # and so the next run takes its batch over
    assert world.count() == {"live": 6}


def test_a_run_that_has_ended_is_not_closed_again(world: World) -> None:
    run = world.run()
    world.pipeline(run)
    write(world.ctx.db, lambda connection: runs.close(connection, run.run_id, well=False))
    assert state(world, run.run_id) == "success"


def test_those_that_are_under_way_or_have_failed_lately_are_few_of_many_runs(world: World) -> None:
    past_runs(world)
    run = world.run()
    runs.begin(world.ctx.db, run)
    with explained(world.ctx.db, big=BIG | KEPT_BY_RUN) as statements:
        assert runs.under_way(world.ctx.db) == [run.run_id]
        assert runs.failed_lately(world.ctx.db) == []
    assert list(statements.values()) == [[], [], []]
