"""The report over a real run: what it reads from the database, and that made again it tells the truth again."""

from __future__ import annotations

import datetime as dt
import json
import time
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from imagesys_lib.config import Breaker
from imagesys_lib.db.schema import lis_batches, lis_images, lis_runs
from imagesys_lib.fetch.politeness import datasources
from imagesys_lib.fetch.politeness.datasources import Tally
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.heal import heal
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.report import NodeState, Summary, broke_off, kept, nodes_alone, render, report
from imagesys_lib.stages.report.digest import last_due, last_run, newest_run
from imagesys_lib.stages.sync import sync
from imagesys_lib.stages.thumbnail import thumbnail
from include.sandbox import ManifestEntry
from tests.support.world import NODES, World

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
    summary = world.pipeline(world.run(RunKind.MANUAL, force=True))  # one day of several

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
    assert world.pipeline(world.run(RunKind.MANUAL)).weights is None  # nothing was made


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


def past(world: World, kind: RunKind = RunKind.SCHEDULED, *, days: int = 1, **figures: int) -> Run:
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
    past(world, RunKind.BACKFILL, days=1, images=9999)
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
    assert world.cli("report", "uk").out == "UK: no run has ended yet\n"
    world.seed(4)
    summary = world.pipeline(world.run())
    time.sleep(0.01)
    runs.begin(world.ctx.db, world.run(run_id="under way"))
    past(world, RunKind.BACKFILL, days=0, images=1)

    found = last_run(world.ctx)
    assert found is not None
    assert (found.day, found.state, found.lost, found.unusual) == ("2026-03-28", "success", [], [])
    assert found.summary == summary
    assert world.cli("report", "uk").out == render(summary) + "\n"
    assert world.cli("report", "uk", "--json").json[0]["summary"]["images"] == summary.images

    world.sql("UPDATE lis_runs SET finished_at = TIMESTAMPADD(HOUR, -40, finished_at)")
    silent = last_run(world.ctx)
    assert silent is not None
    assert silent.unusual == ["no run has ended for 40 hours"]


def test_a_fault_of_a_later_day_is_no_loss_of_a_run_that_went_well(world: World) -> None:
    world.seed(20)
    monday = world.run()
    assert world.pipeline(monday).lost == []
    world.sandbox.nodes.stop_node("n2")
    tuesday = world.run()
    lost = world.pipeline(tuesday).lost  # without an image of its own: its sync alone tells
    assert [loss.partition(".")[0] for loss in lost] == ["Node n2 is behind by 0 images"]
    backfill = world.run(RunKind.BACKFILL)
    runs.begin(world.ctx.db, backfill)
    runs.mark_ingested(world.ctx.db, backfill)
    # What leaves the site tomorrow is no wish of yesterday's run.
    world.sql("DELETE FROM lis_listing_images")
    assert world.purge_now([row.image_hash for row in list(world.images().values())[:5]]) == 5

    assert report(world.ctx, monday).lost == []
    assert report(world.ctx, backfill).lost == []
    assert report(world.ctx, tuesday, ["sync[n2]"]).lost[0].startswith("Node n2 is behind by 5 images")
    assert runs.load(world.ctx.db, monday.run_id).state == "success"
    world.sandbox.nodes.start_node("n2")
    sync(world.ctx, "n2")
    assert report(world.ctx, tuesday, ["sync[n2]"]).lost == []


def test_data_sources_that_failed_and_recovered_since_the_run_before_are_counted(world: World) -> None:
    settings = Breaker(source_images=10, source_percent=90, first_seconds=1)
    past(world, images=1)
    run = world.run()
    runs.begin(world.ctx.db, run)

    def ended(datasource: int, failures: int) -> None:
        datasources.note_results(world.ctx.db, "uk", {datasource: Tally(20, failures)}, settings)

    ended(7, 20)
    world.sql("UPDATE lis_incidents SET opened_at = TIMESTAMPADD(DAY, -3, opened_at)")  # known for days
    world.sql("UPDATE lis_datasources SET not_before = UTC_TIMESTAMP(6)")
    ended(7, 0)
    ended(8, 20)
    ended(9, 20)
    ended(10, 3)
    summary = report(world.ctx, run)
    assert summary.sources == {"left_alone": 2, "failed": 2, "recovered": 1}
    assert "data sources: 2 left alone now; since the run before 2 failed and 1 recovered" in render(summary)
    assert runs.figures(world.ctx.db, run.run_id, "sources.") == summary.sources
    world.sql(
        "UPDATE lis_incidents SET opened_at = '2020-01-01', resolved_at = IF(resolved_at IS NULL, NULL, '2020-01-01')"
    )
    assert report(world.ctx, run).sources == {"left_alone": 2, "failed": 0, "recovered": 0}


def test_what_purge_refused_is_unusual_and_where_many_photos_lead_to_one_place_is_reported(world: World) -> None:
    run = world.run()
    runs.begin(world.ctx.db, run)
    runs.set_figures(world.ctx.db, run.run_id, {"purge.refused": 2, "purge.unpublished": 3, "fetch.same_target": 70})
    summary = report(world.ctx, run)
    assert (summary.refused, summary.purge, summary.same_target) == (2, {"unpublished": 3}, 70)
    assert summary.anomalies[0].startswith("purge refused 2 times: the ETL, or so many data sources in it, look half")
    assert "  70 images ended at addresses that very many others of their batch end at" in render(summary)
    assert kept(runs.load(world.ctx.db, run.run_id)) == summary


# For the mail over all countries


def test_the_newest_run_is_reported_though_it_goes_on_still(world: World) -> None:
    assert newest_run(world.ctx) is None
    world.seed(4)
    summary = world.pipeline(world.run())
    found = newest_run(world.ctx)
    assert found is not None
    assert (found.state, found.summary, found.unusual) == ("success", summary, [])
    time.sleep(0.01)
    runs.begin(world.ctx.db, world.run(RunKind.MANUAL, run_id="by hand"))  # which may never end
    assert newest_run(world.ctx) == found
    time.sleep(0.01)
    runs.begin(world.ctx.db, world.run(run_id="under way"))
    world.sql("UPDATE lis_runs SET started_at = TIMESTAMPADD(MINUTE, -3, started_at)")
    going = newest_run(world.ctx)
    assert going is not None
    assert (going.run_id, going.state, going.summary, going.lost) == ("under way", "running", None, [])
    assert going.unusual == ["run under way is still going, 0.1 hours after it began"]


def test_a_run_that_has_not_begun_in_its_time_is_unusual_whatever_the_last_one_did(world: World) -> None:
    world.seed(4)
    world.pipeline(world.run())
    world.sql("UPDATE lis_runs SET started_at = TIMESTAMPADD(HOUR, -26, started_at)")
    found = newest_run(world.ctx)
    assert found is not None
    assert found.state == "success"
    assert [line.partition(" since ")[0] for line in found.unusual] == ["no run has begun"]


@pytest.mark.parametrize(
    ("zone", "now", "due"),
    [
        ("Europe/London", "2026-03-28T14:00", "2026-03-28T03:00+00:00"),
        ("Europe/London", "2026-03-29T14:00", "2026-03-29T03:00+01:00"),  # summer time since 01:00
        ("Europe/London", "2026-03-29T02:30", "2026-03-28T03:00+00:00"),  # half an hour late is not late
        ("America/Sao_Paulo", "2026-03-28T14:00", "2026-03-28T03:00-03:00"),
        ("America/Mexico_City", "2026-03-28T14:00", "2026-03-28T03:00-06:00"),
        ("America/Mexico_City", "2026-03-28T09:59", "2026-03-27T03:00-06:00"),
        ("Australia/Sydney", "2026-03-28T14:00", "2026-03-28T03:00+11:00"),
    ],
)
def test_the_run_that_is_due_is_that_of_the_countrys_own_clock(zone: str, now: str, due: str) -> None:
    moment = dt.datetime.fromisoformat(now + "+00:00")
    assert last_due(moment, ZoneInfo(zone), "03:00").isoformat(timespec="minutes") == due


def test_a_run_that_could_do_nothing_is_reported_on_its_own_day(world: World) -> None:
    world.seed(4)
    world.pipeline(world.run())
    time.sleep(0.01)
    run = world.run()
    assert broke_off(world.ctx, run, "Nothing was done.") == "**WORK LOST**\n\n- Nothing was done."
    found = newest_run(world.ctx)
    assert found is not None
    assert (found.run_id, found.state) == (run.run_id, "failed")
    assert found.lost == [f"run {run.run_id} broke off: Nothing was done."]


def test_a_run_that_broke_off_is_reported_with_its_error(world: World) -> None:
    run = world.run()
    runs.begin(world.ctx.db, run)
    runs.finish(world.ctx.db, run, "failed", {"error": "the ETL is away"})
    found = last_run(world.ctx)
    assert found is not None
    assert (found.summary, found.lost) == (None, [f"run {run.run_id} broke off: the ETL is away"])
    assert world.cli("report", "uk").out == f"UK: run {run.run_id} broke off: the ETL is away\n"


def test_nodes_alone_are_to_blame_only_where_nothing_else_was_lost() -> None:
    well, away = NodeState("n1", 0, 0, 0), NodeState("n2", 7, 7, 0, fault="Node n2: unreachable")
    nodes = {"n1": well, "n2": away}
    summary = Summary("uk", "r1", "scheduled", "A/B", 9, {}, {}, 1, {}, nodes, [])
    assert nodes_alone(summary, True, ["sync[n2]"]) == ["n2"]
    assert nodes_alone(summary, False, ["sync[n2]"]) == []
    assert nodes_alone(summary, True, ["sync[n2]", "publish"]) == []
    assert nodes_alone(replace(summary, unfinished={0: 3}), True, ["sync[n2]"]) == []
    assert nodes_alone(summary, True, []) == []  # its fault is of another day: what it lacks is not
    behind = replace(summary, nodes={**nodes, "n1": NodeState("n1", 7, 7, 0)})
    assert nodes_alone(behind, True, ["sync[n2]"]) == []
    assert nodes_alone(replace(summary, nodes={"n1": well}), True, []) == []
