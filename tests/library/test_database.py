"""The schema and its statements: migrations, allowed transitions, and an index behind everything that is hot."""

from __future__ import annotations

import datetime as dt
import random
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from imagesys_lib import changes, node_records, runs
from imagesys_lib.batch_work import images_in
from imagesys_lib.context import Context
from imagesys_lib.db import engine as engine_module
from imagesys_lib.db.bulk import given
from imagesys_lib.db.engine import named_lock, read, write
from imagesys_lib.db.schema import (
    country_metadata,
    lis_batches,
    lis_change_acks,
    lis_changes,
    lis_images,
    lis_listing_images,
    lis_live_images,
    lis_metrics,
    lis_node_checks,
    lis_node_repairs,
    lis_runs,
    shared_metadata,
)
from imagesys_lib.db.upgrade import current_version, head_version, tables, upgrade
from imagesys_lib.errors import DatabaseUnavailable, EnvironmentFault
from imagesys_lib.hashing import lis_hash_for_url, thumbnail_path
from imagesys_lib.maintenance.rows import prune_rows
from imagesys_lib.requeue import retry
from imagesys_lib.runs import Kind, Run
from imagesys_lib.stages.check import daily_part, db_scan, expected_on
from imagesys_lib.stages.check.expected import pages, unacknowledged
from imagesys_lib.stages.check.parts import WHOLE, of_day
from imagesys_lib.stages.check.scrub import _images as scrubbed_images
from imagesys_lib.stages.heal import heal
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.lateness import look
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.purge import carry_out, proposals, purge
from imagesys_lib.stages.purge.rules import Due, Rule
from imagesys_lib.stages.repair import repair
from imagesys_lib.stages.report import report, summarize
from imagesys_lib.stages.report.digest import last_run
from imagesys_lib.states import ALLOWED, State, move
from include.sandbox.listings import Listing
from tests.world import DAY, World, in_threads

NOON = dt.datetime.combine(DAY, dt.time(12))


def test_a_migration_from_nothing_makes_everything_and_a_second_one_changes_nothing(world: World) -> None:
    for country, kind, metadata in (("de", "country", country_metadata), ("uk", "shared", shared_metadata)):
        ctx = world.context()
        engine = ctx.shared
        if kind == "country":
            world.sql("DROP SCHEMA IF EXISTS imagesys_de")
            world.sql("CREATE SCHEMA imagesys_de CHARACTER SET utf8mb4")
            from_uk = world.ctx.db.url.set(database=f"imagesys_{country}")
            engine = sa.create_engine(from_uk, isolation_level="READ COMMITTED")
            assert current_version(engine) is None
            assert upgrade(engine, kind) == (None, head_version(kind))
        assert upgrade(engine, kind) == (head_version(kind), head_version(kind))
        assert tables(engine) == {*metadata.tables, "alembic_version"}
        engine.dispose()


def test_two_migrations_at_once_do_not_race(world: World) -> None:
    world.sql("DROP SCHEMA IF EXISTS imagesys_de")
    world.sql("CREATE SCHEMA imagesys_de CHARACTER SET utf8mb4")
    engine = sa.create_engine(world.ctx.db.url.set(database="imagesys_de"), isolation_level="READ COMMITTED")
    in_threads(*[lambda: upgrade(engine, "country")] * 3)
    assert current_version(engine) == head_version("country")
    engine.dispose()


@pytest.mark.parametrize(("name", "metadata"), [("db", country_metadata), ("shared", shared_metadata)])
def test_the_migrations_make_what_the_code_sees(world: World, name: str, metadata: sa.MetaData) -> None:
    engine = getattr(world.ctx, name)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": metadata}
        )
        assert compare_metadata(context, metadata) == []
        rows = connection.execute(
            sa.text(
                "SELECT table_name, column_name, character_set_name, collation_name, datetime_precision "
                "FROM information_schema.columns WHERE table_schema = DATABASE()"
            )
        ).all()
    there = {(row[0], row[1]): row for row in rows}
    for table in metadata.tables.values():
        for column in table.columns:
            row = there[table.name, column.name]
            assert (column.type.__class__.__name__ == "DATETIME") == (row[4] is not None)
            assert getattr(column.type, "fsp", None) in (None, row[4])
            for position, attribute in ((2, "charset"), (3, "collation")):
                assert getattr(column.type, attribute, None) in (None, row[position]), column


def test_listings_that_differ_in_case_alone_are_two(world: World) -> None:
    world.put("abc", "http://127.0.0.11/1.jpg")
    ingest(world.ctx, world.run())
    world.sandbox.etl.empty("uk")
    world.put("ABC", "http://127.0.0.11/1.jpg")
    ingest(world.ctx, world.run())
    ids = {row.listing_id for row in world.rows(sa.select(lis_listing_images.c.listing_id))}
    assert ids == {"abc", "ABC"}


def test_rows_given_in_one_statement_come_as_they_were(world: World) -> None:
    strange = """it's "100 %" :given_rows {} \\ \n é 住 \U0001f3e0"""
    rows = [
        {"image_id": 2**53 + 1, "detail": strange, "seconds": -5},
        {"image_id": 2, "detail": None, "seconds": None},
        {"image_id": 3, "detail": "", "seconds": 0},
    ]
    table = given(rows, {"image_id": int, "detail": str, "seconds": int})
    found = read(world.ctx.db, sa.select(table).order_by(table.c.image_id))
    assert [dict(row._mapping) for row in found] == sorted(rows, key=lambda row: row["image_id"])


def test_a_given_text_too_long_for_its_column_is_an_error(live: dict[str, Any], world: World) -> None:
    image_id = world.rows(sa.select(lis_images.c.image_id))[0].image_id
    table = given([{"image_id": image_id, "reason": "x" * 1000}], {"image_id": int, "reason": str})
    long = sa.update(lis_images).where(lis_images.c.image_id == table.c.image_id).values(reason=table.c.reason)
    with pytest.raises(sa.exc.DataError, match="too long"):
        write(world.ctx.db, lambda session: session.execute(long))


@pytest.mark.parametrize("frm", State)
@pytest.mark.parametrize("to", State)
def test_only_transitions_of_the_table_ever_reach_the_database(frm: State, to: State) -> None:
    statements: list[Any] = []

    class Session:
        def execute(self, statement: Any) -> Any:
            statements.append(statement)
            return type("Result", (), {"rowcount": 1})

    if to in ALLOWED[frm]:
        assert move(Session(), to, frm=(frm,), where=sa.true()) == 1  # type: ignore[arg-type]
        text = str(statements[0])
        assert "lis_images.state = " in text
        return
    with pytest.raises(ValueError, match=f"never goes from {frm.value} to {to.value}"):
        move(Session(), to, frm=(frm,), where=sa.true())  # type: ignore[arg-type]
    assert not statements


TRANSITIONS = {
    "new": "reserved purged quarantined",
    "reserved": "downloaded failed rejected quarantined new live",
    "downloaded": "thumbnailed failed rejected quarantined new live",
    "thumbnailed": "live new purged quarantined",
    "live": "reserved new purged quarantined",
    "failed": "reserved new purged rejected",
    "rejected": "new purged",
    "quarantined": "new purged",
    "purged": "new thumbnailed",
}


def test_the_table_of_transitions_is_as_designed() -> None:
    assert {a.value: {b.value for b in bs} for a, bs in ALLOWED.items()} == {
        a: set(bs.split()) for a, bs in TRANSITIONS.items()
    }


def test_a_move_changes_only_images_in_the_states_named(world: World) -> None:
    world.new_images(6)
    world.sql("UPDATE lis_images SET state = 'live' WHERE image_id % 2")
    moved = write(world.ctx.db, lambda s: move(s, State.RESERVED, frm=(State.NEW,), where=lis_images.c.image_id > 0))
    assert moved == 3
    assert world.count() == {"live": 3, "reserved": 3}


def test_a_deadlock_is_retried_until_both_writes_are_in(world: World) -> None:
    world.new_images(2)
    first, second = [
        row.image_id for row in world.rows(sa.select(lis_images.c.image_id).order_by(lis_images.c.image_id))
    ]
    tries: list[int] = []

    def work(ids: tuple[int, int]) -> Any:
        def both(session: sa.Connection) -> None:
            tries.append(1)
            for image_id in ids:
                session.execute(
                    sa.text("UPDATE lis_images SET attempts = attempts + 1 WHERE image_id = :id"), {"id": image_id}
                )
                session.execute(sa.text("SELECT SLEEP(0.2)"))

        return lambda: write(world.ctx.db, both)

    in_threads(work((first, second)), work((second, first)))
    assert len(tries) > 2  # there was a deadlock
    assert {row.attempts for row in world.images().values()} == {2}


def test_a_database_that_is_away_ends_in_a_clear_fault_after_bounded_patience(world: World) -> None:
    world.patch.setattr(engine_module, "_PATIENCE", 0.5)
    engine = sa.create_engine(world.ctx.db.url.set(port=9), connect_args={"connect_timeout": 2})
    with pytest.raises(DatabaseUnavailable, match=r"did not answer within 0 s.*Remedy: bring it back") as caught:
        read(engine, sa.text("SELECT 1"))
    assert caught.value.exit_code == 3


def test_the_last_pause_between_tries_ends_with_the_patience(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.patch.setattr(engine_module, "wait_random_exponential", lambda **_: lambda _state: 60.0)
    engine = sa.create_engine(world.ctx.db.url.set(port=9), connect_args={"connect_timeout": 2})
    with pytest.raises(DatabaseUnavailable):
        engine_module.probe(engine, patience=0.5)
    pauses = [float(pause) for pause in re.findall(r" in ([0-9.]+) seconds", caplog.text)]
    assert pauses
    assert 0 < sum(pauses) <= 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"password": "wrong"}, "refuses 'imagesys'.*check the connection's login"),
        ({"database": "nowhere"}, "refuses 'imagesys'.*check the connection's login"),
    ],
)
def test_a_database_that_refuses_us_says_so_without_the_password(
    world: World, change: dict[str, str], message: str
) -> None:
    engine = sa.create_engine(world.ctx.db.url.set(**change))
    with pytest.raises(EnvironmentFault, match=message) as caught:
        read(engine, sa.text("SELECT 1"))
    assert str(world.ctx.db.url.password) not in str(caught.value)
    engine.dispose()


def test_a_missing_table_says_how_to_make_it(world: World) -> None:
    with pytest.raises(EnvironmentFault, match=r"imagesys db upgrade"):
        read(world.ctx.db, sa.text("SELECT * FROM lis_nothing"))


def test_a_named_lock_keeps_others_out_and_goes_with_its_holder(world: World) -> None:
    waited: list[float] = []
    second = named_lock(world.ctx.db, "imagesys.test", timeout=0.2, on_wait=waited.append)
    with named_lock(world.ctx.db, "imagesys.test", timeout=1), pytest.raises(TimeoutError, match="another worker"):
        second.__enter__()
    assert waited
    with named_lock(world.ctx.db, "imagesys.test", timeout=0):
        pass


# An index behind everything that is hot


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

    changed = [
        {"change_id": n + 1, "created_at": NOON, "settled_at": NOON if n > 59 or n < 48 else None} for n in range(3000)
    ]
    acks = [
        {"change_id": n + 1, "node": node, "acked_at": NOON}
        for n in range(3000)
        if n not in (58, 59)
        for node in ("n1", "n2", "n3")
        if (n, node) != (57, "n3")  # behind by months: it is let go
    ]
    repairs = [
        {"node": "n1", "image_hash": images[n]["image_hash"], "reason": "missing", "since": NOON} for n in range(300)
    ]

    def work(session: sa.Connection) -> None:
        for table, rows in (
            (lis_images, images),
            (lis_listing_images, listings),
            (lis_live_images, live),
            (lis_batches, batches),
            (lis_changes, changed),
            (lis_change_acks, acks),
            (lis_node_repairs, repairs),
        ):
            session.execute(sa.insert(table), rows)

    write(world.ctx.db, work)
    rows = [
        Listing(f"L{n:06d}", 101, (f"http://127.0.0.11/{4 * n}.jpg",), NOON - dt.timedelta(hours=n))
        for n in range(1400)
    ]
    world.sandbox.etl._upsert("uk", rows)
    for table in country_metadata.tables:
        world.rows(sa.text(f"ANALYZE TABLE {table}"))


BIG = {"lis_images", "lis_listing_images", "lis_live_images", "lis_change_acks", "lis_changes", "listings_uk"}


@contextmanager
def explained(*engines: sa.Engine, big: Collection[str] = BIG) -> Iterator[dict[str, list[str]]]:
    """Explain every distinct statement as it is executed first; what it scans wholly, by its text."""
    found: dict[str, list[str]] = {}
    listeners = []
    for engine in engines:
        aside = sa.create_engine(engine.url)

        def note(_c: Any, _k: Any, text: str, values: Any, _x: Any, many: bool, aside: sa.Engine = aside) -> None:
            text, values = shortened(text, values[0] if many else values)
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
    number = proposals.leave(ctx.db, {Rule.UNLISTED: Due(9, 9), Rule.AGE: Due(9, 9)}, 100, [])
    assert proposals.waiting(ctx.db) == proposals.claim(ctx.db, "r1", 1) == proposals.latest(ctx.db)
    proposals.decide(ctx.db, number, approve=True, by="somebody")
    carry_out(ctx, number)
    proposals.expire(ctx.db)


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
        }
    )
    with explained(ctx.db, ctx.etl.engine, ctx.shared) as statements:
        run = world.run()
        ingest(ctx, run)
        plan(ctx, run)
        plan(ctx, world.run(Kind.BACKFILL))
        plan(ctx, world.run(Kind.BACKFILL, force=True))
        for node in ("n1", "n2", "n3"):
            ids = changes.pending(ctx.db, node)
            changes.images_of(ctx.db, ids)
            changes.backlog(ctx.db, node)
            changes.backlog(ctx.db, node, run.run_id)
            changes.next_group(ctx.db, node)
            node_records.is_lacking(ctx.db, node)
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
        assert heal(ctx, run).let_go == 20
        db_scan(ctx)
        look(ctx, run, summarize(ctx, run))
        purge(ctx)
        left_and_carried_out(ctx)
        retry(ctx, reason="http_404", since=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc))
    assert len(statements) > 50
    bad = {text: found for text, found in statements.items() if found}
    assert not bad, "\n\n".join(f"{found}\n{text}" for text, found in bad.items())


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

    def work(session: sa.Connection) -> None:
        session.execute(sa.insert(lis_runs), rows)
        session.execute(sa.insert(lis_metrics), figures)

    write(world.ctx.db, work)
    for table in KEPT_BY_RUN:
        world.rows(sa.text(f"ANALYZE TABLE {table}"))


def test_a_report_reads_few_of_many_runs_and_their_figures(world: World) -> None:
    filled(world)
    past_runs(world)
    run = Run("old-3", Kind.SCHEDULED, world.run().interval)
    with explained(world.ctx.db, big=BIG | KEPT_BY_RUN) as statements:
        runs.begin(world.ctx.db, run)
        assert report(world.ctx, run).earlier_runs == 7
        assert last_run(world.ctx) is not None
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
    write(world.ctx.db, lambda session: [session.execute(sa.insert(table), rows) for table, rows in kept.items()])
    for table in country_metadata.tables:
        world.rows(sa.text(f"ANALYZE TABLE {table}"))


def test_old_rows_are_found_and_deleted_by_an_index(world: World) -> None:
    filled(world)
    past(world)
    history = {"lis_runs", "lis_batches", "lis_metrics", "lis_node_checks"}
    with explained(world.ctx.db, big=BIG | history) as statements:
        pruned = prune_rows(world.ctx)
    assert min(pruned.runs, pruned.batches, pruned.metrics, pruned.node_checks) >= 200
    assert len([text for text in statements if text.startswith("DELETE")]) == 6
    bad = {text: found for text, found in statements.items() if found}
    assert not bad, "\n\n".join(f"{found}\n{text}" for text, found in bad.items())
