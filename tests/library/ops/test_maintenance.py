"""Rows of long ago go, those with work or a run under way stay; the staging disk is looked at; the command does all."""

from __future__ import annotations

import datetime as dt
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.db.engine import read, write
from imagesys_lib.db.schema import (
    country_metadata,
    lis_batches,
    lis_change_acks,
    lis_changes,
    lis_images,
    lis_incidents,
    lis_mails,
    lis_messages,
    lis_metrics,
    lis_node_checks,
    lis_runs,
)
from imagesys_lib.errors import Stopped
from imagesys_lib.ops.maintenance import disk, maintain, rows
from imagesys_lib.ops.maintenance.rows import PrunedRows, prune_rows
from imagesys_lib.replication import change_log
from imagesys_lib.runs import leases, runs
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.heal import heal
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.report import summarize
from imagesys_lib.stages.thumbnail import thumbnail
from include.sandbox import ManifestEntry
from include.sandbox.environment import write_config
from tests.support.world import NODES, QUICK, World

Entries = dict[str, ManifestEntry]
TABLES = {
    "changes": (lis_changes.c.settled_at, 30),
    "batches": (lis_batches.c.updated_at, 90),
    "runs": (lis_runs.c.started_at, 400),
    "metrics": (lis_metrics.c.measured_at, 400),
    "node_checks": (lis_node_checks.c.checked_at, 90),
    "mails": (lis_mails.c.sent_at, 30),
    "incidents": (lis_incidents.c.resolved_at, 30),
    "messages": (lis_messages.c.noted_at, 30),
}


def nothing(**counts: int) -> PrunedRows:
    return PrunedRows(**{**dict.fromkeys(TABLES, 0), **counts})


def reported(world: World) -> None:
    """An incident that is over and one that is not, a mail that is sent and one that waits, and a logged message."""
    now = sa.func.utc_timestamp(6)
    incident = sa.insert(lis_incidents).values(kind="failed", runs=["r1"], opened_at=now, last_seen_at=now)
    mail = sa.insert(lis_mails).values(subject="failed", text="t", html="h", created_at=now)
    message = sa.insert(lis_messages).values(run="r1", task="plan", level="error", text="t", times=1, noted_at=now)
    rows = [incident.values(subject="r1", resolved_at=now), incident.values(subject="r2", is_open=1)]
    world.write_all(world.ctx.db, [*rows, mail.values(sent_at=now), mail, message])


def aged(world: World, name: str, days: float) -> None:
    """Make the rows of one table so many days older."""
    column = TABLES[name][0]
    older = sa.func.timestampadd(sa.text("SECOND"), round(-days * 86_400), column)
    world.write_all(world.ctx.db, [sa.update(column.table).values({column: older})])


def count(world: World, table: sa.Table) -> int:
    return int(world.scalar(sa.select(sa.func.count()).select_from(table)))


@pytest.mark.parametrize("name", TABLES)
def test_each_kind_of_row_is_kept_for_its_configured_time_and_a_dry_run_tells_it(
    world: World, live: Entries, name: str
) -> None:
    column, days = TABLES[name]
    if name == "runs":
        world.sql("DELETE FROM lis_batches")  # a run goes after its batches
    reported(world)
    stay = int(world.scalar(sa.select(sa.func.count()).select_from(column.table).where(column.is_(None))))
    there = count(world, column.table) - stay
    assert there
    assert stay == (name in ("mails", "incidents"))  # what is not over yet is never old
    aged(world, name, days - 0.5)
    before = world.dump()
    assert prune_rows(world.ctx) == nothing()
    assert world.dump() == before
    aged(world, name, 1)
    before = world.dump()
    assert prune_rows(world.ctx, dry_run=True) == nothing(**{name: there})
    assert world.dump() == before
    assert prune_rows(world.ctx) == nothing(**{name: there})
    assert count(world, column.table) == stay
    others = set(country_metadata.tables) - {column.table.name} - ({"lis_change_acks"} if name == "changes" else set())
    assert {table: world.dump()[table] for table in others} == {table: before[table] for table in others}
    assert prune_rows(world.ctx) == nothing()


def test_what_is_about_all_countries_is_kept_for_the_longest_that_any_says(world: World) -> None:
    def shared(days: int) -> None:
        then = sa.func.timestampadd(sa.text("DAY"), -days, sa.func.utc_timestamp(6))
        incident = sa.insert(lis_incidents).values(kind="config", runs=[], opened_at=then, last_seen_at=then)
        mail = sa.insert(lis_mails).values(subject="s", text="t", html="h", created_at=then)
        rows = [incident.values(subject=f"{days}", resolved_at=then), mail.values(sent_at=then), mail]
        world.write_all(world.ctx.shared, [*rows, mail.values(given_up_at=then)])

    write_config(world.sandbox.settings, QUICK, {"de": {"retention": {"mails": 60}}})
    shared(59)
    assert prune_rows(world.ctx) == nothing()
    shared(61)
    assert prune_rows(world.ctx) == nothing(incidents=1, mails=1, given_up_mails=1)
    assert prune_rows(world.ctx) == nothing()


def test_the_configuration_says_how_long(world: World, live: Entries) -> None:
    aged(world, "metrics", 11)
    assert prune_rows(world.reconfigure(retention={"metrics": 10})).metrics > 0


def test_changes_go_with_their_acknowledgements_once_settled_and_open_ones_stay(world: World, live: Entries) -> None:
    aged(world, "changes", 31)
    world.sql("INSERT INTO lis_changes (created_at) VALUES ('2020-01-01')")
    assert prune_rows(world.ctx).changes >= 1
    assert len(world.rows(sa.select(lis_changes))) == 1
    assert count(world, lis_change_acks) == 0
    assert change_log.pending(world.ctx.db, "n1")


def test_a_batch_stays_while_an_image_of_it_has_work_left(world: World) -> None:
    run, batch_id = world.planned(4)
    runs.finish(world.ctx.db, run, "failed", {})
    world.sql("UPDATE lis_batches SET state = 'done'")
    aged(world, "batches", 200)
    assert prune_rows(world.ctx) == nothing()
    world.sql("UPDATE lis_images SET state = 'downloaded' LIMIT 1")
    world.sql("UPDATE lis_images SET state = 'failed' WHERE state = 'reserved'")
    assert prune_rows(world.ctx) == nothing()
    world.sql("UPDATE lis_images SET state = 'rejected' WHERE state = 'downloaded'")
    assert prune_rows(world.ctx) == nothing(batches=1)
    assert {row.batch_id for row in world.images().values()} == {batch_id}


def test_an_unfinished_batch_is_heal_s_and_goes_only_after_it(world: World) -> None:
    run, _ = world.planned(4)
    runs.finish(world.ctx.db, run, "failed", {})
    aged(world, "batches", 200)
    assert prune_rows(world.ctx) == nothing()
    assert heal(world.ctx).images == 4
    aged(world, "batches", 91)
    assert prune_rows(world.ctx) == nothing(batches=1)
    assert world.count() == {"new": 4}


def test_a_run_under_way_keeps_itself_and_its_batches_however_old(world: World) -> None:
    run, batch_id = world.planned(4)
    world.sql("UPDATE lis_images SET image_url = 'ftp://x/1.jpg'")
    download(world.ctx, batch_id)
    runs.finish(world.ctx.db, run, "success", {})
    world.sql("UPDATE lis_batches SET state = 'done'")
    for name in ("batches", "runs"):
        aged(world, name, 500)
    runs.begin(world.ctx.db, run)  # cleared by a person
    assert prune_rows(world.ctx) == nothing()
    runs.finish(world.ctx.db, run, "success", {})
    assert prune_rows(world.ctx) == nothing(batches=1, runs=1)


def test_a_run_stays_as_long_as_it_has_a_batch(world: World) -> None:
    run, _ = world.planned(4)
    runs.finish(world.ctx.db, run, "failed", {})
    aged(world, "runs", 500)
    assert prune_rows(world.ctx) == nothing()
    assert runs.load(world.ctx.db, run.run_id) is not None


def test_a_batch_that_is_taken_up_at_that_very_moment_stays(world: World) -> None:
    run, batch_id = world.planned(4)
    runs.finish(world.ctx.db, run, "failed", {})
    world.sql("UPDATE lis_images SET state = 'failed'")
    world.sql("UPDATE lis_batches SET state = 'done'")
    aged(world, "batches", 200)
    old = rows._tables(world.ctx)["batches"]
    seen = read(world.ctx.db, sa.select(old.instant, *old.key).where(old.due))
    lease = leases.acquire(world.ctx.db, batch_id, "worker-a", 60)
    assert write(world.ctx.db, lambda connection: rows._delete(connection, old, seen)) == 0
    leases.renew(world.ctx.db, lease)


def test_nobody_misses_a_batch_that_has_gone(world: World, live: Entries) -> None:
    url = next(iter(live))
    assert "number 0 of run live" in world.cli("explain", url).out
    batch_id = world.scalar(sa.select(lis_batches.c.batch_id))
    for name in ("batches", "runs", "changes"):
        aged(world, name, 500)
    pruned = prune_rows(world.ctx)
    assert (pruned.batches, pruned.runs, count(world, lis_changes)) == (1, 1, 0)
    assert {row.batch_id for row in world.images().values()} == {batch_id}

    assert f"{batch_id}, which is no more" in world.cli("explain", url).out
    assert world.cli("status", "uk", "--json").code == 0
    assert heal(world.ctx).batches == 0
    assert publish(world.ctx) == 0
    for command in ("download", "thumbnail"):
        assert "No work to do" in world.cli(command, "uk").out
    assert download(world.ctx, batch_id).fetched == 0  # cleared in Airflow after all this time
    assert thumbnail(world.ctx, batch_id).made == 0
    again = world.run(run_id="live")
    runs.begin(world.ctx.db, again)
    assert plan(world.ctx, again) == []
    summary = summarize(world.ctx, again)
    assert (summary.images, summary.unfinished) == (0, {})
    assert {node.backlog for node in summary.nodes.values()} == {0}

    summary = world.pipeline()
    assert (summary.lost, summary.images) == ([], 0)
    assert world.count() == {"live": 40}
    assert world.scalar(sa.select(sa.func.coalesce(sa.func.max(lis_batches.c.batch_id), 0))) == 0
    world.sql("UPDATE lis_images SET state = 'failed', next_attempt_at = '2020-01-01' LIMIT 1")
    assert plan(world.ctx, world.run())[0].batch_id > batch_id  # numbers are never given twice


def many_metrics(world: World, number: int) -> None:
    old = dt.datetime(2020, 1, 1)  # noqa: DTZ001 - as the database keeps it
    figures = [
        {"run_id": f"r{n // 25}", "name": f"figure.{n % 25}", "value": n, "measured_at": old} for n in range(number)
    ]
    write(world.ctx.db, lambda connection: connection.execute(sa.insert(lis_metrics), figures))


def test_pruning_keeps_pace_in_pages_of_at_most_a_thousand_rows(world: World) -> None:
    many_metrics(world, 5500)
    batch = {"state": "done", "size": 1, "created_at": dt.datetime(2020, 1, 1), "updated_at": dt.datetime(2020, 1, 1)}  # noqa: DTZ001
    batches = [{**batch, "run_id": f"r{n // 100}", "seq": n % 100} for n in range(2500)]
    write(world.ctx.db, lambda connection: connection.execute(sa.insert(lis_batches), batches))
    touched: list[int] = []

    def note(_c: Any, cursor: Any, text: str, *_: Any) -> None:
        if text.startswith(("DELETE", "SELECT lis_")):
            touched.append(cursor.rowcount)

    sa.event.listen(world.ctx.db, "after_cursor_execute", note)
    assert prune_rows(world.ctx, dry_run=True) == nothing(metrics=5500, batches=2500)
    assert prune_rows(world.ctx) == nothing(metrics=5500, batches=2500)
    assert sum(touched) >= 3 * 8000
    assert max(touched) == 1000


def test_a_pruning_out_of_time_says_so_and_the_next_one_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    many_metrics(world, 2500)
    clock = iter(range(0, 10**6, 50))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    first = rows._prune(world.ctx, world.ctx.db, rows._tables(world.ctx)["metrics"], dry_run=False)
    monkeypatch.undo()
    assert first[1] is False
    assert 0 < first[0] < 2500
    assert first[0] + prune_rows(world.ctx).metrics == 2500


def test_a_stopped_pruning_keeps_what_it_has_done(world: World) -> None:
    many_metrics(world, 2500)
    stop = threading.Event()
    ctx = world.context(stop=stop)
    sa.event.listen(ctx.db, "commit", lambda _c: stop.set() if count(world, lis_metrics) < 2500 else None)
    with pytest.raises(Stopped):
        prune_rows(ctx)
    assert count(world, lis_metrics) == 500  # it heard of it while its second page was under way


def test_heal_prunes_nothing(world: World, live: Entries) -> None:
    for name in TABLES:
        aged(world, name, 1000)
    before = world.dump()
    heal(world.ctx)
    after = world.dump()
    assert {name: len(table) for name, table in after.items()} == {name: len(table) for name, table in before.items()}


# Staging


def staged(world: World, kind: str, name: str, size: int = 1 << 20) -> Path:
    path = world.staging / kind / "uk" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - 49 * 3600,) * 2)
    return path


def test_the_look_at_staging_says_what_is_free_and_what_lies_there(world: World) -> None:
    staged(world, "originals", "0/0/0/a", 3 << 20)
    staged(world, "out", "0/0/0/b.1.jpg")
    staged(world, "out", "0/0/0/b.2.jpg")
    found = disk.check_staging(world.ctx)
    assert (found.original_files, found.original_mb, found.thumbnail_files, found.thumbnail_mb) == (1, 3, 2, 2)
    assert (found.floor_mb, found.pressure_mb, found.healed) == (64, 128, False)
    assert abs(found.free_mb - (world.ctx.staging.free_bytes() >> 20)) < 1024
    assert len(world.staged("out")) == 2  # there is room: nothing is swept


@pytest.mark.parametrize(
    ("floor", "percent", "reported"),
    [(0.5, 400, "nothing is held for nodes that are behind"), (2, 100, "no work is begun")],
)
def test_under_pressure_it_heals_and_says_so_and_a_dry_run_only_says_so(
    world: World, caplog: pytest.LogCaptureFixture, floor: float, percent: int, reported: str
) -> None:
    free = world.ctx.staging.free_bytes() >> 20
    ctx = world.reconfigure(staging={"min_free_mb": int(free * floor), "pressure_percent": percent})
    stray = staged(world, "originals", "0/0/0/stray")
    assert maintain(ctx, dry_run=True).staging.healed is False
    assert stray.exists()
    found = maintain(ctx).staging
    assert (found.healed, found.original_files) == (True, 0)
    assert not stray.exists()
    said = [record for record in caplog.records if record.name == disk.__name__]
    assert len(said) == 2
    assert {record.levelno for record in said} == {logging.WARNING if floor < 1 else logging.ERROR}
    assert all(reported in record.getMessage() and "Remedy:" in record.getMessage() for record in said)


# The command


def test_the_command_prunes_logs_and_rows_and_a_dry_run_nothing(world: World, live: Entries, tmp_path: Path) -> None:
    old = tmp_path / "dag_id=imagesys_uk" / "run_id=a" / "task_id=heal" / "attempt=1.log"
    old.parent.mkdir(parents=True)
    old.write_text("x")
    os.utime(old, (0, 0))
    aged(world, "node_checks", 91)
    command = ("maintenance", "uk", "--logs", str(tmp_path), "--json")
    reported = world.cli(*command, "--dry-run")
    assert reported.code == 0, reported.err
    assert old.exists()
    done = world.cli(*command)
    assert done.json["logs"] == reported.json["logs"]
    assert done.json["uk"]["rows"] == reported.json["uk"]["rows"]
    assert done.json["logs"]["files"] == 1
    assert done.json["uk"]["rows"]["node_checks"] == 2 * len(NODES)  # each was compared and scrubbed
    assert not old.exists()


def test_a_country_whose_database_is_away_keeps_no_other_waiting(world: World, tmp_path: Path) -> None:
    done = world.cli("maintenance", "--logs", str(tmp_path), "--json")  # nobody has made a schema of mx
    assert done.code == 3
    assert "imagesys_mx" in done.json["mx"]["fault"]
    assert done.json["uk"]["rows"]["runs"] == 0


def test_airflow_is_asked_where_its_logs_are(world: World, tmp_path: Path) -> None:
    for name, value in {
        "AIRFLOW_HOME": tmp_path,
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": tmp_path / "here",
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": tmp_path / "there",
    }.items():
        world.patch.setenv(name, str(value))
    for path in ("here/dag_id=a/run_id=b/task_id=c/attempt=1.log", "there/2026-01-01/dags-folder/a.py.log"):
        file = tmp_path / path
        file.parent.mkdir(parents=True)
        file.write_text("x")
        os.utime(file, (0, 0))
    done = world.cli("maintenance", "uk", "--dry-run", "--json")
    assert done.code == 0, done.err
    assert done.json["logs"]["files"] == 2


def test_images_are_no_part_of_any_pruning(world: World, live: Entries) -> None:
    for name in TABLES:
        aged(world, name, 1000)
    prune_rows(world.ctx)
    assert count(world, lis_images) == 40
    assert len(world.live()) == 40
