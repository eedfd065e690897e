"""The throttle: work waits between its chunks while the database's server has too much to do, but never for ever."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import MySQLdb
import pytest
import sqlalchemy as sa

from imagesys_lib.context import Context
from imagesys_lib.db import throttle as throttle_module
from imagesys_lib.db.schema import lis_batches, lis_images
from imagesys_lib.db.throttle import Throttle, threads_running
from imagesys_lib.errors import Stopped
from imagesys_lib.ops.maintenance.rows import prune_rows
from imagesys_lib.ops.retry import retry
from imagesys_lib.runs import runs
from imagesys_lib.stages.check import check, db_scan, scrub
from imagesys_lib.stages.heal import heal
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.purge import purge
from imagesys_lib.stages.repair.repair import repair
from include.sandbox import ManifestEntry
from tests.support.world import World, wait_for

Entries = dict[str, ManifestEntry]
LIMIT, CROWD = 3, 6


@contextlib.contextmanager
def crowd(world: World, size: int = CROWD) -> Iterator[Callable[[], None]]:
    """So many threads run at the server until the block ends, or until what it gives is called."""
    connections = [world.sandbox.mariadb.connect() for _ in range(size)]
    ids = [connection.thread_id() for connection in connections]

    def run(connection: Any) -> None:
        with contextlib.suppress(MySQLdb.Error):
            connection.cursor().execute("SELECT SLEEP(300)")

    threads = [threading.Thread(target=run, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()

    def disperse() -> None:
        for number, thread in zip(ids, threads, strict=True):
            if thread.is_alive():
                world.sql(f"KILL QUERY {number}")
        for thread in threads:
            thread.join(10)

    try:
        wait_for(lambda: threads_running(world.ctx.db) > size, "the server to be busy")
        yield disperse
    finally:
        disperse()
        for connection in connections:
            connection.close()


@contextlib.contextmanager
def looks(*engines: sa.Engine) -> Iterator[list[float]]:
    """The instants at which engines are asked how busy their server is."""
    found: list[float] = []

    def note(_c: Any, _k: Any, text: str, *_: Any) -> None:
        if "Threads_running" in text:
            found.append(time.monotonic())

    for engine in engines:
        sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        for engine in engines:
            sa.event.remove(engine, "before_cursor_execute", note)


class Work(threading.Thread):
    """A stage in a thread of its own; ``ended`` is what it returned or raised."""

    def __init__(self, stage: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.stage, self.ended = stage, list[object]()
        self.start()

    def run(self) -> None:
        try:
            self.ended.append(self.stage())
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.ended.append(error)


def begun(world: World) -> runs.Run:
    run = world.run()
    runs.begin(world.ctx.db, run)
    return run


def count(world: World, table: sa.Table) -> int:
    return int(world.scalar(sa.select(sa.func.count()).select_from(table)))


@pytest.mark.parametrize(("stage", "makes"), [(plan, lis_batches), (ingest, lis_images)])
def test_work_waits_for_a_busy_server_says_so_once_and_goes_on_when_it_has_time(
    world: World, caplog: pytest.LogCaptureFixture, stage: Callable[..., Any], makes: sa.Table
) -> None:
    ctx = world.reconfigure(max_threads_running=LIMIT)
    if stage is plan:
        world.new_images(5)
    else:
        world.seed(8)
    run = begun(world)
    with crowd(world) as disperse:
        work = Work(lambda: stage(ctx, run))
        wait_for(lambda: "max_threads_running" in caplog.text, "it to say that it waits")
        time.sleep(2.5)
        assert work.ended == []
        assert count(world, makes) == 0
        disperse()
        work.join(10)
    (ended,) = work.ended
    assert not isinstance(ended, BaseException)
    assert count(world, makes) > 0
    (reported,) = [record.getMessage() for record in caplog.records if "max_threads_running" in record.getMessage()]
    assert f"127.0.0.1:{world.sandbox.mariadb.port} runs " in reported
    assert "more than the 3 of max_threads_running" in reported
    assert "Remedy: see what keeps it busy (SHOW PROCESSLIST)" in reported


def test_a_server_that_is_always_busy_slows_the_work_and_does_not_stop_it(world: World) -> None:
    world.patch.setattr(throttle_module, "_PATIENCE", 0.6)
    world.patch.setattr(throttle_module, "_PAUSE", 0.2)
    ctx = world.reconfigure(max_threads_running=LIMIT, batch={"size": 2})
    world.new_images(300)
    run = begun(world)
    with crowd(world):
        with looks(ctx.db) as looked:
            began = time.monotonic()
            assert sum(batch.size for batch in plan(ctx, run)) == 300
            took = time.monotonic() - began
        assert threads_running(ctx.db) > LIMIT
    gaps = [after - before for before, after in itertools.pairwise(looked)]
    assert min(gaps) > 0.19
    waited = sum(gap for gap in gaps if gap < 0.5)
    assert waited >= 0.5
    assert took <= 2 * waited + 2.5  # a wait, and at least as long without one


def test_being_stopped_ends_the_wait(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.configure(max_threads_running=LIMIT)
    ctx = world.context(stop=threading.Event())
    world.new_images(5)
    run = begun(world)
    with crowd(world):
        work = Work(lambda: plan(ctx, run))
        wait_for(lambda: "max_threads_running" in caplog.text, "it to say that it waits")
        ctx.stop.set()
        work.join(5)
        assert [type(ended) for ended in work.ended] == [Stopped]
    assert count(world, lis_batches) == 0


def test_a_server_that_has_time_is_asked_once_a_second_also_by_many_threads(world: World) -> None:
    ctx = world.context()
    with looks(ctx.db, ctx.etl.engine) as looked:
        until = time.monotonic() + 1.5

        def work() -> None:
            while time.monotonic() < until:
                ctx.give_way(etl=True)
                time.sleep(0.001)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert len(looked) == 2  # the ETL lies on the same server


def test_the_etl_on_a_server_of_its_own_is_looked_at_too(world: World) -> None:
    other = sa.create_engine(world.ctx.db.url.set(host="127.1"))  # by its name another one
    with looks(world.ctx.db, other) as looked:
        Throttle(64, lambda: None).wait(world.ctx.db, other)
    assert len(looked) == 2
    other.dispose()


def test_an_account_that_only_reads_may_ask_and_a_server_that_is_away_is_not_waited_for(world: World) -> None:
    assert threads_running(world.ctx.etl.engine) >= 1
    away = sa.create_engine(world.ctx.db.url.set(port=9), connect_args={"connect_timeout": 2})
    assert threads_running(away) == 0


def test_every_stage_that_works_in_chunks_asks(world: World, live: Entries) -> None:
    next(path for path in world.root("n2").rglob("*.1.jpg")).unlink()
    world.sql("UPDATE lis_images SET state = 'thumbnailed' ORDER BY image_id LIMIT 5")
    world.new_images(3)
    plan(world.ctx, over := begun(world))
    runs.finish(world.ctx.db, over, "failed", {})
    stages: dict[str, Callable[[Context], object]] = {
        "heal": heal,
        "publish": publish,
        "purge": purge,
        "check": lambda ctx: check(ctx, "n2"),
        "repair": lambda ctx: repair(ctx, "n2"),
        "scrub": lambda ctx: scrub(ctx, "n1"),
        "db_scan": db_scan,
        "retry": retry,
        "maintenance": prune_rows,
    }
    silent = []
    for name, stage in stages.items():
        ctx = world.context()
        with looks(ctx.db) as looked:
            stage(ctx)
        silent += [] if looked else [name]
    assert silent == []
