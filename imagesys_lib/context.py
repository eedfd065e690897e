"""What every stage is given: the country's settings, its databases, its nodes, and a way to be stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import Engine

from imagesys_lib.config import CountryConfig, country_config
from imagesys_lib.config.connections import Resolver, environment_connection, require
from imagesys_lib.db.engine import open_engine
from imagesys_lib.db.throttle import Throttle
from imagesys_lib.errors import Stopped
from imagesys_lib.etl.pages import Etl
from imagesys_lib.nodes import Node, node_from_connection
from imagesys_lib.staging.worker_disk import WorkerDisk

OnProgress = Callable[[int, int], None]
"""Called with (done, total) as work advances."""


def no_progress(_done: int, _total: int) -> None:
    """Report no progress: for callers who do not ask for it."""


@dataclass(frozen=True)
class Context:
    """One country's world. Engines and nodes are opened on first use."""

    config: CountryConfig
    resolver: Resolver = environment_connection
    stop: threading.Event = field(default_factory=threading.Event)
    progress: OnProgress = no_progress

    @property
    def country(self) -> str:
        """The country's two-letter code."""
        return self.config.country

    @cached_property
    def db(self) -> Engine:
        """The country's own schema."""
        connection = require(self.resolver, f"imagesys_db_{self.country}", "imagesys_db")
        return open_engine(connection, connection.schema or self.config.database)

    @cached_property
    def shared(self) -> Engine:
        """The schema that all countries share."""
        connection = require(self.resolver, "imagesys_shared")
        return open_engine(connection, connection.schema or "imagesys_shared")

    @cached_property
    def etl(self) -> Etl:
        """The ETL's tables, read only."""
        connection = require(self.resolver, f"etl_{self.country}", "etl")
        return Etl(open_engine(connection, connection.schema, pool_size=1, raw=True), self.config.etl)

    @cached_property
    def staging(self) -> WorkerDisk:
        """The worker's disk."""
        return WorkerDisk(self.config.staging, self.country)

    def node(self, name: str) -> Node:
        """Return one node of this country."""
        return node_from_connection(require(self.resolver, name), self.config)

    def check_stop(self) -> None:
        """Raise Stopped if the stage was asked to stop."""
        if self.stop.is_set():
            raise Stopped

    def give_way(self, *, etl: bool = False) -> None:
        """Between two chunks of work: raise Stopped if asked to stop, and wait while the database is too busy.

        ``etl``: the ETL's server is asked for the chunks, too. Never within a transaction, nor where a lease runs.
        """
        self.check_stop()
        self._throttle.wait(self.db, *([self.etl.engine] if etl else []))

    @cached_property
    def _throttle(self) -> Throttle:
        return Throttle(self.config.max_threads_running, self.check_stop)

    def close(self) -> None:
        """Close all database connections that were opened."""
        for name in ("db", "shared"):
            engine = self.__dict__.get(name)
            if engine is not None:
                engine.dispose()
        if "etl" in self.__dict__:
            self.etl.engine.dispose()


def open_context(
    country: str,
    *,
    resolver: Resolver = environment_connection,
    stop: threading.Event | None = None,
    progress: OnProgress = no_progress,
) -> Context:
    """Load the configuration and return a country's context. Raises ConfigError or UsageError."""
    return Context(country_config(country), resolver, stop or threading.Event(), progress)
