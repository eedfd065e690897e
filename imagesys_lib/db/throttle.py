"""Throttle: between two chunks of work, wait while the database's server has too much to do.

It never stops the work: a wait ends after a minute, and then as much time goes into work before the next one. So a
server that is always busy makes a stage take twice as long at most, which leaves it within its task's time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger(__name__)

_PAUSE = 1.0  # seconds between two checks
_PATIENCE = 60.0  # seconds of one wait
_STATUS = sa.text("SHOW GLOBAL STATUS LIKE 'Threads_running'")  # an ordinary account may ask


def threads_running(engine: Engine) -> int:
    """Return how many threads an engine's server runs, this question's own among them.

    0 where it cannot be asked: the work's next statement has the patience and the words for that.
    """
    try:
        with engine.connect() as connection:
            row = connection.execute(_STATUS).one_or_none()
    except SQLAlchemyError as error:
        log.debug("threads running at %s: %s", engine.url.host, error)
        return 0
    return int(row[1]) if row is not None else 0


class Throttle:
    """Waits for servers that run more than ``most`` threads. ``check_stop`` is called while it waits, and may raise.

    Threads that share it wait together, and one of them asks.
    """

    def __init__(self, most: int, check_stop: Callable[[], None]) -> None:
        self._most, self._check_stop = most, check_stop
        self._lock = threading.Lock()
        self._next_check = 0.0
        self._logged = False

    def wait(self, *engines: Engine) -> None:
        """Look once a second at the servers of these engines, and wait while one of them is too busy."""
        with self._lock:
            began = time.monotonic()
            if began < self._next_check:
                return
            servers = list({(engine.url.host, engine.url.port): engine for engine in reversed(engines)}.values())
            if busy := self._busy(servers):
                self._log_busy(*busy)
                self._let_pass(servers, began + _PATIENCE)
                log.info("working on after %.0f s", time.monotonic() - began)
            ended = time.monotonic()
            self._next_check = ended + max(_PAUSE, ended - began)

    def _busy(self, servers: Sequence[Engine]) -> tuple[Engine, int] | None:
        for engine in servers:
            running = threads_running(engine)
            if running > self._most:
                return engine, running
        return None

    def _let_pass(self, servers: Sequence[Engine], until: float) -> None:
        while time.monotonic() < until:
            self._check_stop()
            time.sleep(_PAUSE)
            if not self._busy(servers):
                return

    def _log_busy(self, engine: Engine, running: int) -> None:
        if self._logged:
            return
        self._logged = True
        log.warning(
            "The database server %s:%s runs %d threads, more than the %d of max_threads_running: waiting between "
            "chunks of work, up to %.0f s at a time. Remedy: see what keeps it busy (SHOW PROCESSLIST); where so many "
            "are usual, raise max_threads_running.",
            *(engine.url.host, engine.url.port, running, self._most, _PATIENCE),
        )
