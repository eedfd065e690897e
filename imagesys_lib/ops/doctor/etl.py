"""The ETL's table: its columns, an index for each way it is read, its rows, and a login that can only read."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from imagesys_lib.config.intervals import UTC
from imagesys_lib.context import Context
from imagesys_lib.db.engine import check_connection, error_code, read
from imagesys_lib.errors import DatabaseUnavailable, EnvironmentFault
from imagesys_lib.etl.listings import MAX_ID, as_text
from imagesys_lib.etl.pages import NUMBERS
from imagesys_lib.ops.doctor.finding import Finding, attempt
from imagesys_lib.runs import runs

_WRITES = (
    ("INSERT", "INSERT INTO {table} ({column}) SELECT {column} FROM {table} WHERE 1 = 0"),
    ("UPDATE", "UPDATE {table} SET {column} = {column} WHERE 1 = 0"),
    ("DELETE", "DELETE FROM {table} WHERE 1 = 0"),
)
_REFUSED = frozenset({1044, 1142, 1143, 1227, 1290, 1836})  # the last two: the server as a whole only reads
_NO_TABLE = 1146
_PLAN_REFUSED = 1345
_NAMED = 10
_SHORT = frozenset({"char", "varchar", "binary", "varbinary"})
_LONG = frozenset({"tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob"})
_READABLE = {
    "id": NUMBERS | _SHORT | {"uuid"},
    "source": NUMBERS | _SHORT | {"float", "double"},
    "photos": _SHORT | _LONG,
    "date": frozenset({"datetime", "timestamp", "date"}),
}
_UNREADABLE = {
    "id": "ids are numbers or short text.",
    "source": "data sources are whole numbers, or text of digits.",
    "photos": "photos are text of URLs with `etl.url_separator` between them.",
    "date": "dates are DATETIME, TIMESTAMP or DATE; text sorts by time only if all of it is like 2026-03-01 09:00:00.",
}
_VIEW = "have a column of such a type (a generated one, say) and name it in `etl`; for ids and photos a view does, too."


def examine(ctx: Context) -> Iterator[Finding]:
    """Check one country's table; its rights only if it is there."""
    first = attempt(f"{ctx.country} ETL", lambda: _table(ctx))
    yield first
    if first.ok:
        yield attempt(f"{ctx.country} ETL rows", lambda: _rows(ctx))
        yield attempt(f"{ctx.country} ETL rights", lambda: _read_only(ctx))


def _name(ctx: Context) -> str:
    table = ctx.config.etl.table
    return table if "." in table else f"{ctx.etl.engine.url.database}.{table}"


def _table(ctx: Context) -> str:
    check_connection(ctx.etl.engine)
    try:
        with ctx.etl.engine.connect() as connection:
            connection.exec_driver_sql(f"SELECT 1 FROM {ctx.etl.name} WHERE 1 = 0")  # noqa: S608 - from the configuration, which lets names alone through
        found = _looked_at(ctx)
    except DBAPIError as error:
        name, login = _name(ctx), ctx.etl.engine.url.username
        if error_code(error) == _NO_TABLE:
            raise EnvironmentFault(
                f"There is no ETL table {name}.", remedy="correct etl.table in the configuration."
            ) from None
        raise EnvironmentFault(
            f"{login!r} cannot read ETL table {name}: {error.orig}.",
            remedy=f"GRANT SELECT ON {name} TO that login.",
        ) from None
    return found


def _looked_at(ctx: Context) -> str:
    table, name = ctx.config.etl, _name(ctx)
    types = _types(ctx)
    roles = {
        "id": table.listing_id,
        "source": table.datasource_id,
        "photos": table.photo_urls,
        "date": table.updated_at,
    }
    if absent := sorted({column for column in roles.values() if column.lower() not in types}):
        raise EnvironmentFault(
            f"ETL table {name} has no column {', '.join(absent)}.",
            remedy="correct the etl columns in the configuration.",
        )
    for role, column in roles.items():
        kind = re.split(r"[( ]", types[column.lower()])[0]
        if kind not in _READABLE[role] and not (role == "date" and kind in _SHORT and _sorts_by_time(ctx)):
            raise EnvironmentFault(f"Column {column} of {name} is {kind.upper()}: {_UNREADABLE[role]}", remedy=_VIEW)
    for reader, wanted in (("run", (table.updated_at, table.listing_id)), ("purge", (table.listing_id,))):
        if not _has_index(ctx, *wanted):
            columns = ", ".join(wanted)
            raise EnvironmentFault(
                f"ETL table {name} has no index that begins with ({columns}): every {reader} would scan or sort it.",
                remedy=f"ask for: CREATE INDEX imagesys_{reader} ON {name} ({columns}); of a view, on its table.",
            )
    width = re.search(r"(?:char|binary)\((\d+)\)", types[table.listing_id.lower()])
    wide = f"; rows with ids of more than {MAX_ID} characters are skipped" if width and int(width[1]) > MAX_ID else ""
    keys = f"({table.updated_at}, {table.listing_id}) and {table.listing_id}"
    return f"{name} with its columns, and indexes on {keys}{wide}"


def _types(ctx: Context) -> dict[str, str]:
    """Return the types of the table's or view's columns with their widths, by name in lower case."""
    rows = [row._mapping for row in read(ctx.etl.engine, sa.text(f"SHOW COLUMNS FROM {ctx.etl.name}"))]
    return {as_text(row["Field"]).lower(): as_text(row["Type"]).lower() for row in rows}


def _sorts_by_time(ctx: Context) -> bool:
    """Say whether the least and the greatest dates, which are text, are written like a DATETIME."""
    return not any("its date" in row.why for row in ctx.etl.ends().bad)


def _has_index(ctx: Context, *columns: str) -> bool:
    """Say whether statements over these columns can use an index. Of a view their plans show it.

    To see them takes SHOW VIEW, and SELECT on the view's tables; else it is taken for well.
    """
    if ctx.etl.indexes or not _is_view(ctx):
        return ctx.etl.index_on(*columns) is not None
    first = columns[0]
    where = f"{first} >= '2000-01-01' AND {first} < '2000-01-02'" if len(columns) > 1 else f"{first} IN ('1', '2')"
    plan = f"EXPLAIN SELECT {first} FROM {ctx.etl.name} WHERE {where}"  # noqa: S608 - names alone
    try:
        steps = [row._mapping for row in read(ctx.etl.engine, sa.text(plan))]
    except DBAPIError as error:
        if error_code(error) == _PLAN_REFUSED:
            return True
        raise
    return all(step["possible_keys"] is not None and as_text(step["select_type"]) == "SIMPLE" for step in steps)


def _is_view(ctx: Context) -> bool:
    schema, _, bare = ctx.etl.table.table.rpartition(".")
    query = "SELECT table_type FROM information_schema.tables WHERE table_schema = :schema AND table_name = :bare"
    found = read(ctx.etl.engine, sa.text(query), {"schema": schema or ctx.etl.engine.url.database, "bare": bare})
    return any(as_text(row[0]) == "VIEW" for row in found)


def _rows(ctx: Context) -> str:
    """Look at rows that no run ever reads, and at the oldest and newest ones, and at what the last run has skipped."""
    skipped: list[str] = []
    with contextlib.suppress(DatabaseUnavailable):  # which is a finding of its own
        check_connection(ctx.db)
        last = runs.latest_ended(ctx.db)
        skipped = [line for found in ((last and last.bad_rows) or {}).values() for line in found["samples"]]
    bad = [*ctx.etl.never_read(dt.datetime.now(UTC)), *ctx.etl.ends().bad]
    lines = list(dict.fromkeys([*map(str, bad), *skipped]))
    if lines:
        more = f"; and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
        raise EnvironmentFault(
            f"rows of {_name(ctx)} that are skipped or cut: {'; '.join(lines[:_NAMED])}{more}",
            remedy="have the ETL mend these rows: their listings are read as soon as they have a new date.",
        )
    return f"the oldest and the newest rows of {_name(ctx)} can be read, and none is undated or dated in the future"


def _read_only(ctx: Context) -> str:
    """Try to write no row, in each way there is: the login's rights or a server that only reads must refuse it.

    Rights are looked at first, so that any other error means that it has them.
    """
    engine, name, may = ctx.etl.engine, _name(ctx), []
    with engine.connect() as connection:
        for right, statement in _WRITES:
            try:
                connection.exec_driver_sql(statement.format(table=name, column=ctx.config.etl.updated_at))
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise
                if error_code(error) in _REFUSED:
                    continue
            may.append(right)
    if may:
        raise EnvironmentFault(
            f"{engine.url.username!r} may write to {name} ({', '.join(may)}); ImageSys only ever reads it.",
            remedy="give the connection `etl` a login with SELECT alone.",
        )
    return f"{engine.url.username!r} can only read"
