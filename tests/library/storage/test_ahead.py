"""Prefetching: in order, bounded, and over when nobody wants any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from imagesys_lib.storage.prefetch import prefetch
from tests.support.world import wait_for


def numbers(made: list[int], most: int = 100) -> Iterator[int]:
    for number in range(most):
        made.append(number)
        yield number


def test_items_come_in_order_through_any_number_of_stages() -> None:
    assert list(prefetch(prefetch(numbers([], 50)), 3)) == list(range(50))


def test_a_stage_prefetches_but_no_further_than_allowed() -> None:
    made: list[int] = []
    with closing(prefetch(numbers(made), 2)) as items:
        assert next(items) == 0
        wait_for(lambda: len(made) == 4, "one in hand, two waiting")  # 0 is used, 1 and 2 wait, 3 is in hand
        assert not threading.Event().wait(0.3)
        assert len(made) == 4


def test_an_error_comes_after_what_was_made_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    items = prefetch(prefetch(broken()))
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_closing_ends_every_thread_and_closes_what_it_worked_on() -> None:
    before = threading.active_count()
    closed: list[str] = []

    def stage(name: str, items: Iterator[int]) -> Iterator[int]:
        try:
            yield from items
        finally:
            closed.append(name)

    first = prefetch(stage("first", numbers([])))
    second = prefetch(stage("second", first))
    assert next(second) == 0
    second.close()
    first.close()
    assert sorted(closed) == ["first", "second"]
    assert threading.active_count() == before
