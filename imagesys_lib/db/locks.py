"""Named locks of the database server: one worker at a time, over all machines."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from imagesys_lib.db.engine import patiently
from imagesys_lib.errors import LockHeld, LockLost

log = logging.getLogger(__name__)

_IDLE = 28_800  # seconds that a lock's connection may say nothing: longer than any task may take


class named_lock:  # noqa: N801 - used as a context manager, like the standard library's
    """Hold a server-wide lock (``GET_LOCK``) on a connection of its own; it frees itself if the holder dies.

    It is gone, too, when that connection or the server is: whoever works for long asks with :meth:`verify`.

    ``on_wait(seconds)`` is called about every two seconds while somebody else holds it, and may raise.
    Raises LockHeld after ``timeout`` seconds, and DatabaseUnavailable as :func:`write` does.
    """

    def __init__(
        self, engine: Engine, name: str, *, timeout: float, on_wait: Callable[[float], None] = lambda _: None
    ) -> None:
        self._engine, self._name, self._timeout, self._on_wait = engine, name[:64], timeout, on_wait
        self._connection: sa.Connection | None = None

    def __enter__(self) -> named_lock:
        started = time.monotonic()
        try:
            while True:
                left = self._timeout - (time.monotonic() - started)
                wait = max(0.0, min(2.0, left))
                if patiently(self._engine, lambda: self._take(wait)):  # noqa: B023 - called at once
                    return self
                if left <= 0:
                    raise LockHeld(
                        f"lock {self._name!r} was held by another worker for {self._timeout:.0f} s",
                        remedy="wait for the run that holds it, or clear its task; nothing is lost.",
                    )
                self._on_wait(time.monotonic() - started)
        except BaseException:
            self.__exit__()
            raise

    def _take(self, seconds: float) -> bool:
        """Ask for the lock, over a new connection if there is none, and wait so long; say whether it is held."""
        try:
            if self._connection is None:
                self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                self._connection.exec_driver_sql(f"SET SESSION wait_timeout = {_IDLE}")
            return self._connection.scalar(sa.select(sa.func.get_lock(self._name, seconds))) == 1
        except BaseException:
            self.__exit__()
            raise

    def verify(self) -> None:
        """Raise LockLost if the lock is no longer held, so that two workers never go on side by side."""
        mine = sa.func.is_used_lock(self._name) == sa.func.connection_id()
        try:
            held = self._connection is not None and self._connection.scalar(sa.select(mine)) == 1
        except SQLAlchemyError as error:
            log.warning("lock %r: %s", self._name, error)
            held = False
        if not held:
            raise LockLost(
                f"lock {self._name!r} is lost: the database restarted, or ended the connection that held it.",
                remedy="clear this task, if Airflow does not try it again by itself; it goes on where it was.",
            )

    def __exit__(self, *_: object) -> None:
        # Invalidated rather than returned to the pool: the lock must go even where RELEASE_LOCK cannot be sent.
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()
