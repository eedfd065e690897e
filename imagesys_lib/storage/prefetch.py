"""Prefetch: a step of a pipeline runs in a thread of its own, a few items before they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterator[T], most: int = 1) -> Generator[T, None, None]:
    """Yield ``items`` in their order, made in a thread: one is made while up to ``most`` wait to be asked for.

    An exception in ``items`` is raised here, after the items before it. Close the generator to end the thread: that
    waits for the item being made, so whatever that item waits for must have been asked to stop.
    """
    end = object()
    pool = ThreadPoolExecutor(1)
    try:
        made = deque(pool.submit(next, items, end) for _ in range(most + 1))
        while (item := made.popleft().result()) is not end:
            made.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(cancel_futures=True)
        if isinstance(items, Generator):
            items.close()
