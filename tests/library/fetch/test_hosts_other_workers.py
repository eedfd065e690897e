"""What one worker learns of a host reaches the others in time, also those that have not asked the host for long."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa

from imagesys_lib.db.schema import lis_hosts
from imagesys_lib.fetch.politeness import host_records
from imagesys_lib.fetch.politeness.host_records import pause
from imagesys_lib.images.reasons import ImageFault
from tests.library.fetch.test_hosts import HOST, Limiters, admitted, elapse, fail, limiters, row
from tests.support.world import World, wait_for

__all__ = ["limiters"]  # the fixture


def test_a_pause_is_heard_by_a_worker_that_has_asked_nothing_yet(limiters: Limiters) -> None:
    one, other = limiters(), limiters()
    other.prepare([HOST])
    assert admitted(one, 1) == 1
    one.left(HOST, ImageFault("http_429", retry_after=120))
    assert other.admit(HOST).give_up


def test_a_slot_that_comes_with_a_pause_is_not_used(limiters: Limiters) -> None:
    one, other = limiters(per_host=1), limiters(per_host=1)
    assert admitted(one, 1) == 1
    assert admitted(other, 1) == 0  # waits now, and for longer than it takes to ask the next host
    one.left(HOST, ImageFault("http_429", retry_after=120))
    assert other.admit(HOST).give_up
    assert admitted(one, 1) == 0


def test_a_slot_is_handed_on_only_when_the_pause_is_written(world: World, limiters: Limiters) -> None:
    one, other = limiters(per_host=2), limiters(per_host=2)
    host_records.note_answers(world.ctx.shared, [HOST])
    assert admitted(one, 2) == 2
    assert admitted(other, 1) == 0

    def shares() -> bool:
        one.refresh()
        return one._hosts[HOST].most < 2

    wait_for(shares, "a slot to hand on", 4)
    with ThreadPoolExecutor(1) as pool:
        with world.ctx.shared.begin() as connection:
            connection.execute(sa.select(lis_hosts).where(lis_hosts.c.host == HOST).with_for_update())
            reported = pool.submit(one.left, HOST, ImageFault("http_429", retry_after=120))
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                assert not other.admit(HOST).go
                time.sleep(0.05)
            assert not reported.done()
        reported.result(10)
    assert other.admit(HOST).give_up


def test_a_pause_is_heard_by_a_worker_that_waits_for_its_turn(world: World, limiters: Limiters) -> None:
    limiter = limiters(rate=0.25)
    assert admitted(limiter, 1) == 1
    limiter.left(HOST, None)
    turn_at = time.monotonic() + limiter.admit(HOST).wait

    def rests() -> bool:
        limiter.refresh()
        return limiter._slots.held(HOST) == 0

    wait_for(rests, "the idle slot", 4)
    pause(world.ctx.shared, HOST, 300, "http_429")
    time.sleep(max(0.0, turn_at - time.monotonic()))
    assert limiter.admit(HOST).give_up


def test_a_breaker_that_others_opened_again_is_no_longer_half_open(world: World, limiters: Limiters) -> None:
    breaker = {"failures": 2, "first_seconds": 600}
    first = limiters(breaker=breaker)
    fail(first, 2)
    elapse(world)
    one, other = limiters(breaker=breaker), limiters(breaker=breaker)
    other.prepare([HOST])
    fail(one, 1)
    assert row(world).openings == 2
    assert other.admit(HOST).give_up


def test_a_breaker_that_others_found_half_open_lets_one_request_through(world: World, limiters: Limiters) -> None:
    breaker = {"failures": 2, "first_seconds": 600}
    one, other = limiters(breaker=breaker), limiters(breaker=breaker)
    other.prepare([HOST])
    fail(one, 2)
    elapse(world)
    assert admitted(other, 3) == 1


def test_a_worker_that_gives_a_host_up_waits_for_it_no_more(world: World, limiters: Limiters) -> None:
    one, other = limiters(per_host=1), limiters(per_host=1)
    assert admitted(other, 1) == 1
    other.left(HOST, None)
    other._slots.keep(HOST, 0)  # as to a worker that waits
    assert admitted(one, 1) == 1
    assert admitted(other, 1) == 0
    assert one._slots.awaited() == {HOST}
    pause(world.ctx.shared, HOST, 120, "http_429")  # by a third one
    wait_for(lambda: other.admit(HOST).give_up, "the news", 3)
    assert one._slots.awaited() == set()


def test_requests_that_outlive_their_connection_still_count_against_the_limit(world: World, limiters: Limiters) -> None:
    limiter = limiters()
    assert admitted(limiter, 6) == 3
    assert limiter._slots._connection is not None
    connection_id = limiter._slots._connection.scalar(sa.select(sa.func.connection_id()))
    world.write_all(world.ctx.shared, [sa.text(f"KILL {connection_id}")])
    wait_for(lambda: not limiter._slots.take("elsewhere.example", 1), "the loss", 5)
    assert limiter._slots.held(HOST) == 0
    assert admitted(limiter, 6) == 0
    assert admitted(limiters(), 6) == 0  # their slots were taken anew
    limiter.left(HOST, None)
    assert admitted(limiter, 6) == 1
