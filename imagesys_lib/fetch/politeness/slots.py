"""Slots at hosts: named locks of the shared server, one a request in flight, over all worker processes.

Named locks rather than rows: the server frees them the moment a worker's connection is gone, whatever it died of, and
taking one writes nothing. A worker keeps its slots from one request to the next, and shares them once another worker
waits, which holds the host's waiting lock until it has one. A lock for each request would cost two round trips a photo,
during which all transfers halt, and whoever frees one would take it again at once while others wait.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections import defaultdict
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from imagesys_lib.db.engine import check_connection, chunks

log = logging.getLogger(__name__)

_WAITING = -1
"""The number of a host's waiting lock."""


class Slots:
    """The slots that this worker holds, on one connection of its own. Used by one thread.

    A statement must be run every ``silence`` seconds (:meth:`awaited` runs one), or the server takes the slots back.
    """

    def __init__(self, shared: Engine, silence: int = 60) -> None:
        self._shared, self._silence = shared, silence
        self._connection: sa.Connection | None = None
        self._held: dict[str, set[int]] = defaultdict(set)

    def __enter__(self) -> Slots:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def held(self, host: str, limit: int = 64) -> int:
        """Return how many of the host's first ``limit`` slots this worker holds."""
        return sum(0 <= number < limit for number in self._held[host])

    def take(self, host: str, limit: int) -> bool:
        """Take more of the host's first ``limit`` slots, as many as are held already; says whether one was free.

        So a worker with much to do there asks the server a few times only, and one with little takes little.
        """
        mine = self._held[host]
        numbers = [number for number in range(limit) if number not in mine]
        random.shuffle(numbers)  # workers that begin together would ask for the same ones
        for some in chunks(numbers, max(1, len(mine))):
            if self._lock(host, some):
                self._free(host, {_WAITING})
                return True
        if not mine:
            self._lock(host, [_WAITING])
        return False

    def _lock(self, host: str, numbers: list[int]) -> bool:
        got = self._run(f"SELECT {', '.join(['GET_LOCK(%s, 0)'] * len(numbers))}", [_name(host, n) for n in numbers])
        taken = {number for number, one in zip(numbers, got, strict=False) if one}
        self._held[host] |= taken
        return bool(taken)

    def keep(self, host: str, count: int) -> None:
        """Give back all but the first ``count`` slots; with none left, the worker does not wait for one either."""
        mine = sorted(self._held[host])
        self._free(host, set(mine[count:]))

    def awaited(self) -> set[str]:
        """Return the hosts of which this worker holds slots and another waits for one.

        The server is asked in any case: it learns that this worker is alive.
        """
        found: set[str] = set()
        for some in chunks([host for host in self._held if self.held(host)] or [""], 100):
            asked = ", ".join(["IS_USED_LOCK(%s)"] * len(some))
            holders = self._run(f"SELECT {asked}", [_name(host, _WAITING) for host in some])
            found |= {host for host, holder in zip(some, holders, strict=False) if holder}
        return found

    def close(self) -> None:
        """Free everything: the connection goes, and with it every lock."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
        self._connection = None
        self._held.clear()

    def _free(self, host: str, numbers: set[int]) -> None:
        for number in numbers & self._held[host]:
            self._held[host].discard(number)
            self._run("SELECT RELEASE_LOCK(%s)", [_name(host, number)])

    def _run(self, statement: str, names: list[str]) -> Sequence[int | None]:
        """Run one statement; when the connection is lost, so are the slots, and the next call begins anew.

        As text: to compile a statement takes longer than to run it.
        """
        try:
            if self._connection is None:
                self._connection = self._shared.connect().execution_options(isolation_level="AUTOCOMMIT")
                self._connection.exec_driver_sql("SET SESSION wait_timeout = %s", (self._silence,))
            return tuple(self._connection.exec_driver_sql(statement, tuple(names)).one())
        except DBAPIError as error:
            log.warning("slots at hosts are lost with their connection: %s", error.orig)
            self.close()
            check_connection(self._shared, patience=None)
            return (None,)


def _name(host: str, number: int) -> str:
    digest = hashlib.sha1(host.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    return f"imagesys.host.{digest}.{number}"  # at most 64 characters, MySQL's limit
