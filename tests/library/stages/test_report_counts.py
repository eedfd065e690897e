"""What a report counts: each image of its run once, whatever the run takes again and whatever later runs take over."""

from __future__ import annotations

import sqlalchemy as sa

from imagesys_lib.images.states import State
from imagesys_lib.ops.retry import retry
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.heal import heal
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.report import Summary, render, report
from imagesys_lib.stages.shared.batch import give_back, hold, holder_name, images_in
from include.sandbox import ManifestEntry
from tests.support.world import World

DEAD = "http://127.0.0.11:9/none.jpg"


def run_with_a_dead_photo(world: World) -> tuple[Run, Summary]:
    """A whole run of ten good photos and one of a host that refuses."""
    world.seed(10)
    world.put("bad", DEAD)
    run = world.run()
    return run, world.pipeline(run)


def due_now(world: World) -> None:
    world.sql("UPDATE lis_images SET next_attempt_at = '2026-01-01' WHERE state = 'failed'")


def counted(summary: Summary) -> tuple[int, int, dict[str, int]]:
    return summary.images, summary.left, summary.states


def test_a_daily_run_that_is_forced_counts_what_it_makes_again_once(
    world: World, live: dict[str, ManifestEntry]
) -> None:
    world.reconfigure(process={"quality": 40})
    summary = world.pipeline(world.run(RunKind.BACKFILL, force=True, run_id="live"))
    assert counted(summary) == (40, 0, {"live": 40})
    assert sum(batch.size for batch in plan(world.ctx, world.run(run_id="live"))) == 40
    assert runs.figures(world.ctx.db, "live", "images") == {"": 40}
    assert len(live) == 40


def test_a_cleared_plan_that_takes_a_retry_of_its_own_run_counts_it_once(world: World) -> None:
    run, before = run_with_a_dead_photo(world)
    due_now(world)
    again = world.pipeline(run)
    assert counted(again) == counted(before) == (11, 0, {"live": 10, "failed": 1})
    assert again.batches == before.batches + 1


def test_an_old_runs_report_tells_of_images_that_later_runs_took_on(world: World) -> None:
    run, before = run_with_a_dead_photo(world)
    due_now(world)
    later = world.pipeline()
    assert counted(later) == (1, 0, {"failed": 1})
    cleared = report(world.ctx, run)
    assert counted(cleared) == (11, 1, {"live": 10})
    assert "  11 images in 1 batches: 10 live\n  1 left to later runs: " in render(cleared)
    assert "left to later runs" not in render(before)


def test_what_was_queued_anew_is_left_to_whoever_takes_it_and_counted_once_if_that_is_the_same_run(
    world: World,
) -> None:
    run, before = run_with_a_dead_photo(world)
    assert retry(world.ctx) == 1
    assert counted(report(world.ctx, run)) == (11, 1, {"live": 10})
    assert counted(world.pipeline(run)) == counted(before)


def test_what_heal_released_of_a_run_is_counted_once_if_that_run_takes_it_again(world: World) -> None:
    world.seed(6)
    run = world.run()
    runs.begin(world.ctx.db, run)
    ingest(world.ctx, run)
    plan(world.ctx, run)
    runs.finish(world.ctx.db, run, "failed", {})
    assert heal(world.ctx).images == 6
    assert counted(report(world.ctx, run)) == (6, 6, {})
    assert counted(world.pipeline(run)) == (6, 0, {"live": 6})
    sizes = sa.text("SELECT size FROM lis_batches ORDER BY seq")
    assert [row.size for row in world.rows(sizes)] == [0, 6]


def test_a_forced_run_takes_again_what_it_gave_back(world: World, live: dict[str, ManifestEntry]) -> None:
    run = world.run(RunKind.BACKFILL, force=True)
    runs.begin(world.ctx.db, run)
    (batch,) = plan(world.ctx, run)
    with hold(world.ctx, batch.batch_id, holder_name(), "downloaded") as lease:
        ids = [image.image_id for image in images_in(world.ctx, batch.batch_id, State.RESERVED)]
        give_back(world.ctx, lease, State.RESERVED, ids[:3])
    first, second = plan(world.ctx, run)
    assert (first.size, second.size) == (batch.size - 3, 3)
    assert plan(world.ctx, run) == [first, second]
    assert batch.size < len(live)
