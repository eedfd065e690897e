"""Faults of the database in mid-run: it is away for longer than anybody waits (3), or a row is locked by others (4)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.db import engine as engine_module
from imagesys_lib.db.schema import lis_batches, lis_images
from imagesys_lib.db.upgrade import head_version
from imagesys_lib.errors import DatabaseReadOnly, DatabaseUnavailable
from imagesys_lib.runs import runs
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.thumbnail import thumbnail
from tests.support.world import World, in_threads, wait_for

IMAGES = 60


@contextlib.contextmanager
def database_stops(world: World, under_way: Callable[[], bool]) -> Iterator[threading.Event]:
    """Stop MariaDB once that is true; it is back after the block."""
    stopped = threading.Event()

    def stop() -> None:
        wait_for(under_way, "work to be under way", 30)
        world.sandbox.mariadb.stop()
        stopped.set()

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        yield stopped
    finally:
        thread.join(60)
        world.sandbox.mariadb.start()


@pytest.mark.parametrize(
    "stage", ["download", *(pytest.param(stage, marks=pytest.mark.long) for stage in ("thumbnail", "sync"))]
)
def test_a_database_that_stays_away_ends_a_run_in_a_clear_failure_and_the_run_cleared_does_the_rest(
    world: World, stage: str
) -> None:
    world.reconfigure(
        batch={"size": 500, "lease_seconds": 2},
        fetch={"in_flight": 4, "per_host": 1},
        transfer={"bandwidth_kbps": 40},
    )
    world.seed(IMAGES)
    world.sandbox.website.set_delay(60 if stage == "download" else 0)
    under_way = {
        "download": lambda: len([name for name in world.staged("originals") if name.endswith(".json")]) > 8,
        "thumbnail": lambda: len(world.staged("out")) > 4,
        "sync": lambda: len(world.tree("n1")) > 4,
    }[stage]
    run = world.run()
    said: list[str] = []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module, "_PATIENCE", 1.5)
        with database_stops(world, under_way) as stopped, pytest.raises(DatabaseUnavailable) as fault:
            world.pipeline(run, said.append)
    assert stopped.is_set()
    assert "did not answer within 2 s" in str(fault.value)
    assert "bring it back, then clear this task; nothing is lost" in str(fault.value)
    assert fault.value.exit_code == 3
    row = runs.load(world.ctx.db, run.run_id)
    assert row is not None
    assert row.state == "running"  # nobody could write that it is not
    assert world.count()["live"] == 0

    world.sandbox.website.set_delay(0)
    assert world.pipeline(run).lost == []
    assert world.count() == {"live": IMAGES}
    assert len(world.live()) == IMAGES
    assert len(world.equal_trees()) == 2 * IMAGES
    asked = world.requests()
    assert set(asked.values()) <= {1, 2}
    assert sum(count - 1 for count in asked.values()) <= 4  # what was under way when the batch ended
    assert world.rows(sa.select(lis_batches).where(lis_batches.c.holder.is_not(None))) == []
    assert world.staged("originals") == world.staged("out") == []


def test_a_lock_that_others_keep_for_too_long_is_waited_for_again_and_no_image_is_passed_over(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.seed(10)
    run = world.run()
    ingest(world.ctx, run)
    batch = plan(world.ctx, run)[0].batch_id
    download(world.ctx, batch)
    impatient = world.context()

    @sa.event.listens_for(impatient.db, "connect")
    def wait_a_second_at_most(connection: Any, _record: object) -> None:
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")

    locked = threading.Event()

    def keep_some_images() -> None:
        with world.ctx.db.connect() as other:
            other.execute(sa.select(lis_images.c.image_id).order_by(lis_images.c.image_id).limit(3).with_for_update())
            locked.set()
            wait_for(lambda: caplog.text.count("(1205, ") >= 2, "two waits that were too long", 30)
            other.rollback()

    def make_thumbnails() -> Any:
        assert locked.wait(10)
        return thumbnail(impatient, batch)

    assert in_threads(keep_some_images, make_thumbnails)[1].made == 10
    assert world.count() == {"thumbnailed": 10}


# A database that takes no writes


@contextlib.contextmanager
def read_only(world: World) -> Iterator[None]:
    """Let the server take no writes of those that are no administrators, such as the pipeline's user."""
    with world.sandbox.mariadb.connect_as_administrator() as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL read_only = 1")
        try:
            yield
        finally:
            cursor.execute("SET GLOBAL read_only = 0")


def test_a_database_that_is_read_only_is_named_as_such(world: World) -> None:
    world.put("L", "http://127.0.0.11:9/x.jpg")
    world.cli("run", "uk", "--interval", "2026-03-28")
    (world.root("n1") / "uk" / "0" / "0" / "0").mkdir(parents=True)
    (world.root("n1") / "uk" / "0" / "0" / "0" / ("0" * 37 + ".1.jpg")).write_bytes(b"extra")
    before = world.dump()
    for command in (
        ("run", "uk", "--interval", "2026-03-28"),
        ("ingest", "uk", "--interval", "2026-03-28"),
        ("plan", "uk"),
        ("retry", "uk", "--reason", "connect"),
        ("heal", "uk"),
        ("fs-check", "uk"),
    ):
        with read_only(world):
            ran = world.cli(*command)
        assert ran.code == 3, command
        assert ran.err.startswith("Database 127.0.0.1:"), command
        assert "is read only: " in ran.err, command
        assert "Remedy: let the connection lead to a server that can be written to" in ran.err, command
        assert world.dump() == before, command


def test_a_schema_is_not_migrated_where_the_database_is_read_only(world: World) -> None:
    head = head_version("country")
    world.sql("DELETE FROM alembic_version")
    try:
        with read_only(world):
            ran = world.cli("db", "upgrade", "uk")
    finally:
        world.sql("INSERT INTO alembic_version VALUES (:head)", head=head)
    assert ran.code == 3
    assert "is read only: " in ran.err


def test_what_only_looks_works_on_a_database_that_is_read_only(world: World) -> None:
    url = "http://127.0.0.11:9/x.jpg"
    world.put("L", url)
    world.cli("run", "uk", "--interval", "2026-03-28")
    with read_only(world):
        for command in (("status",), ("report",), ("explain", url, "--no-nodes")):
            ran = world.cli(*command, "uk")
            assert (ran.code, ran.err) == (0, "")


def test_a_transaction_that_may_only_read_is_named_alike(world: World) -> None:
    def work(connection: sa.Connection) -> None:
        connection.exec_driver_sql("START TRANSACTION READ ONLY")
        connection.exec_driver_sql("DELETE FROM lis_images")

    with pytest.raises(DatabaseReadOnly, match=r"is read only: .*1792"):
        engine_module.write(world.context().db, work)
