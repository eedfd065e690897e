"""Places at hosts: named locks of the shared server, one a request in flight, over all workers.

Named locks rather than rows: the server frees them the moment a worker's connection is gone, whatever it died of, and
taking one writes nothing. A worker keeps its places while it has work for the host and hands one on when another worker
waits, which that one shows by holding the host's waiting lock.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Iterable, Sequence
from types import TracebackType

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from imagesys_lib.db.engine import chunks, probe

log = logging.getLogger(__name__)


class Places:
    """The places that this worker holds, on one connection of its own. Used by one thread.

    A statement must be run every ``silence`` seconds (:meth:`keep` does), or the server takes the places back.
    """

    def __init__(self, shared: Engine, silence: int = 60) -> None:
        self._shared, self._silence = shared, silence
        self._session: sa.Connection | None = None
        self._held: dict[str, set[int]] = {}
        self._waiting: set[str] = set()

    def __enter__(self) -> Places:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def held(self, host: str) -> int:
        """Return how many places this worker holds at ``host``."""
        return len(self._held.get(host, ()))

    def holds_first(self, host: str) -> bool:
        """Say whether this worker holds the place that alone counts while a host is probed."""
        return 0 in self._held.get(host, ())

    def take(self, host: str, limit: int) -> bool:
        """Take more of the host's ``limit`` places, as many as are held already; says whether one was free.

        So a worker with much to do there asks the server a few times only, and one with little takes little.
        """
        mine = self._held.get(host, set())
        left = [number for number in range(limit) if number not in mine]
        random.shuffle(left)  # workers that begin together would ask for the same ones
        wanted = max(1, len(mine))
        for some in chunks(left, wanted):
            columns = [sa.func.get_lock(_name(host, number), 0).label(f"p{number}") for number in some]
            row = self._run(sa.select(*columns)) or ()
            taken = {number for number, got in zip(some, row, strict=False) if got == 1}
            if taken:
                self._held.setdefault(host, set()).update(taken)
                self._stop_waiting(host)
                return True
        if not mine and host not in self._waiting and self._get(_waiting_name(host)):
            self._waiting.add(host)
        return False

    def give(self, host: str, count: int = 1) -> None:
        """Give up to ``count`` places of ``host`` back."""
        mine = self._held.get(host, set())
        for number in sorted(mine, reverse=True)[:count]:
            mine.discard(number)
            self._free(_name(host, number))
        if not mine:
            self._held.pop(host, None)

    def forget(self, host: str) -> None:
        """Give everything back that concerns ``host``."""
        self.give(host, self.held(host))
        self._stop_waiting(host)

    def keep(self) -> None:
        """Show the server that this worker is alive."""
        if self._session is not None:
            self._run(sa.select(1))

    def awaited(self, hosts: Iterable[str]) -> set[str]:
        """Return the hosts among ``hosts`` for which another worker waits."""
        found: set[str] = set()
        for some in chunks([host for host in hosts if host not in self._waiting], 100):
            columns = [sa.func.is_used_lock(_waiting_name(host)).label(f"h{n}") for n, host in enumerate(some)]
            row: Sequence[object] = self._run(sa.select(*columns)) or ()
            found.update(host for host, used in zip(some, row, strict=False) if used is not None)
        return found

    def close(self) -> None:
        """Free everything: the connection goes, and with it every lock."""
        if self._session is not None:
            self._session.invalidate()
            self._session.close()
        self._session = None
        self._held.clear()
        self._waiting.clear()

    def _stop_waiting(self, host: str) -> None:
        if host in self._waiting:
            self._waiting.discard(host)
            self._free(_waiting_name(host))

    def _get(self, name: str) -> bool:
        row = self._run(sa.select(sa.func.get_lock(name, 0)))
        return row is not None and row[0] == 1

    def _free(self, name: str) -> None:
        self._run(sa.select(sa.func.release_lock(name)))

    def _run(self, statement: sa.Select[tuple[object, ...]]) -> Sequence[object] | None:
        """Run one statement; when the connection is lost, so are the places, and the next call begins anew."""
        try:
            if self._session is None:
                self._session = self._shared.connect().execution_options(isolation_level="AUTOCOMMIT")
                self._session.exec_driver_sql("SET SESSION wait_timeout = %s", (self._silence,))
            return tuple(self._session.execute(statement).one())
        except DBAPIError as error:
            log.warning("places at hosts are lost with their connection: %s", error.orig)
            self.close()
            probe(self._shared, patience=None)
            return None


def _key(host: str) -> str:
    return hashlib.sha1(host.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def _name(host: str, number: int) -> str:
    return f"imagesys.host.{_key(host)}.{number}"  # at most 64 characters, MySQL's limit


def _waiting_name(host: str) -> str:
    return f"imagesys.wait.{_key(host)}"
