"""An index behind every statement that is hot, however large its tables are."""

from __future__ import annotations

import datetime as dt
import random
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.alerts import gathered, incidents, outbox
from imagesys_lib.alerts.message import Message
from imagesys_lib.config import Breaker
from imagesys_lib.context import Context
from imagesys_lib.db.engine import write
from imagesys_lib.db.schema import (
    country_metadata,
    lis_batches,
    lis_change_acks,
    lis_changes,
    lis_datasources,
    lis_images,
    lis_incidents,
    lis_listing_images,
    lis_live_images,
    lis_mails,
    lis_messages,
    lis_metrics,
    lis_node_checks,
    lis_node_repairs,
    lis_runs,
)
from imagesys_lib.fetch.politeness import datasources
from imagesys_lib.fetch.politeness.datasources import Tally
from imagesys_lib.images.hash_and_path import lis_hash_for_url, thumbnail_path
from imagesys_lib.images.states import State
from imagesys_lib.ops.maintenance.rows import prune_rows
from imagesys_lib.ops.retry import retry
from imagesys_lib.replication import change_log, node_records
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages import recheck
from imagesys_lib.stages.check import daily_part, db_scan, expected_on
from imagesys_lib.stages.check.expected import pages, unacknowledged
from imagesys_lib.stages.check.parts import WHOLE, of_day
from imagesys_lib.stages.check.scrub import _images as scrubbed_images
from imagesys_lib.stages.heal import heal
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.purge import carry_out, proposals, purge
from imagesys_lib.stages.purge.rules import Due, PurgeRule
from imagesys_lib.stages.repair.repair import repair
from imagesys_lib.stages.report import report, summarize
from imagesys_lib.stages.report.digest import last_run, newest_run
from imagesys_lib.stages.report.lateness import measured
from imagesys_lib.stages.shared.batch import images_in
from include.sandbox.feed.listings import Listing
from tests.support.world import DAY, World

NOON = dt.datetime.combine(DAY, dt.time(12))


def filled(world: World) -> None:
    """Thousands of rows, spread as in life: most images are live, few are due."""
    rng = random.Random(1)
    images, listings, live = [], [], []
    for n in range(6000):
        h = lis_hash_for_url(f"http://127.0.0.11/{n}.jpg")
        state = "live" if n < 5000 else ("rejected", "new", "failed", "reserved", "thumbnailed")[n % 5]
        thumbs = [
            {"n": k, "path": thumbnail_path("uk", h, k), "width": 60, "height": 60, "bytes": 9, "sha1": h}
            for k in (1, 2)
        ]
        made = state in ("live", "thumbnailed")
        images.append(
            {
                "image_hash": h,
                "image_url": f"http://127.0.0.11/{n}.jpg",
                "datasource_id": 101,
                "etl_version": NOON,
                "state": state,
                "reason": "http_404" if state == "rejected" else None,
                "next_attempt_at": NOON,
                "batch_id": n // 50 + 1,
                "desired": "present" if made else "none",
                "change_id": n // 100 + 1 if made else None,
                "thumbs": thumbs if made else None,
                "created_at": NOON,
                "updated_at": NOON,
            }
        )
        listings.append(
            {
                "listing_id": f"L{n // 4:06d}",
                "datasource_id": 101,
                "image_hash": h,
                "position": n % 4,
                "etl_time": NOON - dt.timedelta(minutes=rng.randrange(60 * 24 * 60)),
                "seen_at": NOON,
                "missing_since": NOON if n < 30 else None,
            }
        )
        if state == "live":
            data = {str(t["n"]): {k: t[k] for k in ("path", "width", "height", "bytes")} for t in thumbs}
            live.append(
                {"image_url": "x", "image_hash": h, "datasource_id": 101, "image_data": data, "insert_time": NOON}
            )
    batches = [
        {
            "batch_id": n + 1,
            "run_id": f"old-{n // 10}",
            "seq": n % 10,
            "size": 50,
            "state": "done" if n < 110 else "planned",
            "created_at": NOON,
            "updated_at": NOON,
        }
        for n in range(120)
    ]
    batches += [
        {
            **batches[0],
            "batch_id": n,
            "run_id": f"older-{n // 10}",
            "seq": n % 10,
            "created_at": NOON,
            "updated_at": NOON,
        }
        for n in range(1000, 5000)
    ]
    changed = [
        {"change_id": n + 1, "created_at": NOON, "settled_at": NOON if n > 59 or n < 48 else None} for n in range(3000)
    ]
    acks = [
        {"change_id": n + 1, "node": node, "acked_at": NOON}
        for n in range(3000)
        if n not in (58, 59)
        for node in ("n1", "n2", "n3")
        if (n, node) != (57, "n3")  # behind by months
    ]
    repairs = [
        {"node": "n1", "image_hash": images[n]["image_hash"], "reason": "missing", "since": NOON} for n in range(300)
    ]

    hours = [NOON - dt.timedelta(hours=n) for n in range(3000)]
    incidents = [
        {"kind": kind, "subject": f"s-{n}", "runs": [], "opened_at": n, "last_seen_at": n, "resolved_at": n}
        for n, kind in zip(hours, ("failed", "late", "source") * 1000, strict=True)
    ]
    mails = [{"subject": "s", "text": "t", "html": "h", "created_at": NOON, "sent_at": NOON} for n in range(3000)]
    messages = [
        {"run": f"r-{n}", "task": "plan", "level": "error", "text": "t", "times": 1, "noted_at": NOON}
        for n in range(3000)
    ]
    sources = [{"datasource_id": n} for n in range(3000)]

    def work(connection: sa.Connection) -> None:
        for table, rows in (
            (lis_incidents, incidents),
            (lis_mails, mails),
            (lis_messages, messages),
            (lis_datasources, sources),
            (lis_images, images),
            (lis_listing_images, listings),
            (lis_live_images, live),
            (lis_batches, batches),
            (lis_changes, changed),
            (lis_change_acks, acks),
            (lis_node_repairs, repairs),
        ):
            connection.execute(sa.insert(table), rows)

    write(world.ctx.db, work)
    rows = [
        Listing(f"L{n:06d}", 101, (f"http://127.0.0.11/{4 * n}.jpg",), NOON - dt.timedelta(hours=n))
        for n in range(1400)
    ]
    world.sandbox.etl._upsert("uk", rows)
    for table in country_metadata.tables:
        world.rows(sa.text(f"ANALYZE TABLE {table}"))


BIG = {
    *("lis_images", "lis_listing_images", "lis_live_images", "lis_change_acks", "lis_changes", "listings_uk"),
    *("lis_batches", "lis_incidents", "lis_mails", "lis_messages", "lis_datasources"),
}


@contextmanager
def explained(*engines: sa.Engine, big: Collection[str] = BIG) -> Iterator[dict[str, list[str]]]:
    """Explain every distinct statement as it is executed first; what it scans wholly, by its text."""
    found: dict[str, list[str]] = {}
    listeners = []
    for engine in engines:
        aside = sa.create_engine(engine.url)

        def note(_c: Any, _k: Any, text: str, values: Any, _x: Any, many: bool, aside: sa.Engine = aside) -> None:
            text, values = shortened(text, values[0] if many else values)
            text = text.partition(" FOR UPDATE")[0]  # else EXPLAIN waits for the row that this very transaction holds
            if text.split()[0] in ("SELECT", "UPDATE", "DELETE") and text not in found:
                found[text] = scans(aside, text, values, big)

        sa.event.listen(engine, "before_cursor_execute", note)
        listeners.append((engine, aside, note))
    try:
        yield found
    finally:
        for engine, aside, note in listeners:
            sa.event.remove(engine, "before_cursor_execute", note)
            aside.dispose()


def shortened(text: str, values: Any) -> tuple[str, tuple[Any, ...]]:
    """Cut long lists to ten values: of a small table the optimiser rightly reads all for a thousand."""
    kept: list[Any] = []
    left = list(values)
    pieces = []
    for piece in re.split(r"(IN \(%s(?:, %s)*\))", " ".join(text.split())):
        mine, left = left[: piece.count("%s")], left[piece.count("%s") :]
        if piece.startswith("IN (") and len(mine) > 10:
            mine = mine[:10]
            piece = f"IN ({', '.join(['%s'] * 10)})"  # noqa: PLW2901
        pieces.append(piece)
        kept += mine
    return "".join(pieces), tuple(kept)


KEPT_BY_RUN = {"lis_runs", "lis_metrics"}
ORDERED = {"PRIMARY", "ix_runs_started"}  # indexes that a query with a limit may walk in order
TABLES_OF_ALIASES = {"other": "lis_listing_images"}


def scans(engine: sa.Engine, text: str, values: tuple[Any, ...], big: Collection[str]) -> list[str]:
    """The tables of thousands of rows that a statement reads wholly."""
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN {text}", values).mappings().all()
    found = []
    for row in rows:
        table = TABLES_OF_ALIASES.get(row["table"], row["table"])
        walks_keys_in_order = row["type"] == "index" and row["key"] in ORDERED and "LIMIT" in text
        if table in big and row["type"] in ("ALL", "index") and not walks_keys_in_order:
            found.append(f"{table}: {row['type']} key={row['key']} rows={row['rows']} {row['Extra']}")
    return found


def left_and_carried_out(ctx: Context) -> None:
    """A proposal's life."""
    number = proposals.leave(ctx.db, {PurgeRule.UNLISTED: Due(9, 9), PurgeRule.AGE: Due(9, 9)}, 100, [])
    assert (
        proposals.waiting(ctx.db)
        == proposals.take(ctx.db, "r1", 1, lambda *_: None)
        == proposals.latest_proposal(ctx.db)
    )
    proposals.decide(ctx.db, number, approve=True, by="somebody")
    carry_out(ctx, number)
    proposals.finish_proposal(ctx.db)


def reported(ctx: Context) -> None:
    """A data source fails and recovers, runs fail and end well, and mails and messages go."""
    breaker = Breaker(source_images=10, first_seconds=1)
    heard = gathered.LoggedMessages("warning")
    heard.messages["WARNING", "x"] = 1
    for failures in (20, 20, 0):
        datasources.note_results(ctx.db, ctx.country, {7: Tally(20, failures)}, breaker)
        datasources.failing(ctx.db, range(50))
        write(
            ctx.db,
            lambda connection: connection.execute(
                sa.text("UPDATE lis_datasources SET not_before = NULL WHERE datasource_id = 7")
            ),
        )
    gathered.keep_messages(ctx.db, "r-1", "plan", heard)

    def work(connection: sa.Connection) -> None:
        message = Message("s", "Intro.", ())
        incidents.open_incident(connection, incidents.IncidentKind.FAILED, "r1", message, run="r1", lapses_hours=24)
        incidents.resolve_runs(connection, ["r1"], tuple(incidents.IncidentKind))
        gathered.take_messages(connection, "r-1")

    write(ctx.db, work)
    assert outbox.deliver(ctx.db, lambda mail: None) == 3


def test_every_hot_statement_has_an_index_behind_it(world: World) -> None:
    world.seed(40)
    filled(world)
    ctx = world.reconfigure(
        purge={
            "max_unlisted_percent": 100,
            "cap_percent": 100,
            "retention_days": 0,
            "max_age_days": 40,
            "grace_hours": 0,
        },
        recheck={"percent": 2},
    )
    with explained(ctx.db, ctx.etl.engine, ctx.shared) as statements:
        run = world.run()
        ingest(ctx, run)
        plan(ctx, run)
        plan(ctx, world.run(RunKind.BACKFILL))
        plan(ctx, world.run(RunKind.BACKFILL, force=True))
        for node in ("n1", "n2", "n3"):
            ids = change_log.pending(ctx.db, node)
            change_log.group_of(ctx.db, ids)
            change_log.backlog(ctx.db, node)
            change_log.backlog(ctx.db, node, run.run_id)
            list(change_log.groups(ctx.db, node))
            node_records.is_lacking(ctx.db, node, ctx.config.nodes)
            list(expected_on(ctx, node))
            list(expected_on(ctx, node, ["0" * 40]))
            for folder in (*WHOLE.folders, *of_day(DAY).folders):
                list(pages(ctx, folder))
                list(unacknowledged(ctx, node, folder))
        scrubbed_images(ctx, "8", 500)
        daily_part(ctx, run.interval)
        repair(ctx, "n1", dry_run=True)
        images_in(ctx, 105, State.RESERVED)
        publish(ctx)
        heal(ctx, run, dry_run=True)
        heal(ctx, run)
        reported(ctx)
        db_scan(ctx)
        measured(ctx, run, summarize(ctx, run))
        purge(ctx)
        left_and_carried_out(ctx)
        retry(ctx, reason="http_404", since=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc))
    assert len(statements) > 50
    assert any("checked_at <" in text for text in statements)
    bad = {text: found for text, found in statements.items() if found}
    assert not bad, "\n\n".join(f"{found}\n{text}" for text, found in bad.items())


def test_images_to_be_asked_for_again_are_read_in_the_order_of_an_index(world: World) -> None:
    filled(world)
    plans = []

    def note(connection: Any, cursor: Any, text: str, values: Any, *_: Any) -> None:
        cursor.execute(f"EXPLAIN {text}", values)
        plans.append(dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True)))

    sa.event.listen(world.ctx.db, "before_cursor_execute", note)
    try:
        assert len(list(recheck._oldest(world.ctx))) == 5000
    finally:
        sa.event.remove(world.ctx.db, "before_cursor_execute", note)
    pages = [plan for plan in plans if plan["table"] == "lis_images"]
    assert len(pages) == 6
    assert {plan["key"] for plan in pages} == {"ix_images_checked"}
    assert not [plan for plan in pages if "filesort" in plan["Extra"]]
    assert recheck._live_about(world.ctx) == pytest.approx(5000, rel=0.1)


def past_runs(world: World) -> None:
    """Three years of runs, each with twenty figures."""
    rows = [
        {
            "run_id": f"past-{n}",
            "kind": "backfill" if n % 9 == 0 else "scheduled",
            "interval_start": NOON,
            "interval_end": NOON,
            "state": "success",
            "started_at": NOON - dt.timedelta(days=n),
            "finished_at": NOON - dt.timedelta(days=n),
        }
        for n in range(1100)
    ]
    names = ["images", *(f"free.n{n}" for n in range(19))]
    figures = [
        {"run_id": row["run_id"], "name": name, "value": 9, "measured_at": row["started_at"]}
        for row in rows
        for name in names
    ]

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.insert(lis_runs), rows)
        connection.execute(sa.insert(lis_metrics), figures)

    write(world.ctx.db, work)
    for table in KEPT_BY_RUN:
        world.rows(sa.text(f"ANALYZE TABLE {table}"))


def test_a_report_reads_few_of_many_runs_and_their_figures(world: World) -> None:
    filled(world)
    past_runs(world)
    run = Run("old-3", RunKind.SCHEDULED, world.run().interval)
    with explained(world.ctx.db, big=BIG | KEPT_BY_RUN) as statements:
        runs.begin(world.ctx.db, run)
        assert report(world.ctx, run).earlier_runs == 7
        assert last_run(world.ctx) is not None
        assert newest_run(world.ctx) is not None
    assert any("JSON_TABLE" in text for text in statements)
    assert any("lis_metrics" in text for text in statements)
    bad = {text: found for text, found in statements.items() if found}
    assert not bad, "\n\n".join(f"{found}\n{text}" for text, found in bad.items())


def past(world: World) -> None:
    """Years of runs, with batches, figures and checks, of which a tenth are old."""
    now = world.scalar(sa.select(sa.func.utc_timestamp(6)))
    when = [now - dt.timedelta(days=900 if n % 10 == 0 else n % 80) for n in range(4000)]
    kept: dict[sa.Table, list[dict[str, Any]]] = {lis_runs: [], lis_batches: [], lis_metrics: [], lis_node_checks: []}
    for n, then in enumerate(when):
        run = {"run_id": f"past-{n}", "kind": "scheduled", "interval_start": then, "interval_end": then}
        kept[lis_runs].append({**run, "state": "success", "started_at": then})
        batch = {"run_id": f"past-{n - n % 4}", "seq": n % 4, "size": 1, "created_at": then, "updated_at": then}
        kept[lis_batches].append({**batch, "state": "done" if n % 100 else "planned"})
        kept[lis_metrics].append({"run_id": f"past-{n}", "name": "live", "value": 1, "measured_at": then})
        check = {"node": f"n{n % 3 + 1}", "checked_at": then, "files": 1, "bytes": 1, "findings": {}, "samples": {}}
        kept[lis_node_checks].append(check)
    write(world.ctx.db, lambda connection: [connection.execute(sa.insert(table), rows) for table, rows in kept.items()])
    for table in country_metadata.tables:
        world.rows(sa.text(f"ANALYZE TABLE {table}"))


def test_old_rows_are_found_and_deleted_by_an_index(world: World) -> None:
    filled(world)
    past(world)
    history = {"lis_runs", "lis_batches", "lis_metrics", "lis_node_checks"}
    with explained(world.ctx.db, big=BIG | history) as statements:
        pruned = prune_rows(world.ctx)
    assert min(pruned.runs, pruned.batches, pruned.metrics, pruned.node_checks) >= 200
    assert len([text for text in statements if text.startswith("DELETE")]) == 9
    bad = {text: found for text, found in statements.items() if found}
    assert not bad, "\n\n".join(f"{found}\n{text}" for text, found in bad.items())
