"""Work ahead: a stage of a pipeline runs in a thread of its own, a few items before they are asked for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOK = 0.2  # seconds between looks whether anybody still wants what was made


@dataclass(frozen=True)
class _End:
    """The stage is over, by itself or by an error."""

    error: BaseException | None = None


class _Stage(Generic[T]):
    def __init__(self, items: Iterator[T], most: int) -> None:
        self._items = items
        self.made: queue.Queue[T | _End] = queue.Queue(most)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put(item):
                    break
        except BaseException as raised:  # noqa: BLE001 - raised again where the items are used
            error = raised
        finally:
            if isinstance(self._items, Generator):
                self._items.close()  # in its own thread: it may be a stage itself
        self._put(_End(error))

    def _put(self, item: T | _End) -> bool:
        while not self.over.is_set():
            try:
                self.made.put(item, timeout=_LOOK)
            except queue.Full:
                continue
            return True
        return False


def ahead(items: Iterator[T], most: int = 1) -> Generator[T, None, None]:
    """Yield ``items`` in their order, made in a thread, up to ``most`` of them before they are asked for.

    An exception in ``items`` is raised here, after the items before it. Close the generator to end the thread: that
    waits for the item being made, so whatever that item waits for must have been told to stop.
    """
    stage = _Stage(items, most)
    stage.thread.start()
    try:
        while True:
            item = stage.made.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stage.over.set()
        stage.thread.join()
