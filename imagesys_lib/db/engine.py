"""Engines and transactions.

READ COMMITTED, because under REPEATABLE READ gap locks of a reservation block ingest's inserts. Transactions are short,
retried on deadlock and lock wait, and never stay open across network or disk work.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias, TypeVar

import sqlalchemy as sa
from MySQLdb.constants import FIELD_TYPE
from MySQLdb.converters import conversions
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DataError, DBAPIError
from tenacity import (
    RetryCallState,
    Retrying,
    before_sleep_log,
    retry_if_exception,
    stop_after_delay,
    wait_random_exponential,
)

from imagesys_lib.config.connections import Connection
from imagesys_lib.errors import (
    DatabaseReadOnly,
    DatabaseUnavailable,
    EnvironmentFault,
    NotMade,
    UsageError,
)

__all__ = [
    "CHUNK",
    "NOW",
    "Row",
    "beyond",
    "check_connection",
    "chunks",
    "database_now",
    "error_code",
    "from_now",
    "is_of_a_value",
    "open_engine",
    "read",
    "seconds_until",
    "write",
]

log = logging.getLogger(__name__)
T = TypeVar("T")
Row: TypeAlias = "sa.Row[Any]"

CHUNK = 1000
"""No statement touches more rows than this."""

NOW: sa.ColumnElement[Any] = sa.literal_column("UTC_TIMESTAMP(6)")
"""The database's clock, the only one that leases and retry times know."""


_TRANSIENT = frozenset({1205, 1213, 1020, 1180})  # lock wait, deadlock, changed row, commit error
_GONE = frozenset({2002, 2003, 2006, 2013, 1040, 1053, 1152, 1158, 1159, 1160, 1161, 1927})
_BAD_VALUE = frozenset({1264, 1265, 1292, 1366, 1406, 3140, 3141, *range(4035, 4042)})  # the last are of JSON
_DENIED = frozenset({1044, 1045, 1049, 1142, 1698})
_NOT_MADE = frozenset({1054, 1146})  # unknown column, no such table
_NOT_ASCII = 1267  # text is compared with a column that cannot hold it
_READ_ONLY = frozenset({1036, 1290, 1792, 1836, 1874, 1881})  # table, server, transaction, its mode, InnoDB in two ways
_DATES = frozenset({FIELD_TYPE.DATE, FIELD_TYPE.TIME, FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP})
_NUMBERS = {kind: converter for kind, converter in conversions.items() if kind not in _DATES}
_PATIENCE = 60.0  # seconds a database may be away before a stage fails


def from_now(seconds: int | sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the instant so many seconds (negative: ago) from now, by the database's clock."""
    return sa.func.timestampadd(sa.text("SECOND"), seconds, NOW)


def seconds_until(instant: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the seconds from now, by the database's clock, until ``instant``: negative once it is past."""
    return sa.func.timestampdiff(sa.text("MICROSECOND"), NOW, instant) / 1e6


def database_now(engine: Engine) -> dt.datetime:
    """Return the database's clock (naive UTC)."""
    now: dt.datetime = read(engine, sa.select(NOW))[0][0]
    return now


def beyond(columns: Sequence[sa.ColumnElement[Any]], values: Sequence[Any]) -> sa.ColumnElement[bool]:
    """Return ``columns > values`` of a compound key, for the next page of a keyset.

    Spelt out, as MySQL uses no index range for comparisons of rows.
    """
    (column, *columns_left), (value, *values_left) = columns, values
    later: sa.ColumnElement[bool] = column > value
    return later | ((column == value) & beyond(columns_left, values_left)) if columns_left else later


def open_engine(connection: Connection, schema: str, *, pool_size: int = 4, raw: bool = False) -> Engine:
    """Make an engine for one schema. Nothing connects before the first use.

    ``raw`` is for tables of others: text (as UTF-8) and dates are given as the bytes that the server sends. Else one
    text that is no UTF-8 would fail its page, and a date that no calendar has would look like NULL.
    """
    url = sa.URL.create(
        "mysql+mysqldb",
        username=connection.login,
        password=connection.password,
        host=connection.host,
        port=connection.port or 3306,
        database=schema,
        query={"charset": "utf8mb4"},
    )
    as_sent: dict[str, Any] = {"conv": _NUMBERS, "use_unicode": False} if raw else {}
    modes = ", sql_mode='ALLOW_INVALID_DATES'" if raw else ""
    return create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_size=pool_size,
        max_overflow=4,
        pool_pre_ping=True,
        pool_recycle=1800,
        hide_parameters=True,
        connect_args={
            "connect_timeout": 10,
            "read_timeout": 120,
            "write_timeout": 120,
            "init_command": f"SET SESSION time_zone='+00:00', innodb_lock_wait_timeout=15{modes}",
            **as_sent,
        },
    )


def error_code(error: BaseException) -> int:
    """Return the server's number of an error; 0 for any other."""
    if isinstance(error, DBAPIError) and error.orig is not None and error.orig.args:
        first = error.orig.args[0]
        return first if isinstance(first, int) else 0
    return 0


def is_of_a_value(error: BaseException) -> bool:
    """Say whether a statement failed for a value that one of its rows has, so that others may do without that row."""
    return isinstance(error, DataError | ValueError | TypeError | ArithmeticError) or error_code(error) in _BAD_VALUE


def _passing(error: BaseException) -> bool:
    return error_code(error) in _TRANSIENT | _GONE


def write(engine: Engine, work: Callable[[sa.Connection], T], *, patience: float | None = None) -> T:
    """Run ``work`` in one transaction and commit it.

    Deadlocks, lock waits and lost connections are retried with jitter for ``patience`` seconds (None: a minute, 0: not
    at all); ``work`` must therefore be safe to repeat. Raises DatabaseUnavailable when the database stays away, and
    DatabaseReadOnly at once where it takes no writes.
    """
    return patiently(engine, lambda: _once(engine, work), patience)


def check_connection(engine: Engine, *, patience: float | None = 0) -> None:
    """Connect, within ``patience`` seconds (None: the usual minute). Raises as :func:`write` does."""
    write(engine, lambda connection: connection.execute(sa.select(1)), patience=patience)


def read(engine: Engine, statement: sa.Executable, parameters: dict[str, object] | None = None) -> Sequence[Row]:
    """Return all rows of one bounded query, with the same patience as :func:`write`."""
    return write(engine, lambda connection: connection.execute(statement, parameters or {}).all())


def _once(engine: Engine, work: Callable[[sa.Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def patiently(engine: Engine, attempt: Callable[[], T], patience: float | None = None) -> T:
    """Call ``attempt`` until what passes has passed, for ``patience`` seconds (60); raises as :func:`write` does."""
    patience = _PATIENCE if patience is None else patience
    where = f"{engine.url.host}:{engine.url.port}/{engine.url.database}"
    backoff = wait_random_exponential(multiplier=0.1, max=5)

    def within_patience(state: RetryCallState) -> float:
        """Whoever gives so many seconds must not wait for longer because the last pause happened to be long."""
        return min(backoff(state), max(0.0, patience - (state.seconds_since_start or 0.0)))

    retrying = Retrying(
        retry=retry_if_exception(_passing),
        wait=within_patience,
        stop=stop_after_delay(patience),
        before_sleep=before_sleep_log(log, logging.WARNING),
        reraise=True,
    )
    try:
        return retrying(attempt)
    except DBAPIError as error:
        code = error_code(error)
        if code in _READ_ONLY:
            raise DatabaseReadOnly(
                f"Database {where} is read only: {error.orig}.",
                remedy="let the connection lead to a server that can be written to, or make this one so (read_only); "
                "then clear this task: nothing is lost.",
            ) from None
        if code in _DENIED:
            raise EnvironmentFault(
                f"Database {where} refuses {engine.url.username!r}: {error.orig}.",
                remedy="check the connection's login, password, schema and rights (`imagesys doctor`).",
            ) from None
        if code in _NOT_MADE:
            raise NotMade(
                f"Database {where} is not as it should be: {error.orig}.",
                remedy="run `imagesys db upgrade`; if it is the ETL's table, correct `etl` in the configuration.",
            ) from None
        if code == _NOT_ASCII:
            raise UsageError(
                f"Nothing in database {where} has the name that was asked for: it has characters that are not ASCII.",
                remedy="correct it: reasons and image hashes are ASCII.",
            ) from None
        if code in _GONE:
            within = f" within {patience:.0f} s" if patience else ""
            raise DatabaseUnavailable(
                f"Database {where} did not answer{within}: {error.orig}.",
                remedy="bring it back, then clear this task; nothing is lost.",
            ) from None
        raise


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Cut ``items`` into lists of at most ``size``."""
    source = iter(items)
    while piece := list(islice(source, size)):
        yield piece
