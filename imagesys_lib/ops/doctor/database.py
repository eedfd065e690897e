"""A schema: its version, what its login may do, and what its server can do and how it is set."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from imagesys_lib.config.intervals import UTC
from imagesys_lib.db.engine import check_connection, database_now, error_code, read
from imagesys_lib.db.locks import named_lock
from imagesys_lib.db.upgrade import require_current
from imagesys_lib.errors import EnvironmentFault
from imagesys_lib.ops.doctor.finding import Finding, attempt

_SCRATCH = "lis_doctor"
_OWN_TABLE = {"country": ("lis_images", "state"), "shared": ("lis_hosts", "reason")}

# Tried, not read: SHOW GRANTS says nothing of roles, of read-only servers or of what a proxy lets through.
# None of them touches a row. DROP comes before CREATE, and is refused although there is nothing to drop: so nothing is
# made that would stay.
_RIGHTS = (
    ("SELECT", "SELECT 1 FROM {table} WHERE 1 = 0"),
    ("INSERT", "INSERT INTO {table} SELECT * FROM {table} WHERE 1 = 0"),
    ("UPDATE", "UPDATE {table} SET {column} = 'x' WHERE 1 = 0"),
    ("DELETE", "DELETE FROM {table} WHERE 1 = 0"),
    ("DROP", f"DROP TABLE IF EXISTS {_SCRATCH}"),
    ("CREATE", f"CREATE TABLE {_SCRATCH} (number INT) ENGINE = InnoDB"),
    ("ALTER", f"ALTER TABLE {_SCRATCH} ADD COLUMN other INT"),
    ("INDEX", f"CREATE INDEX ix_doctor ON {_SCRATCH} (number)"),
)
ABILITIES = (
    ("JSON_TABLE", "SELECT number FROM JSON_TABLE('[1]', '$[*]' COLUMNS (number BIGINT PATH '$')) AS given_table"),
    ("SKIP LOCKED", "SELECT 1 FROM {table} WHERE 1 = 0 FOR UPDATE SKIP LOCKED"),
)
_DENIED = frozenset({1044, 1142, 1143, 1227})
_SYNTAX = 1064
_PACKET = 16 * 1024 * 1024  # a thousand rows with the longest URLs take about half of it


def examine(name: str, engine: Callable[[], Engine], kind: str) -> Iterator[Finding]:
    """Check one schema; where it cannot be reached or is not up to date, nothing else is asked."""
    first = attempt(name, lambda: _version(engine(), kind))
    yield first
    if first.ok:
        yield attempt(f"{name} rights", lambda: _rights(engine(), kind))
        yield attempt(f"{name} server", lambda: _server(engine(), kind))
        yield attempt(
            f"{name} clock",
            lambda: require_near("this worker's clock", -database_offset(engine()), "the database's"),
        )


def _version(engine: Engine, kind: str) -> str:
    check_connection(engine)
    version = require_current(engine, kind)
    server = read(engine, sa.select(sa.func.version()))[0][0]
    return f"{engine.url.database} at version {version}, server {server}"


def _rights(engine: Engine, kind: str) -> str:
    """Try everything that stages and migrations do. A lock keeps two doctors from one table."""
    table, column = _OWN_TABLE[kind]
    missing: list[str] = []
    with (
        named_lock(engine, f"imagesys.doctor.{engine.url.database}", timeout=30),
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
    ):
        for right, statement in _RIGHTS:
            if {"DROP", "CREATE"} & set(missing):
                break  # the rest needs the table
            try:
                connection.exec_driver_sql(statement.format(table=table, column=column)).close()
            except DBAPIError as error:
                if error_code(error) not in _DENIED:
                    raise EnvironmentFault(
                        f"{right} fails in schema {engine.url.database}: {error.orig}.",
                        remedy="let the connection lead to a server that can be written to.",
                    ) from None
                missing.append(right)
        if "DROP" not in missing:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {_SCRATCH}")
    if missing:
        raise EnvironmentFault(
            f"{engine.url.username!r} may not {', '.join(missing)} in schema {engine.url.database}.",
            remedy=f"GRANT ALL PRIVILEGES ON `{engine.url.database}`.* TO that user.",
        )
    return ", ".join(right for right, _ in _RIGHTS)


def _server(engine: Engine, kind: str) -> str:
    unable = []
    with engine.connect() as connection:
        for ability, statement in ABILITIES:
            try:
                connection.exec_driver_sql(statement.format(table=_OWN_TABLE[kind][0])).close()
            except DBAPIError as error:
                unable += [ability] if error_code(error) == _SYNTAX else []  # what is not allowed, the rights say
    if unable:
        raise EnvironmentFault(
            f"The server cannot do {', '.join(unable)}.", remedy="use MySQL 8 or MariaDB 10.6, or later."
        )
    names = [*_AS_NEEDED, "tx_isolation", "log_bin"]
    query = sa.text("SHOW VARIABLES WHERE Variable_name IN :names").bindparams(sa.bindparam("names", expanding=True))
    settings = {row.Variable_name: str(row.Value) for row in read(engine, query, {"names": names})}
    settings.setdefault("transaction_isolation", settings.get("tx_isolation", ""))  # its name before MariaDB 11.1
    faults = wrong_settings(settings)
    if faults:
        raise EnvironmentFault(
            "; ".join(f"{name} is {settings[name]!r}" for name in faults) + ".",
            remedy="; ".join(faults.values()) + ".",
        )
    return ", ".join(f"{name} {settings[name]}" for name in ("transaction_isolation", "time_zone", "sql_mode"))


_AS_NEEDED: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "transaction_isolation": (
        lambda value: value == "READ-COMMITTED",
        "let nothing between worker and server (a proxy) undo SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    ),
    "time_zone": (lambda value: value == "+00:00", "let nothing between worker and server undo SET SESSION time_zone"),
    "sql_mode": (
        lambda value: bool({"STRICT_TRANS_TABLES", "STRICT_ALL_TABLES"} & set(value.split(","))),
        "add STRICT_TRANS_TABLES to the server's sql_mode, or what is too long is cut off without a word",
    ),
    "max_allowed_packet": (
        lambda value: int(value) >= _PACKET,
        f"set the server's max_allowed_packet to {_PACKET} or more: a thousand rows go in one statement",
    ),
    "binlog_format": (
        lambda value: value != "STATEMENT",
        "set the server's binlog_format to ROW or MIXED: READ COMMITTED cannot be logged as statements",
    ),
}


def wrong_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Return what is set otherwise than the code needs it, with its remedy."""
    asked = {name: settings[name] for name in _AS_NEEDED if name in settings}
    if settings.get("log_bin") != "ON":
        asked.pop("binlog_format", None)
    return {name: _AS_NEEDED[name][1] for name, value in asked.items() if not _AS_NEEDED[name][0](value)}


# Clocks: leases and retry times go by the database's; the others should be near it.

MOST_SECONDS = 30
"""What is kept by NTP is within one. Days, file times and logs are compared between machines."""


def offset(ask: Callable[[], float]) -> float:
    """Return by how many seconds the clock that ``ask`` reads (since 1970) is ahead of this worker's."""
    before = time.time()
    there = ask()
    return there - (before + time.time()) / 2


def database_offset(engine: Engine) -> float:
    """Return by how many seconds the database's clock is ahead of this worker's."""
    return offset(lambda: database_now(engine).replace(tzinfo=UTC).timestamp())


def require_near(whose: str, seconds: float, of: str) -> str:
    """Say how far a clock is off another. Raises EnvironmentFault if that is too much."""
    text = f"{whose} is {seconds:+.1f} s off {of}"
    if abs(seconds) > MOST_SECONDS:
        raise EnvironmentFault(f"{text}; at most {MOST_SECONDS} s are allowed.", remedy="let NTP keep both clocks.")
    return text
