"""The schema: migrations, allowed transitions, and what becomes of a statement that fails."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from imagesys_lib.db import engine as engine_module
from imagesys_lib.db.bulk import given
from imagesys_lib.db.engine import read, write
from imagesys_lib.db.locks import named_lock
from imagesys_lib.db.schema import (
    country_metadata,
    lis_images,
    lis_listing_images,
    shared_metadata,
)
from imagesys_lib.db.upgrade import current_version, head_version, tables, upgrade
from imagesys_lib.errors import DatabaseUnavailable, EnvironmentFault
from imagesys_lib.images.states import ALLOWED, State, move
from imagesys_lib.stages.ingest import ingest
from tests.support.world import World, in_threads


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


@pytest.mark.usefixtures("patient")
def test_a_schema_of_an_unknown_version_is_named_with_the_way_out_and_left_as_it_is(world: World) -> None:
    head = head_version("country")
    world.sql("UPDATE alembic_version SET version_num = '0012'")
    try:
        before = world.dump()
        upgrading, doctor = world.cli("db", "upgrade", "uk"), world.cli("doctor")
        assert world.dump() == before
    finally:
        world.sql("UPDATE alembic_version SET version_num = :head", head=head)
    assert upgrading.code == 3
    for said in (upgrading.err, doctor.out):
        assert "Schema imagesys_uk on 127.0.0.1 is at version 0012, which this code does not know" in said
        assert "one from before 0.1.0" in said
        assert "start with an empty schema" in said


def test_a_schema_whose_making_was_killed_is_made_whole_by_the_next_call(world: World) -> None:
    world.sql("DROP SCHEMA IF EXISTS imagesys_de")
    world.sql("CREATE SCHEMA imagesys_de CHARACTER SET utf8mb4")
    engine = sa.create_engine(world.ctx.db.url.set(database="imagesys_de"), isolation_level="READ COMMITTED")
    country_metadata.tables["lis_images"].create(engine)
    assert upgrade(engine, "country") == (None, head_version("country"))
    assert tables(engine) == {*country_metadata.tables, "alembic_version"}
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
        write(world.ctx.db, lambda connection: connection.execute(long))


@pytest.mark.parametrize("frm", State)
@pytest.mark.parametrize("to", State)
def test_only_transitions_of_the_table_ever_reach_the_database(frm: State, to: State) -> None:
    statements: list[Any] = []

    class Recorder:
        def execute(self, statement: Any) -> Any:
            statements.append(statement)
            return type("Result", (), {"rowcount": 1})

    if to in ALLOWED[frm]:
        assert move(Recorder(), to, frm=(frm,), where=sa.true()) == 1  # type: ignore[arg-type]
        text = str(statements[0])
        assert "lis_images.state = " in text
        return
    with pytest.raises(ValueError, match=f"never goes from {frm.value} to {to.value}"):
        move(Recorder(), to, frm=(frm,), where=sa.true())  # type: ignore[arg-type]
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
        def both(connection: sa.Connection) -> None:
            tries.append(1)
            for image_id in ids:
                connection.execute(
                    sa.text("UPDATE lis_images SET attempts = attempts + 1 WHERE image_id = :id"), {"id": image_id}
                )
                connection.execute(sa.text("SELECT SLEEP(0.2)"))

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
        engine_module.check_connection(engine, patience=0.5)
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
