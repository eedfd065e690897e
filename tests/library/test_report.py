"""The report over a real run: what it reads from the database, and that made again it tells the truth again."""

from __future__ import annotations

import json
import time

import sqlalchemy as sa

from imagesys_lib import runs
from imagesys_lib.db.schema import lis_batches, lis_images, lis_runs
from imagesys_lib.runs import Kind, Run
from imagesys_lib.stages.download import download
from imagesys_lib.stages.heal import heal
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.report import kept, render, report
from imagesys_lib.stages.report.digest import last_run
from imagesys_lib.stages.sync import sync
from imagesys_lib.stages.thumbnail import thumbnail
from include.sandbox import ManifestEntry
from tests.world import NODES, World

Entries = dict[str, ManifestEntry]


def given_up(world: World, prefix: str) -> None:
    """A batch of ten whose run has ended without it."""
    world.new_images(10, f"http://127.0.0.11:1/{prefix}")
    run = world.run()
    runs.begin(world.ctx.db, run)
    plan(world.ctx, run)
    runs.finish(world.ctx.db, run, "failed", {})


def test_what_heal_put_right_is_counted_for_its_run_and_a_cleared_heal_adds_only_what_it_did(world: World) -> None:
    run = world.run()
    runs.begin(world.ctx.db, run)
    given_up(world, "a")
    assert heal(world.ctx, run).images == 10
    assert heal(world.ctx, run).images == 0  # cleared
    assert runs.figures(world.ctx.db, run.run_id, "heal.") == {"batches": 1, "images": 10}
    world.sql("DELETE FROM lis_images")
    given_up(world, "b")
    heal(world.ctx, run)

    text = render(report(world.ctx, run))

    assert "  healed: 2 batches\n  healed: 20 images\n" in text
    assert text.count("healed:") == 2
    assert runs.figures(world.ctx.db, world.run().run_id, "heal.") == {}


def test_bytes_saved_are_those_of_the_runs_own_images_that_have_thumbnails(world: World, live: Entries) -> None:
    world.put("bad", "http://127.0.0.11:9/none.jpg")
    summary = world.pipeline(world.run(Kind.MANUAL, force=True))  # one day of several

    own = sa.select(lis_batches.c.batch_id).where(lis_batches.c.run_id == summary.run_id)
    rows = world.rows(sa.select(lis_images).where(lis_images.c.batch_id.in_(own), lis_images.c.state == "live"))
    assert 0 < len(rows) < len(live)
    assert summary.images == len(rows) + 1
    assert summary.weights is not None
    assert summary.weights.images == len(rows)
    assert summary.weights.originals == sum(row.source_bytes for row in rows)
    assert summary.weights.thumbnails == sum(
        (world.root("n1") / thumb["path"]).stat().st_size for row in rows for thumb in row.thumbs
    )
    assert f"{len(rows)} originals of" in render(summary)
    assert world.pipeline(world.run(Kind.MANUAL)).weights is None  # nothing was made


def test_free_space_of_nodes_and_staging_is_kept_and_shown(world: World) -> None:
    world.seed(4)
    run = world.run()
    summary = world.pipeline(run)
    assert list(summary.disks) == ["staging", *NODES]
    assert all(disk.free_bytes > 0 and disk.full_in_days is None for disk in summary.disks.values())
    assert runs.figures(world.ctx.db, run.run_id, "free.").keys() == {"staging", *NODES}
    assert "disk left: staging" in render(summary)


def test_a_node_that_is_behind_has_its_lag_in_images_and_hours(world: World) -> None:
    world.seed(4)
    world.sandbox.nodes.stop_node("n2")
    run = world.run()
    world.pipeline(run)
    world.sql("UPDATE lis_changes SET created_at = TIMESTAMPADD(MINUTE, -90, created_at)")
    summary = report(world.ctx, run)
    assert (summary.nodes["n2"].backlog, summary.nodes["n2"].behind_hours) == (4, 1.5)
    assert summary.nodes["n1"].behind_hours is None
    assert "4 images behind (the oldest for 1.5 h)" in render(summary)
    assert "n2" not in summary.disks  # nobody could look


def past(world: World, kind: Kind = Kind.SCHEDULED, *, days: int = 1, **figures: int) -> Run:
    """A run of some days ago that ended with these figures (``__`` for a dot)."""
    run = world.run(kind, run_id=f"{kind.value}-{days}")
    runs.begin(world.ctx.db, run)
    runs.finish(world.ctx.db, run, "success", {})
    runs.set_figures(world.ctx.db, run.run_id, {name.replace("__", "."): value for name, value in figures.items()})
    for table, column in (("lis_runs", "started_at"), ("lis_metrics", "measured_at")):
        world.sql(
            f"UPDATE {table} SET {column} = TIMESTAMPADD(DAY, :d, {column}) WHERE run_id = :r", d=-days, r=run.run_id
        )
    return run


def test_a_run_is_compared_with_the_last_seven_of_its_kind_that_had_their_report(world: World) -> None:
    for days in range(9, 1, -1):  # eight: the oldest is no longer looked at
        past(world, days=days, images=100 * (10 if days == 9 else 1), state__live=100, free__staging=days * 2**40)
    past(world, Kind.BACKFILL, days=1, images=9999)
    broken = world.run(run_id="broken")
    runs.begin(world.ctx.db, broken)
    runs.finish(world.ctx.db, broken, "failed", {"error": "x"})
    run = world.run()
    runs.begin(world.ctx.db, run)
    runs.mark_ingested(world.ctx.db, run)

    summary = report(world.ctx, run)

    assert summary.earlier_runs == 7
    assert (summary.medians["images"], summary.medians["state.live"]) == (100, 100)
    assert summary.lost == []  # unusual is not lost
    assert summary.anomalies[:2] == [
        "images: 0, where 7 earlier scheduled runs had 100 (median)",
        "live: 0, where 7 earlier scheduled runs had 100 (median)",
    ]
    assert summary.anomalies[2].startswith("disk of staging: down to its floor in ")
    assert "UNUSUAL:" in render(summary)
    row = world.rows(sa.select(lis_runs).where(lis_runs.c.run_id == run.run_id))[0]
    assert row.state == "success"
    assert kept(row) == summary
    assert json.loads(json.dumps(summary.as_json())) == row.summary
    assert report(world.ctx, run) == kept(runs.load(world.ctx.db, run.run_id))  # its own figures are no past ones


def test_a_first_run_is_compared_with_nothing(world: World) -> None:
    past(world, days=2, images=500)
    past(world, days=1, images=500)
    summary = report(world.ctx, world.run())
    assert (summary.medians, summary.anomalies) == ({}, [])


def test_a_loss_that_was_mended_by_other_hands_is_gone_when_the_report_alone_is_made_again(world: World) -> None:
    world.seed(60)
    world.sandbox.nodes.stop_node("n2")
    run = world.run()
    assert len(world.pipeline(run).lost) == 1
    world.sql(
        "UPDATE lis_images SET state = 'reserved', change_id = NULL, desired = 'none' "
        "WHERE image_id IN (SELECT * FROM (SELECT MIN(image_id) FROM lis_images GROUP BY batch_id) AS first)"
    )
    lost = report(world.ctx, run, ["process.download[0]", "sync[n2]", "publish"]).lost
    assert [loss.partition(" is ")[0] for loss in lost[:3]] == ["Batch 0", "Batch 1", "Node n2"]
    assert lost[3].startswith("Task publish failed")
    assert runs.load(world.ctx.db, run.run_id).state == "failed"

    world.sandbox.nodes.start_node("n2")
    for batch in plan(world.ctx, run):
        download(world.ctx, batch.batch_id)
        thumbnail(world.ctx, batch.batch_id)
    for name in NODES:
        sync(world.ctx, name)
    still = report(world.ctx, run, ["process.download[0]", "sync[n2]", "publish"]).lost
    assert len(still) == 1  # the database knows that all is done, but not what else publish did not do
    assert still[0].startswith("Task publish failed")
    assert report(world.ctx, run, ["process.download[0]", "sync[n2]"]).lost == []
    assert runs.load(world.ctx.db, run.run_id).state == "success"
    assert world.scalar(sa.select(sa.func.count()).select_from(lis_images)) == 60


def test_the_last_run_is_read_as_its_report_left_it_and_silence_is_marked(world: World) -> None:
    assert last_run(world.ctx) is None
    assert world.cli("report", "--country", "uk").out == "UK: no run has ended yet\n"
    world.seed(4)
    summary = world.pipeline(world.run())
    time.sleep(0.01)
    runs.begin(world.ctx.db, world.run(run_id="under way"))

    found = last_run(world.ctx)
    assert found is not None
    assert (found.day, found.state, found.lost, found.unusual) == ("2026-03-28", "success", [], [])
    assert found.summary == summary
    assert world.cli("report", "--country", "uk").out == render(summary) + "\n"
    assert world.cli("report", "--country", "uk", "--json").json[0]["summary"]["images"] == summary.images

    world.sql("UPDATE lis_runs SET finished_at = TIMESTAMPADD(HOUR, -40, finished_at)")
    silent = last_run(world.ctx)
    assert silent is not None
    assert silent.unusual == ["no run has ended for 40 hours"]


def test_a_run_that_broke_off_is_told_with_its_error(world: World) -> None:
    run = world.run()
    runs.begin(world.ctx.db, run)
    runs.finish(world.ctx.db, run, "failed", {"error": "the ETL is away"})
    found = last_run(world.ctx)
    assert found is not None
    assert (found.summary, found.lost) == (None, [f"run {run.run_id} broke off: the ETL is away"])
    assert world.cli("report", "--country", "uk").out == f"UK: run {run.run_id} broke off: the ETL is away\n"
