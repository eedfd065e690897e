"""When a host or data source is left alone, and when it may be asked again: tables of decisions."""

from __future__ import annotations

import pytest

from imagesys_lib.config import Breaker
from imagesys_lib.fetch.politeness.circuit_breaker import (
    HALF_OPEN_IMAGES,
    BreakerRule,
    Circuit,
    Position,
    host_rule,
    is_hosts_fault,
    open_seconds,
    source_rule,
)
from imagesys_lib.fetch.politeness.outage import Network
from imagesys_lib.images.reasons import ImageFault

SETTINGS = Breaker(failures=10, first_seconds=60, max_seconds=3600, source_percent=95, source_images=200)
HOST, SOURCE = host_rule(SETTINGS), source_rule(SETTINGS)
DAY = 24 * 3600.0


@pytest.mark.parametrize(
    ("circuit", "position"),
    [
        (Circuit(), Position.CLOSED),
        (Circuit(failures=9), Position.CLOSED),
        (Circuit(wait=300), Position.CLOSED),  # a pause that the host asked for
        (Circuit(openings=1, wait=10), Position.OPEN),
        (Circuit(openings=3, wait=0), Position.HALF_OPEN),
        (Circuit(openings=1, wait=30, age=30), Position.HALF_OPEN),  # somebody tries a few
    ],
)
def test_the_position_of_a_breaker_is_what_its_trips_and_its_time_say(circuit: Circuit, position: Position) -> None:
    assert circuit.position is position


@pytest.mark.parametrize(
    ("failures", "openings", "more", "opens"),
    [(8, 0, 1, False), (9, 0, 1, True), (0, 0, 10, True), (0, 1, 1, True), (0, 1, 0, False)],
)
def test_a_host_is_left_alone_after_failures_in_a_row_and_after_one_that_failed_while_half_open(
    failures: int, openings: int, more: int, opens: bool
) -> None:
    circuit = Circuit(failures, failures, openings, age=0.0 if failures else None)
    assert (circuit.after(more, more, HOST).openings > openings) is opens


@pytest.mark.parametrize(
    ("attempts", "failures", "openings", "opens"),
    [
        (199, 199, 0, False),  # too few to judge
        (200, 190, 0, True),
        (200, 189, 0, False),
        (1000, 960, 0, True),
        (HALF_OPEN_IMAGES, HALF_OPEN_IMAGES, 1, True),
        (HALF_OPEN_IMAGES, HALF_OPEN_IMAGES - 2, 1, False),
        (HALF_OPEN_IMAGES - 1, HALF_OPEN_IMAGES - 1, 1, False),
    ],
)
def test_a_data_source_is_left_alone_when_nearly_all_of_its_images_fail(
    attempts: int, failures: int, openings: int, opens: bool
) -> None:
    circuit = Circuit(openings=openings).after(attempts, failures, SOURCE)
    assert (circuit.openings > openings, circuit.wait > 0) == (opens, opens)


@pytest.mark.parametrize(
    ("rule", "before", "attempts", "failures", "after"),
    [
        # closed: counted, in one window, until it opens
        (SOURCE, Circuit(), 5, 2, Circuit(5, 2, age=0.0)),
        (SOURCE, Circuit(5, 2, age=60.0), 5, 1, Circuit(10, 3, age=60.0)),
        (SOURCE, Circuit(199, 199, age=DAY + 1), 1, 1, Circuit(1, 1, age=0.0)),
        (SOURCE, Circuit(199, 199, age=DAY - 1), 1, 1, Circuit(200, 200, openings=1, wait=60)),
        (HOST, Circuit(5, 5, age=60.0), 1, 0, Circuit()),
        (HOST, Circuit(5, 5, wait=9, age=60.0), 1, 0, Circuit(wait=9)),  # the pause that it asked for stays
        (HOST, Circuit(9, 9, wait=900, age=60.0), 1, 1, Circuit(10, 10, openings=1, wait=900)),
        # open: what was under way when it opened tells nothing new
        (SOURCE, Circuit(openings=1, wait=30), 50, 50, Circuit(openings=1, wait=30)),
        (SOURCE, Circuit(openings=1, wait=30), 50, 0, Circuit(openings=1, wait=30)),
        (HOST, Circuit(openings=1, wait=30), 1, 0, Circuit(openings=1, wait=30)),
        # half-open: enough that fail open it again, for longer; a good share closes it
        (HOST, Circuit(10, 10, openings=1), 1, 1, Circuit(1, 1, openings=2, wait=120)),
        (HOST, Circuit(10, 10, openings=3), 1, 0, Circuit()),
        (SOURCE, Circuit(190, 200, openings=2), 20, 19, Circuit(20, 19, openings=3, wait=240)),
        (SOURCE, Circuit(200, 200, openings=2), 10, 10, Circuit(10, 10, openings=2, age=0.0)),  # too few to tell
        (SOURCE, Circuit(10, 10, openings=2, wait=30, age=30.0), 10, 10, Circuit(20, 20, openings=3, wait=240)),
        (SOURCE, Circuit(10, 10, openings=2, wait=30, age=30.0), 1, 0, Circuit()),
        (SOURCE, Circuit(20, 3, openings=1, wait=30, age=30.0), 0, 0, Circuit()),  # the last of them was decoded
        (SOURCE, Circuit(20, 3, openings=1, wait=30, age=30.0), 0, 17, Circuit(20, 20, openings=2, wait=120)),
        (SOURCE, Circuit(0, 0, openings=1, wait=30, age=30.0), 0, 0, Circuit(0, 0, openings=1, wait=30, age=30.0)),
    ],
)
def test_attempts_open_and_close_a_breaker(
    rule: BreakerRule, before: Circuit, attempts: int, failures: int, after: Circuit
) -> None:
    assert before.after(attempts, failures, rule) == after


def test_what_is_still_to_be_decoded_closes_no_breaker_and_its_failures_open_it() -> None:
    trying = Circuit(openings=1, wait=30, age=30.0)
    assert trying.after(20, 3, SOURCE, closes=False) == Circuit(20, 3, openings=1, wait=30, age=30.0)
    assert trying.after(20, 20, SOURCE, closes=False) == Circuit(20, 20, openings=2, wait=120)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Circuit(5, 5, age=9.0), None),  # closed
        (Circuit(openings=2, wait=1), None),  # open
        (Circuit(200, 195, openings=2), Circuit(0, 0, openings=2, wait=60, age=0.0)),
        (Circuit(0, 0, openings=2, wait=60, age=0.0), None),  # others are at it
        (
            Circuit(20, 3, openings=2, age=70.0),
            Circuit(3, 3, openings=2, wait=60, age=70.0),
        ),  # they decided nothing
    ],
)
def test_one_at_a_time_tries_what_is_half_open(before: Circuit, after: Circuit | None) -> None:
    assert before.tried(SOURCE) == (after or before)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Circuit(5, 5, age=9.0), Circuit(wait=30)),
        (Circuit(wait=40), Circuit(wait=40)),
        (Circuit(openings=2, wait=20), Circuit(openings=2, wait=30)),
        (Circuit(1, 0, openings=2, wait=0, age=1.0), Circuit(openings=2, wait=30)),
    ],
)
def test_a_pause_that_a_host_asks_for_lasts_at_least_so_long_and_closes_nothing(
    before: Circuit, after: Circuit
) -> None:
    assert before.paused(30) == after


def test_time_passes() -> None:
    assert [Circuit(openings=1, wait=30).later(seconds).wait for seconds in (10, 40)] == [20, 0]


def test_each_time_it_opens_in_a_row_doubles_the_time_up_to_a_limit() -> None:
    assert [open_seconds(openings, SETTINGS) for openings in (0, 1, 2, 3, 6, 7, 60_000)] == [
        60,
        60,
        120,
        240,
        1920,
        3600,
        3600,
    ]


@pytest.mark.parametrize(
    ("code", "hosts"),
    [
        *(
            (code, True)
            for code in ("connect", "dns", "tls", "timeout", "too_slow", "protocol", "http_503", "http_429")
        ),
        *((code, False) for code in ("http_404", "http_403", "truncated", "too_large", "not_an_image", "bad_url")),
    ],
)
def test_only_failures_of_the_host_as_such_count_against_it(code: str, hosts: bool) -> None:
    assert is_hosts_fault(ImageFault(code)) is hosts


def test_an_answer_is_no_fault_of_the_host() -> None:
    assert not is_hosts_fault(None)


@pytest.mark.parametrize(
    ("reported", "doubtful", "in_question"),
    [
        ([("a", "connect")], True, False),
        ([("a", "connect")] * 10, True, True),
        ([("a", "connect"), ("b", "timeout")], True, False),
        ([("a", "connect"), ("b", "timeout")] * 5, True, True),
        ([("a", "connect"), ("b", "timeout")] * 5 + [("c", None)], False, False),
        ([("a", "connect"), ("b", "timeout")] * 5 + [("c", "http_500")], False, False),
        ([("a", "connect"), ("b", "timeout")] * 5 + [("c", "blocked_address")], True, True),  # nobody was asked
        ([("a", "dns")], True, True),
        ([("a", "dns"), ("b", "dns"), ("c", None)], True, True),  # c may be connected already
        ([("a", "dns"), ("b", "dns"), ("b", None)], True, True),
        ([("b", "dns"), ("b", None)], False, False),
        ([], False, False),
    ],
)
def test_our_own_network_is_asked_about_when_hosts_fall_silent_and_no_other_answers(
    reported: list[tuple[str, str | None]], doubtful: bool, in_question: bool
) -> None:
    network = Network(lambda _names: [])
    for host, code in reported:
        network.note(host, ImageFault(code) if code else None)
    assert (network.is_doubtful, network.is_in_question) == (doubtful, in_question)


def test_one_silent_host_alone_is_at_fault_itself_and_two_are_not() -> None:
    network = Network(lambda _names: [])
    network.note("127.0.0.1:9", ImageFault("connect"))  # one alone, and of no other anything is known
    assert network.works()
    assert not network.is_doubtful
    for port in (9, 10):
        network.note(f"127.0.0.1:{port}", ImageFault("connect"))
    assert not network.works()
    network.forget()
    assert network.works()
