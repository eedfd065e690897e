"""Leases: who may work on a batch, for how long, and whose late write is refused."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from imagesys_lib.db.engine import write
from imagesys_lib.db.schema import lis_batches, lis_images
from imagesys_lib.errors import LeaseHeld, LeaseLost, Stopped, UsageError
from imagesys_lib.images.states import State, move
from imagesys_lib.runs import leases
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.shared.batch import Crew, hold, images_in
from tests.support.world import World, in_threads, wait_for


@contextlib.contextmanager
def threads(number: int, work: Callable[[int], int]) -> Iterator[Callable[[int], Future[list[int]]]]:
    """What a crew hands its pieces to: each is one image."""
    with ThreadPoolExecutor(number) as pool:
        yield lambda item: pool.submit(lambda: [work(item)])
        pool.shutdown(wait=False, cancel_futures=True)


@pytest.fixture
def batch(world: World) -> int:
    world.new_images(10)
    return plan(world.ctx, world.run())[0].batch_id


def batch_row(world: World, batch_id: int) -> sa.Row:
    return world.rows(sa.select(lis_batches).where(lis_batches.c.batch_id == batch_id))[0]


def test_planners_at_once_reserve_disjoint_images_and_leave_none(world: World) -> None:
    world.new_images(700)
    runs = [world.run() for _ in range(3)]
    contexts = [world.context() for _ in runs]
    plans = in_threads(*[lambda c=c, r=r: plan(c, r) for c, r in zip(contexts, runs, strict=True)])
    rows = world.images().values()
    assert {row.state for row in rows} == {"reserved"}
    sizes = {batch.batch_id: batch.size for one in plans for batch in one}
    counted = {batch_id: sum(row.batch_id == batch_id for row in rows) for batch_id in sizes}
    assert counted == sizes
    assert sum(sizes.values()) == 700
    for one in plans:
        assert [batch.seq for batch in one] == list(range(len(one)))


def test_a_locked_row_holds_up_no_other_and_is_taken_once_it_is_free(world: World) -> None:
    world.new_images(10)
    planner, run = world.context(), world.run()

    def free_once_the_others_are_taken() -> None:
        with world.ctx.db.connect() as other:
            other.execute(sa.select(lis_images.c.image_id).where(lis_images.c.image_id > 0).limit(4).with_for_update())
            locked.set()
            wait_for(lambda: world.count() == {"reserved": 6, "new": 4}, "the other six", 8)
            other.rollback()

    locked = threading.Event()

    def plan_then() -> int:
        assert locked.wait(5)
        return sum(batch.size for batch in plan(planner, run))

    assert in_threads(free_once_the_others_are_taken, plan_then)[1] == 10


def test_a_held_batch_is_refused_to_others_until_its_lease_runs_out(world: World, batch: int) -> None:
    first = leases.acquire(world.ctx.db, batch, "worker-a", 1)
    with pytest.raises(LeaseHeld, match=r"held by worker-a until .* Remedy: wait"):
        leases.acquire(world.ctx.db, batch, "worker-b", 1)
    time.sleep(1.1)
    second = leases.acquire(world.ctx.db, batch, "worker-b", 5)
    assert second.fence == first.fence + 1


def test_another_holder_waits_for_the_lease_and_then_takes_over(world: World, batch: int) -> None:
    leases.acquire(world.ctx.db, batch, "worker-a", 1)
    started = time.monotonic()
    taken = leases.acquire_patiently(world.ctx.db, batch, "worker-b", 1)
    assert 0.5 < time.monotonic() - started < 4
    assert taken.holder == "worker-b"


def test_waiting_ends_after_two_leases_or_when_stopped(world: World, batch: int) -> None:
    leases.acquire(world.ctx.db, batch, "worker-a", 60)
    with pytest.raises(LeaseHeld):
        leases.acquire_patiently(world.ctx.db, batch, "worker-b", 0)
    ctx = world.context(stop=threading.Event())
    ctx.stop.set()
    started = time.monotonic()
    with pytest.raises(Stopped), hold(ctx, batch, "worker-b", "done"):
        pass
    assert time.monotonic() - started < 3


def test_a_retry_of_the_same_holder_takes_over_at_once(world: World, batch: int) -> None:
    first = leases.acquire(world.ctx.db, batch, "task-try", 3600)
    started = time.monotonic()
    second = leases.acquire_patiently(world.ctx.db, batch, "task-try", 3600)
    assert time.monotonic() - started < 1
    with pytest.raises(LeaseLost):
        leases.renew(world.ctx.db, first)
    leases.renew(world.ctx.db, second)


def test_renewing_keeps_a_short_lease_alive(world: World, batch: int) -> None:
    lease = leases.acquire(world.ctx.db, batch, "worker-a", 1)
    for _ in range(4):
        time.sleep(0.5)
        leases.renew(world.ctx.db, lease)
        with pytest.raises(LeaseHeld):
            leases.acquire(world.ctx.db, batch, "worker-b", 1)


def test_a_zombies_late_write_is_refused_and_changes_nothing(world: World, batch: int) -> None:
    zombie = leases.acquire(world.ctx.db, batch, "worker-a", 1)
    time.sleep(1.1)
    leases.acquire(world.ctx.db, batch, "worker-b", 60)
    before = world.dump()

    def late(connection: sa.Connection) -> None:
        move(connection, State.DOWNLOADED, frm=(State.RESERVED,), where=lis_images.c.batch_id == batch)
        leases.guard(connection, zombie)

    with pytest.raises(LeaseLost, match="was taken over"):
        write(world.ctx.db, late)
    leases.release(world.ctx.db, zombie, "done")  # not its own any more
    assert world.dump() == before
    assert batch_row(world, batch).holder == "worker-b"


def test_only_the_owner_gives_a_batch_back(world: World, batch: int) -> None:
    with hold(world.ctx, batch, "worker-a", "downloaded"):
        assert batch_row(world, batch).holder == "worker-a"
    row = batch_row(world, batch)
    assert (row.holder, row.lease_until, row.state) == (None, None, "downloaded")
    with pytest.raises(ZeroDivisionError), hold(world.ctx, batch, "worker-a", "done"):
        raise ZeroDivisionError
    row = batch_row(world, batch)
    assert (row.holder, row.lease_until, row.state) == (None, None, "downloaded")


def test_a_batch_that_does_not_exist_is_a_usage_error(world: World) -> None:
    with pytest.raises(UsageError, match="no batch 99999"):
        leases.acquire(world.ctx.db, 99999, "worker-a", 1)
    assert download(world.ctx, 99999).fetched == 0


def test_what_was_done_is_stored_when_the_stage_is_stopped(world: World, batch: int) -> None:
    """Also what had come in since the last write, and what comes in at that very moment."""
    ctx = world.context(stop=threading.Event())
    lease = leases.acquire(ctx.db, batch, "worker-a", 60)
    done: list[int] = []
    stored: list[int] = []

    def work(item: int) -> int:
        if item >= 7:
            ctx.stop.set()
            raise Stopped
        done.append(item)
        return item

    with pytest.raises(Stopped), threads(2, work) as submit:
        Crew(ctx, lease, 4, submit, stored.extend).run(range(10), 10)
    assert sorted(stored) == sorted(done)


def test_memory_does_not_grow_with_the_batch(world: World, batch: int) -> None:
    lease = leases.acquire(world.ctx.db, batch, "worker-a", 60)
    taken, finished = 0, 0

    class Items(list[int]):
        def __iter__(self):
            nonlocal taken
            for item in super().__iter__():
                taken += 1
                assert taken - finished <= 8 + 1
                yield item

    def work(item: int) -> int:
        nonlocal finished
        finished += 1
        return item

    stored: list[int] = []
    with threads(4, work) as submit:
        Crew(world.ctx, lease, 8, submit, stored.extend).run(Items(range(1000)), 1000)
    assert sorted(stored) == list(range(1000))


def test_a_zombie_crew_stops_at_its_next_renewal(world: World, batch: int) -> None:
    lease = leases.acquire(world.ctx.db, batch, "worker-a", 1)
    leases.acquire(world.ctx.db, batch, "worker-a", 60)
    started = time.monotonic()
    with pytest.raises(LeaseLost), threads(1, lambda item: time.sleep(0.1) or item) as submit:
        Crew(world.ctx, lease, 2, submit, lambda _: None).run(range(100), 100)
    assert time.monotonic() - started < 3
    assert len(images_in(world.ctx, batch, State.RESERVED)) == 10
