"""When a host or data source is left alone, and when it may be asked again: tables of decisions."""

from __future__ import annotations

import pytest

from imagesys_lib.breaker import PROBES, Position, Standing, host_trips, is_hosts_fault, open_seconds, source_trips
from imagesys_lib.config import Breaker
from imagesys_lib.outage import Network
from imagesys_lib.reasons import ImageFault

SETTINGS = Breaker(failures=10, first_seconds=60, max_seconds=3600, source_percent=95, source_images=200)


@pytest.mark.parametrize(
    ("standing", "position"),
    [
        (Standing(), Position.CLOSED),
        (Standing(failures=9), Position.CLOSED),
        (Standing(wait=300), Position.CLOSED),  # a pause that the host asked for
        (Standing(trips=1, wait=10), Position.OPEN),
        (Standing(trips=3, wait=0), Position.HALF_OPEN),
        (Standing(trips=1, wait=-5), Position.HALF_OPEN),
    ],
)
def test_a_breaker_stands_where_its_trips_and_its_time_say(standing: Standing, position: Position) -> None:
    assert standing.position is position


@pytest.mark.parametrize(
    ("failures", "trips", "opens"), [(0, 0, False), (9, 0, False), (10, 0, True), (1, 1, True), (0, 1, False)]
)
def test_a_host_is_left_alone_after_failures_in_a_row_and_after_one_failed_probe(
    failures: int, trips: int, opens: bool
) -> None:
    assert host_trips(Standing(failures, trips), SETTINGS) is opens


@pytest.mark.parametrize(
    ("attempts", "failures", "trips", "opens"),
    [
        (199, 199, 0, False),  # too few to judge
        (200, 190, 0, True),
        (200, 189, 0, False),
        (1000, 960, 0, True),
        (PROBES, PROBES, 1, True),
        (PROBES, PROBES - 2, 1, False),
        (PROBES - 1, PROBES - 1, 1, False),
    ],
)
def test_a_data_source_is_left_alone_when_nearly_all_of_its_images_fail(
    attempts: int, failures: int, trips: int, opens: bool
) -> None:
    assert source_trips(attempts, failures, trips, SETTINGS) is opens


def test_each_trip_in_a_row_doubles_the_time_up_to_a_limit() -> None:
    assert [open_seconds(trips, SETTINGS) for trips in (0, 1, 2, 3, 6, 7, 60_000)] == [
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
    ("told", "doubtful", "in_question"),
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
    told: list[tuple[str, str | None]], doubtful: bool, in_question: bool
) -> None:
    network = Network(lambda _names: [])
    for host, code in told:
        network.tell(host, ImageFault(code) if code else None)
    assert (network.is_doubtful, network.is_in_question) == (doubtful, in_question)


def test_one_silent_host_alone_is_at_fault_itself_and_two_are_not() -> None:
    network = Network(lambda _names: [])
    network.tell("127.0.0.1:9", ImageFault("connect"))  # one alone, and of no other anything is known
    assert network.works()
    assert not network.is_doubtful
    for port in (9, 10):
        network.tell(f"127.0.0.1:{port}", ImageFault("connect"))
    assert not network.works()
    network.forget()
    assert network.works()
