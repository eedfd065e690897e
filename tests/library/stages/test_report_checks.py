"""What the report shows of checks and repairs: what was found stays reported when it is repaired, also on Saturday."""

from __future__ import annotations

import os
import time
from collections import Counter

import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_images
from imagesys_lib.images.hash_and_path import lis_hash_for_url, thumbnail_path
from imagesys_lib.runs import runs
from imagesys_lib.stages.check import Checked, check, db_scan, scrub
from imagesys_lib.stages.check.results import keep_result
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.repair.repair import repair
from imagesys_lib.stages.report import FullCheck, kept, render, report
from include.sandbox import ManifestEntry
from tests.library.stages.test_check_scrub import flip
from tests.library.stages.test_report import past
from tests.support.world import NODES, World

Entries = dict[str, ManifestEntry]
WEEKLY = "scheduled__2026-03-28T05:00:00+00:00"


@pytest.fixture
def hashes(live: Entries) -> list[str]:
    return sorted(map(lis_hash_for_url, live))


def spoil(world: World, node: str, lost: list[str], damaged: list[str] = []) -> None:  # noqa: B006 - only read
    """Delete one file of each of the first images, turn a bit over in one of each of the others."""
    for image_hash in lost:
        (world.root(node) / thumbnail_path("uk", image_hash, 1)).unlink()
    for image_hash in damaged:
        flip(world.root(node) / thumbnail_path("uk", image_hash, 2))


def extra_files(world: World, node: str, count: int) -> None:
    for number in range(count):
        file = world.root(node) / "uk" / "f/f/f" / f"{number:037x}.1.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"stray")
        os.utime(file, (time.time() - 48 * 3600,) * 2)


def test_a_run_tells_what_it_found_and_what_became_of_that_however_often_it_looks_again(
    world: World, hashes: list[str]
) -> None:
    good = world.equal_trees()
    spoil(world, "n2", hashes[:12], hashes[20:23])
    run = world.run()
    summary = world.pipeline(run)
    assert world.equal_trees() == good
    assert summary.nodes["n2"].findings == {"acked_absent": 12, "damaged": 3}
    assert (summary.nodes["n2"].missing, summary.nodes["n2"].repaired) == (12, {"restored": 15})
    assert "  n2: 68 files, 12 missing and 3 damaged found, 15 repaired, 0 images behind" in render(summary)
    assert "  n1: 80 files, nothing wrong, 0 images behind" in render(summary)
    assert runs.figures(world.ctx.db, run.run_id, "missing.") == {"n1": 0, "n2": 12, "n3": 0}
    assert summary.anomalies == []

    for _ in range(2):  # both tasks are cleared
        assert check(world.ctx, "n2", run.run_id).clean
        assert scrub(world.ctx, "n2", run.run_id).clean
        repair(world.ctx, "n2", run.run_id)
    again = report(world.ctx, run)
    assert (again.nodes["n2"].findings, again.nodes["n2"].repaired) == (
        summary.nodes["n2"].findings,
        summary.nodes["n2"].repaired,
    )
    assert "  n2: 80 files, 12 missing and 3 damaged found, 15 repaired, 0 images behind" in render(again)
    assert kept(runs.load(world.ctx.db, run.run_id)) == again


@pytest.mark.long
def test_a_disk_that_loses_files_every_day_does_so_in_every_report_and_its_median(
    world: World, hashes: list[str]
) -> None:
    for _ in range(4):
        spoil(world, "n3", hashes[:7])
        summary = world.pipeline()
        assert summary.nodes["n3"].missing == 7
    assert (summary.earlier_runs, summary.medians["missing.n3"]) == (4, 7)  # the run that made them live is one


def test_what_is_made_again_and_deleted_is_reported_too(world: World, hashes: list[str]) -> None:
    for node in NODES:
        spoil(world, node, hashes[:2])
    extra_files(world, "n1", 3)
    world.reconfigure(check={"extra_grace_hours": 0})
    summary = world.pipeline()
    assert summary.nodes["n1"].repaired == {"deleted": 3, "requeued": 2}
    assert "2 missing and 3 extra found, 3 extra deleted, 2 to be made again" in render(summary)


def test_a_repair_that_refuses_or_waits_is_unusual_until_it_has_done_it(
    world: World, hashes: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    extra_files(world, "n2", 3)
    for node in ("n1", "n2"):
        spoil(world, node, hashes[:1])
    world.sandbox.nodes.stop_node("n3")  # the only one that has it
    world.reconfigure(check={"extra_cap_images": 0, "extra_cap_percent": 5})  # of 40: two
    run = world.run()
    summary = world.pipeline(run)
    assert summary.nodes["n2"].repaired == {"waiting": 1, "refused": 3}
    assert [line.partition(":")[0] for line in summary.anomalies] == [
        "repair of n1",
        "repair of n2 left 3 images alone",
        "repair of n2",
    ]
    assert "UNUSUAL:\n  - repair of n1: 1 images wait" in render(summary)
    assert "`imagesys fs-check uk --node n2 --verbose`" in summary.anomalies[1]
    reported = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.name for record in reported] == ["imagesys_lib.stages.repair.repair"]
    assert "imagesys repair uk --node n2 --delete-extra" in reported[0].getMessage()

    world.sandbox.nodes.start_node("n3")
    for node in ("n1", "n2"):
        repair(world.ctx, node, run.run_id, delete_extra=True)
    again = report(world.ctx, run)
    assert again.nodes["n2"].repaired == {"restored": 1, "deleted": 3}
    assert again.anomalies == []


# The weekly check


def test_the_weekly_check_of_the_last_days_is_in_the_summary_with_its_date(world: World, hashes: list[str]) -> None:
    spoil(world, "n2", hashes[:5])
    check(world.ctx, "n2", WEEKLY)
    repair(world.ctx, "n2", WEEKLY)
    check(world.ctx, "n2", WEEKLY)  # as the operator does
    world.sql("UPDATE lis_images SET state = 'rejected' WHERE image_hash = :h", h=hashes[0])
    db_scan(world.ctx, WEEKLY)
    world.sql("UPDATE lis_images SET state = 'live' WHERE image_hash = :h", h=hashes[0])
    world.sql("UPDATE lis_node_checks SET checked_at = TIMESTAMPADD(DAY, -3, checked_at)")
    day = f"{world.scalar(sa.text('SELECT MAX(checked_at) FROM lis_node_checks')):%Y-%m-%d}"
    check(world.ctx, "n2")  # by hand, later
    check(world.ctx, "n3")  # of this node there is no other

    run = world.run()
    summary = world.pipeline(run)
    assert summary.full_checks.keys() == {"n2", "n3", "live_table"}
    assert summary.full_checks["n2"] == FullCheck(day, 80, {"acked_absent": 5}, {"restored": 5})
    assert f"  full check of n2, {day}: 80 files, 5 missing found, 5 repaired\n" in render(summary)
    assert f"  full check of live table, {day}: 40 rows, 1 live unknown found\n" in render(summary)
    assert "  n2: 80 files, nothing wrong, 0 images behind" in render(summary)
    assert kept(runs.load(world.ctx.db, run.run_id)) == summary

    world.sql("UPDATE lis_node_checks SET checked_at = TIMESTAMPADD(DAY, -6, checked_at) WHERE run_id IS NOT NULL")
    assert report(world.ctx, run).full_checks.keys() == {"n2", "n3"}  # those by hand


# Compared with earlier runs


def test_a_reason_that_rises_within_the_same_number_of_failures_is_marked(world: World) -> None:
    for days in (1, 2, 3):
        past(world, days=days, images=500, state__failed=500, reason__dns=2, reason__timeout=498)
    world.new_images(500)
    run = world.run()
    runs.begin(world.ctx.db, run)
    runs.mark_ingested(world.ctx.db, run)
    plan(world.ctx, run)
    world.sql("UPDATE lis_images SET state = 'failed', reason = 'dns'")
    summary = report(world.ctx, run)
    assert summary.anomalies == ["reason dns: 500, where 3 earlier scheduled runs had 2 (median)"]
    assert runs.figures(world.ctx.db, run.run_id, "reason.") == {"dns": 500}
    world.write_all(world.ctx.db, [sa.update(lis_images).values(state="failed", reason="timeout")])
    assert report(world.ctx, run).anomalies == []
    assert runs.figures(world.ctx.db, run.run_id, "reason.") == {"dns": 0, "timeout": 500}


def test_three_hundred_damaged_files_are_marked(world: World) -> None:
    for days in (1, 2, 3):
        earlier = past(world, days=days, images=0)
        keep_result(world.ctx, Checked("n1", findings=Counter(damaged=4, acked_absent=900)), earlier.run_id)
    run = world.run()
    runs.begin(world.ctx.db, run)
    keep_result(world.ctx, Checked("n1", files=900, findings=Counter(damaged=300, extra=20)), run.run_id)
    summary = report(world.ctx, run)
    assert summary.anomalies == ["check n1 damaged: 300, where 3 earlier scheduled runs had 4 (median)"]
    assert "check.n1.acked_absent" not in summary.medians  # its sum with the missing ones is
