"""Politeness to hosts over all workers: slots, pauses, circuit breakers and rates in the shared schema."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.config import Fetch
from imagesys_lib.db.schema import lis_hosts
from imagesys_lib.fetch.politeness import host_records
from imagesys_lib.fetch.politeness.host_limits import PATIENCE, SharedLimiter
from imagesys_lib.fetch.politeness.host_records import pause
from imagesys_lib.fetch.politeness.slots import Slots
from imagesys_lib.images.reasons import ImageFault
from tests.support.world import World, wait_for

HOST = "img.example"
Limiters = Callable[..., SharedLimiter]


@pytest.fixture
def limiters(world: World) -> Iterator[Limiters]:
    """Make limiters as workers of their own would have, each with a connection of its own."""
    made: list[SharedLimiter] = []

    def make(**fetch: Any) -> SharedLimiter:
        settings = Fetch(user_agent="ImageSys-test/1 (+https://example.com)", **{"per_host": 3, **fetch})
        made.append(SharedLimiter(world.context().shared, settings))
        return made[-1]

    yield make
    for limiter in made:
        limiter.__exit__(None, None, None)


def admitted(limiter: SharedLimiter, asked: int, host: str = HOST) -> int:
    return sum(limiter.admit(host).go for _ in range(asked))


def fail(limiter: SharedLimiter, times: int, code: str = "http_500", host: str = HOST) -> None:
    for _ in range(times):
        assert limiter.admit(host).go
        limiter.left(host, ImageFault(code))


def elapse(world: World) -> None:
    """Let every pause be over."""
    past = sa.func.timestampadd(sa.text("SECOND"), -1, sa.func.utc_timestamp(6))
    world.write_all(world.ctx.shared, [sa.update(lis_hosts).values(not_before=past)])


def paused(world: World, *hosts: str) -> dict[str, float]:
    """Return those that may not be asked now, with the seconds still to wait."""
    return {
        host: known.wait for host, known in host_records.circuits(world.ctx.shared, hosts).items() if known.wait > 0
    }


def row(world: World, host: str = HOST) -> Any:
    with world.ctx.shared.begin() as connection:
        return connection.execute(sa.select(lis_hosts).where(lis_hosts.c.host == host)).one_or_none()


# Slots


def test_the_limit_of_a_host_holds_over_all_workers(limiters: Limiters) -> None:
    one, other = limiters(), limiters()
    assert admitted(one, 2) == 2
    assert admitted(other, 5) == 1
    assert admitted(one, 5) == 0
    assert admitted(one, 5, "elsewhere.example") == 3
    other.left(HOST, None)
    assert admitted(other, 1) == 1


def test_a_host_has_the_limit_that_the_configuration_gives_it(limiters: Limiters) -> None:
    limiter = limiters(hosts={"slow.example": {"per_host": 1}})
    assert admitted(limiter, 5, "slow.example") == 1
    assert admitted(limiter, 5, "slow.example:8080") == 1
    assert admitted(limiter, 5, HOST) == 3


def test_a_worker_that_holds_all_slots_hands_half_of_them_to_one_that_waits(limiters: Limiters) -> None:
    one, other = limiters(per_host=4), limiters(per_host=4)
    assert admitted(one, 9) == 4
    assert admitted(other, 1) == 0  # waits now

    def exchange() -> bool:
        if one.admit(HOST).go:
            one.left(HOST, None)
        one.left(HOST, None)  # one of its requests ends, it asks for the next
        one.admit(HOST)
        return other.admit(HOST).go

    wait_for(exchange, "a slot", 5)


def test_slots_without_work_are_given_back(limiters: Limiters) -> None:
    one, other = limiters(), limiters()
    assert admitted(one, 3) == 3
    for _ in range(3):
        one.left(HOST, None)

    def freed() -> bool:
        one.admit("elsewhere.example")
        return admitted(other, 3) > 0

    wait_for(freed, "idle slots", 6)


def test_a_worker_that_is_killed_frees_its_slots_at_once(world: World) -> None:
    code = (
        "import time; from imagesys_lib.context import open_context\n"
        "from imagesys_lib.fetch.politeness.slots import Slots\n"
        f"slots = Slots(open_context('uk').shared); print([slots.take('{HOST}', 2) for _ in range(3)], flush=True)\n"
        "time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout
        assert child.stdout.readline().strip() == "[True, True, False]"
        with Slots(world.ctx.shared) as slots:
            assert not slots.take(HOST, 2)
            child.kill()
            child.wait()
            wait_for(lambda: slots.take(HOST, 2), "the slot of a dead worker", 5)
    finally:
        child.kill()
        child.communicate()


def test_slots_survive_the_loss_of_their_connection(world: World) -> None:
    with Slots(world.ctx.shared) as slots, Slots(world.context().shared) as other:
        assert slots.take(HOST, 1)
        assert slots._connection is not None
        connection_id = slots._connection.scalar(sa.select(sa.func.connection_id()))
        world.write_all(world.ctx.shared, [sa.text(f"KILL {connection_id}")])
        wait_for(lambda: other.take(HOST, 1), "the slot", 5)
        assert not slots.take("elsewhere.example", 1)  # notices the loss
        assert slots.held(HOST) == 0
        assert slots.take("elsewhere.example", 1)
        assert not slots.take(HOST, 1)


# Pauses


def test_a_pause_that_one_worker_is_asked_for_stops_the_host_for_all(world: World, limiters: Limiters) -> None:
    one, other = limiters(), limiters()
    assert admitted(other, 1) == 1
    assert admitted(one, 1) == 1
    one.left(HOST, ImageFault("http_429", retry_after=120))
    admission = one.admit(HOST)
    assert admission.give_up
    assert 118 < admission.wait <= 120
    wait_for(lambda: other.admit(HOST).give_up, "the news", 3)
    assert limiters().admit(HOST).give_up
    assert 110 < paused(world, HOST)[HOST] <= 120


def test_a_short_pause_is_waited_out(limiters: Limiters) -> None:
    limiter = limiters()
    assert admitted(limiter, 1) == 1
    limiter.left(HOST, ImageFault("http_503", retry_after=PATIENCE - 1))
    admission = limiter.admit(HOST)
    assert not admission.go
    assert not admission.give_up
    assert admission.wait > PATIENCE - 2


def test_a_longer_pause_is_not_cut_short_by_a_shorter_one(world: World) -> None:
    pause(world.ctx.shared, "a.example", 300, "http_429")
    pause(world.ctx.shared, "a.example", 5, "http_503")
    assert 290 < paused(world, "a.example", "other")["a.example"] <= 300


def test_a_host_may_be_of_any_alphabet_and_length(world: World) -> None:
    for host in ("größe.example", "x" * 300):
        pause(world.ctx.shared, host, 60, "http_429")
    assert set(paused(world, "größe.example", "x" * 300, "other")) == {"größe.example", "x" * 300}


# Breakers


def test_a_host_that_fails_wholly_is_left_alone_and_others_are_not(world: World, limiters: Limiters) -> None:
    limiter = limiters(breaker={"failures": 4, "first_seconds": 600})
    fail(limiter, 4)
    assert limiter.admit(HOST).give_up
    assert limiter.admit("elsewhere.example").go
    assert limiters().admit(HOST).give_up  # for every worker
    assert (row(world).openings, row(world).reason) == (1, "http_500")


def test_an_answer_between_failures_keeps_a_breaker_closed(limiters: Limiters) -> None:
    limiter = limiters(breaker={"failures": 4})
    for _ in range(5):
        fail(limiter, 3)
        assert limiter.admit(HOST).go
        limiter.left(HOST, ImageFault("http_404"))
    assert limiter.admit(HOST).go


def test_failures_in_a_row_are_counted_on_by_the_next_batch(limiters: Limiters) -> None:
    first = limiters(breaker={"failures": 4, "first_seconds": 600})
    fail(first, 3)
    first.write_back()
    second = limiters(breaker={"failures": 4, "first_seconds": 600})
    fail(second, 1)
    assert second.admit(HOST).give_up


def test_one_request_at_a_time_over_all_workers_decides_about_a_breaker(world: World, limiters: Limiters) -> None:
    breaker = {"failures": 2, "first_seconds": 600}
    first = limiters(breaker=breaker)
    fail(first, 2)
    assert first.admit(HOST).give_up
    elapse(world)
    one, other = limiters(breaker=breaker), limiters(breaker=breaker)
    assert admitted(one, 3) == 1
    assert admitted(other, 3) == 0
    one.left(HOST, ImageFault("timeout"))
    assert 1190 < one.admit(HOST).wait <= 1200  # opened again, for twice as long
    assert row(world).openings == 2

    elapse(world)
    third = limiters(breaker=breaker)
    assert admitted(third, 3) == 1
    third.left(HOST, None)
    assert admitted(third, 3) == 3
    assert (row(world).openings, row(world).failures) == (0, 0)


def test_a_half_open_request_that_is_cut_short_tells_nothing(world: World, limiters: Limiters) -> None:
    limiter = limiters(breaker={"failures": 2, "first_seconds": 600})
    fail(limiter, 2)
    elapse(world)
    limiter = limiters()
    assert admitted(limiter, 1) == 1
    limiter.abandoned(HOST)
    assert row(world).openings == 1
    assert admitted(limiter, 2) == 1


def test_silence_of_several_hosts_at_once_opens_no_breaker(limiters: Limiters) -> None:
    limiter = limiters(breaker={"failures": 3})
    for _ in range(3):
        for host in ("a.example", "b.example", "c.example"):
            fail(limiter, 1, "connect", host)
    assert limiter.network.is_doubtful
    assert all(limiter.admit(host).go for host in ("a.example", "b.example", "c.example"))
    limiter.forgive()
    assert not limiter.network.is_doubtful
    fail(limiter, 2, "connect", "a.example")
    assert limiter.admit("a.example").go


def test_a_host_that_answered_lately_shows_whether_our_own_network_is_up(world: World, limiters: Limiters) -> None:
    inside = {"allowed_addresses": ["127.0.0.0/8"]}
    limiter = limiters(**inside)

    def doubt() -> None:
        for host in ("a.example", "b.example"):
            limiter.network.note(host, ImageFault("connect"))

    assert limiter.network.works()  # nothing speaks against it
    limiter = limiters(**inside)
    doubt()
    assert not limiter.network.works()  # nothing is known of any host
    host_records.note_answers(world.ctx.shared, [f"127.0.0.11:{world.sandbox.website.port}"])
    wait_for(limiter.network.works, "another look, a second after the first", 3)
    assert not limiter.network.is_doubtful
    limiter = limiters(**inside)
    doubt()
    world.write_all(world.ctx.shared, [sa.delete(lis_hosts)])
    host_records.note_answers(world.ctx.shared, ["127.0.0.1:9"])
    assert not limiter.network.works()


# Rates


def test_the_rate_of_a_host_holds_over_all_workers(limiters: Limiters) -> None:
    pair = [limiters(rate=20, per_host=10), limiters(rate=20, per_host=10)]
    began, done = time.monotonic(), 0
    while done < 20:
        for limiter in pair:
            if limiter.admit(HOST).go:
                limiter.left(HOST, None)
                done += 1
        time.sleep(0.002)
    assert 0.85 < time.monotonic() - began < 3
