"""Locks that the database gives away: whoever held one ends before it works on beside another."""

from __future__ import annotations

import threading
import time

import pytest
import sqlalchemy as sa

from imagesys_lib.db import engine as engine_module
from imagesys_lib.db.locks import named_lock
from imagesys_lib.db.schema import lis_listing_images
from imagesys_lib.errors import DatabaseUnavailable, LockLost
from imagesys_lib.stages.check import check
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.purge import purge
from imagesys_lib.stages.repair import repair as repair_module
from imagesys_lib.stages.repair.repair import repair
from imagesys_lib.stages.sync import sync
from include.sandbox import ManifestEntry
from tests.library.replication.test_sync import made
from tests.support.trees import assert_equal_nodes
from tests.support.world import World, remove_below

Entries = dict[str, ManifestEntry]


def kill_holder(world: World, name: str) -> None:
    """End the connection that holds a lock, as a restart of the server does."""
    world.sql(f"KILL {world.scalar(sa.select(sa.func.is_used_lock(name)))}")


def test_a_lost_lock_is_noticed(world: World) -> None:
    lock = named_lock(world.ctx.db, "imagesys.test", timeout=1)
    with lock:
        lock.verify()
        kill_holder(world, "imagesys.test")
        for _ in range(2):
            with pytest.raises(LockLost, match=r"'imagesys.test' is lost.*Remedy: clear this task"):
                lock.verify()


def test_a_lock_that_another_worker_has_taken_meanwhile_is_a_lost_one(world: World) -> None:
    lock = named_lock(world.ctx.db, "imagesys.test", timeout=1)
    with lock:
        kill_holder(world, "imagesys.test")
        with named_lock(world.ctx.db, "imagesys.test", timeout=5), pytest.raises(LockLost):
            lock.verify()


def test_a_lock_outlasts_a_server_that_soon_ends_idle_connections(world: World) -> None:
    was = world.scalar(sa.text("SELECT @@GLOBAL.wait_timeout"))
    administrator = world.sandbox.mariadb.connect_as_administrator()
    try:
        administrator.cursor().execute("SET GLOBAL wait_timeout = 1")
        lock = named_lock(world.context().db, "imagesys.test", timeout=1)
        with lock:
            time.sleep(3)
            lock.verify()
    finally:
        administrator.cursor().execute(f"SET GLOBAL wait_timeout = {was}")
        administrator.close()


def test_a_database_that_is_away_when_a_lock_is_wanted_is_waited_for(world: World) -> None:
    ctx = world.context()  # nothing is connected yet
    world.sandbox.mariadb.stop()
    back = threading.Timer(2, world.sandbox.mariadb.start)
    back.start()
    try:
        with named_lock(ctx.db, "imagesys.test", timeout=1) as lock:
            lock.verify()
    finally:
        back.join(60)


def test_a_database_that_stays_away_when_a_lock_is_wanted_is_a_clear_failure(world: World) -> None:
    ctx = world.context()
    world.patch.setattr(engine_module, "_PATIENCE", 1.5)
    world.sandbox.mariadb.stop()
    try:
        with pytest.raises(DatabaseUnavailable, match="did not answer within 2 s"):
            sync(ctx, "n1")
        assert world.cli("sync", "uk", "--node", "n1").code == 3
    finally:
        world.sandbox.mariadb.start()


def test_a_database_that_goes_while_a_lock_is_waited_for_is_waited_for_too(world: World) -> None:
    ctx, waits = world.context(), []

    def restart(seconds: float) -> None:
        if not waits:
            world.sandbox.mariadb.stop()
            world.sandbox.mariadb.start()
        waits.append(seconds)

    with named_lock(world.ctx.db, "imagesys.test", timeout=1):
        with named_lock(ctx.db, "imagesys.test", timeout=30, on_wait=restart) as lock:
            lock.verify()
        assert waits


def test_a_sync_that_loses_its_lock_ends_before_the_next_group_and_is_taken_up_again(world: World) -> None:
    made(world, 20)
    world.reconfigure(transfer={"group_images": 4})
    ctx = world.context(progress=lambda _done, _total: kill_holder(world, "imagesys.uk.n1"))
    with pytest.raises(LockLost):
        sync(ctx, "n1")
    assert 0 < len(world.tree("n1")) <= 8
    assert not (world.root("n1") / ".imagesys" / "ready").exists()
    world.sync_all()
    publish(world.ctx)
    assert len(assert_equal_nodes(world)) == 40


def test_a_repair_that_loses_its_lock_ends_before_the_next_group_and_is_taken_up_again(
    world: World, live: Entries
) -> None:
    remove_below(world.root("n2"))
    check(world.ctx, "n2")
    world.patch.setattr(repair_module, "_GROUP", 10)
    ctx = world.context(progress=lambda _done, _total: kill_holder(world, "imagesys.uk.n2"))
    with pytest.raises(LockLost):
        repair(ctx, "n2")
    assert len(world.tree("n2")) == 20
    assert repair(world.ctx, "n2").restored == 30
    assert_equal_nodes(world)


def test_a_purge_that_loses_its_lock_takes_nothing_off_beside_another_and_is_taken_up_again(
    world: World, live: Entries
) -> None:
    all_may_go = {"retention_days": 0, "grace_hours": 0, "cap_percent": 100, "max_unlisted_percent": 100}
    world.reconfigure(purge=all_may_go)
    world.sql("UPDATE lis_listing_images SET missing_since = '2026-01-01', seen_at = '2026-01-01'")
    world.sandbox.etl.remove("uk", sorted({row.listing_id for row in world.rows(sa.select(lis_listing_images))}))
    calls = iter([kill_holder])
    ctx = world.context(progress=lambda _done, _total: next(calls, lambda *_: None)(world, "imagesys.uk.purge"))
    with pytest.raises(LockLost):
        purge(ctx)
    assert len(world.live()) == len(live)
    assert purge(world.ctx).unpublished == len(live)
    assert world.live() == {}
