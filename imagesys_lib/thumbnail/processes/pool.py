"""Decoding processes: a crash, a hang or a hunger for memory costs the one photo that caused it, never the batch.

Photos go to a process in chunks. When a chunk's process dies, its photos are tried again one by one, and only the one
that kills its process again is a ``decoder_crash``. Files are written by the processes themselves, each whole or not
at all, so that only a few numbers travel back. Where memory may have been short by others' doing (a long-lived
process, the kernel's choice of whom to kill), a photo is tried in one more process before it is blamed.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.context
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as TaskTimeout
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import popen_forkserver
from typing import Any

from pebble import CONSTS, ProcessExpired, ProcessPool

from imagesys_lib.errors import EnvironmentFault
from imagesys_lib.thumbnail.messages import Made, ThumbnailJob, ThumbnailWork
from imagesys_lib.thumbnail.processes import worker

log = logging.getLogger(__name__)

TASK_IMAGES = 8
"""Photos a task: a fiftieth of a millisecond of messages for each, and few to do again after a crash."""

_GRACE = 15.0  # seconds beyond what the timers allow a chunk, for a process that is stopped or lost
_LOOK_EVERY = 0.5
_MOST_RESTARTS = 3
_TRIES = {
    **dict.fromkeys((signal.SIGTERM, -signal.SIGTERM), 3),  # somebody ended our processes
    **dict.fromkeys((worker.NO_MEMORY, -signal.SIGKILL), 2),
}
"""By how a process ended, how often one photo alone is given to another."""

# A process that is killed while it sends or receives leaves the others waiting, twice as long as this, before they give
# their pool up and another is opened. Nobody holds the lock for more than milliseconds.
CONSTS.channel_lock_timeout = 5
_main_lock = threading.Lock()


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide ``__main__`` while a process is described to its child, which would run it again otherwise.

    Airflow's is its whole command line: seconds of CPU and 150 MB in each child, for nothing.
    """
    with _main_lock:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


class _Process(multiprocessing.context.ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
        with _without_main():
            return popen_forkserver.Popen(process_obj)


class _Context(multiprocessing.context.ForkServerContext):
    """Children are forked from a small server that has imported the decoders and nothing else.

    Not fork: the caller has threads and open connections (heartbeat, database, TLS), whose locks and sockets a child
    would inherit in whatever state they are; Python warns of it from 3.12 on. Not spawn: each child, also each that
    replaces a crashed one, would import the decoders anew. docs/processing.md has the figures.
    """

    Process = _Process


@dataclass(frozen=True)
class _Errand:
    """Jobs that go to one process together, how often they have, and who wants to know what became of them."""

    jobs: list[ThumbnailJob]
    done: Callable[[list[Made]], None]
    failed: Callable[[BaseException], None]
    tries: int = 1

    def again(self) -> _Errand:
        return replace(self, tries=self.tries + 1)


class Decoders:
    """``processes`` that make thumbnails, each within ``memory_mb`` and ``seconds`` an image. Use with ``with``.

    ``work`` is what is done for each job there, a function at the top of a module: to make its thumbnails.
    """

    def __init__(self, processes: int, memory_mb: int, seconds: float, work: ThumbnailWork = worker.make) -> None:
        self._processes, self._memory_mb, self._seconds, self._work = processes, memory_mb, seconds, work
        self._lock = threading.Lock()
        self._restarts = 0
        self._closed = threading.Event()
        self._out: dict[Future[list[Made]], tuple[ProcessPool, _Errand]] = {}

    def __enter__(self) -> Decoders:
        self._context = _Context()
        self._context.set_forkserver_preload(["imagesys_lib.thumbnail.processes.preload", __name__])
        self._pool = self._opened()
        threading.Thread(target=self._watch, name="imagesys-decoders", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes at once, whatever they do."""
        self._closed.set()
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()
        with self._lock:
            left = [errand for _, errand in self._out.values()]  # Pebble does not always tell of these
            self._out.clear()
        for errand in left:
            errand.failed(CancelledError())

    def submit(self, jobs: Sequence[ThumbnailJob]) -> Future[list[Made]]:
        """Have jobs done in one process; the future's list has one result for each, in any order.

        Its exception is what is no image's fault: DiskFull, another OSError of writing, EnvironmentFault if the
        processes do not stay alive whatever they are given.
        """
        outer: Future[list[Made]] = Future()
        self._schedule(_Errand(list(jobs), partial(_settle, outer), partial(_fail, outer)))
        return outer

    def _opened(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self._processes,
            initializer=worker.prepare,
            initargs=(self._memory_mb,),
            context=self._context,
        )

    def _schedule(self, errand: _Errand) -> None:
        pool, jobs = self._pool, errand.jobs
        patience = worker.WALL * self._seconds * len(jobs) + _GRACE
        try:
            future = pool.schedule(worker.make_all, args=(self._work, jobs, self._seconds), timeout=patience)
        except RuntimeError:  # the pool was stopped, or has just broken
            self._recover(pool, errand)
        else:
            with self._lock:
                self._out[future] = (pool, errand)
            future.add_done_callback(self._finish)

    def _finish(self, future: Future[list[Made]]) -> None:
        with self._lock:
            known = self._out.pop(future, None)
        if known is None:
            return  # taken for lost, and on its way again
        pool, errand = known
        if self._closed.is_set() or future.cancelled():
            errand.failed(CancelledError())
            return
        error = future.exception()
        if error is None:
            self._restarts = 0  # processes do stay alive
            errand.done(future.result())
        elif isinstance(error, BrokenProcessPool):
            self._recover(pool, errand)
        elif isinstance(error, ProcessExpired | TaskTimeout):
            self._after_a_death(errand, error)
        else:
            errand.failed(error)

    def _watch(self) -> None:
        """Take back what a broken pool has lost: Pebble fails the tasks that it has sent, not those it was to send."""
        while not self._closed.wait(_LOOK_EVERY):
            pool = self._pool
            if _is_active(pool):
                continue
            with self._lock:
                lost = [(future, errand) for future, (its, errand) in self._out.items() if its is pool]
                for future, _ in lost:
                    del self._out[future]
            for _, errand in lost:
                self._recover(pool, errand)

    def _after_a_death(self, errand: _Errand, error: BaseException) -> None:
        if len(errand.jobs) > 1:
            log.info("a decoding process died among %d photos: %s; trying them one by one", len(errand.jobs), error)
            self._one_by_one(errand)
        elif errand.tries < _TRIES.get(getattr(error, "exitcode", 0), 1):
            self._schedule(errand.again())  # perhaps not the photo's fault
        else:
            errand.done([Made(errand.jobs[0].key, code="decoder_crash", detail=_how(error, self._seconds))])

    def _one_by_one(self, errand: _Errand) -> None:
        made: list[Made] = []

        def one(result: list[Made]) -> None:
            with self._lock:
                made.extend(result)
                complete = len(made) == len(errand.jobs)
            if complete:
                errand.done(made)

        for job in errand.jobs:
            self._schedule(_Errand([job], one, errand.failed))

    def _recover(self, broken: ProcessPool, errand: _Errand) -> None:
        """Open another pool: Pebble gives one up when a process dies between two tasks."""
        with self._lock:
            if self._pool is broken and not self._closed.is_set():
                self._restarts += 1
                if self._restarts <= _MOST_RESTARTS:
                    self._pool = self._opened()
        if self._closed.is_set():
            errand.failed(CancelledError())
        elif self._restarts > _MOST_RESTARTS:
            errand.failed(
                EnvironmentFault(
                    "The decoding processes end as soon as they have begun.",
                    remedy="look for the reason in this log and the kernel's (thumbnail.memory_mb?), "
                    "then clear this task.",
                )
            )
        else:
            self._schedule(errand.again())


def _is_active(pool: ProcessPool) -> bool:
    try:
        return bool(pool.active)
    except BrokenProcessPool:
        return False


def _settle(future: Future[list[Made]], made: list[Made]) -> None:
    if not future.done():
        future.set_result(made)


def _fail(future: Future[list[Made]], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


_SIGNALS = {one.value: one.name for one in signal.Signals}
"""Real-time signals have no names."""


def _how(error: BaseException, seconds: float) -> str:
    code = getattr(error, "exitcode", None)
    if code == -signal.SIGPROF:
        return f"no end after {seconds:g} s of CPU"
    if isinstance(error, TaskTimeout) or code == -signal.SIGALRM:
        return f"no end after {worker.WALL * seconds:g} s"
    if code == worker.NO_MEMORY:
        return "not enough memory"
    if isinstance(code, int) and code < 0:
        return f"the decoder was ended by {_SIGNALS.get(-code, f'signal {-code}')}"
    return f"the decoder ended with code {code}"
