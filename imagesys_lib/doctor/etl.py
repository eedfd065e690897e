"""The ETL's table: its columns, an index for each way it is read, and a login that can only read."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from imagesys_lib.context import Context
from imagesys_lib.db.engine import error_code, probe
from imagesys_lib.doctor.finding import Finding, attempt
from imagesys_lib.errors import EnvironmentFault

_WRITES = (
    ("INSERT", "INSERT INTO {table} ({column}) SELECT {column} FROM {table} WHERE 1 = 0"),
    ("UPDATE", "UPDATE {table} SET {column} = {column} WHERE 1 = 0"),
    ("DELETE", "DELETE FROM {table} WHERE 1 = 0"),
)
_REFUSED = frozenset({1044, 1142, 1143, 1227, 1290, 1836})  # the last two: the server as a whole only reads


def examine(ctx: Context) -> Iterator[Finding]:
    """Check one country's table; its rights only if it is there."""
    first = attempt(f"{ctx.country} ETL", lambda: _table(ctx))
    yield first
    if first.ok:
        yield attempt(f"{ctx.country} ETL rights", lambda: _read_only(ctx))


def _name(ctx: Context) -> str:
    table = ctx.config.etl.table
    return table if "." in table else f"{ctx.etl.engine.url.database}.{table}"


def _table(ctx: Context) -> str:
    probe(ctx.etl.engine)
    try:
        found = _looked_at(ctx)
        with ctx.etl.engine.connect() as session:
            session.exec_driver_sql(f"SELECT 1 FROM {_name(ctx)} WHERE 1 = 0")  # noqa: S608 - from the configuration, which lets names alone through
    except DBAPIError as error:
        name, login = _name(ctx), ctx.etl.engine.url.username
        raise EnvironmentFault(
            f"{login!r} cannot read ETL table {name}: {error.orig}.",
            remedy=f"GRANT SELECT ON {name} TO that login.",
        ) from None
    return found


def _looked_at(ctx: Context) -> str:
    table, name = ctx.config.etl, _name(ctx)
    inspector = sa.inspect(ctx.etl.engine)
    schema, _, bare = table.table.rpartition(".")
    if not inspector.has_table(bare, schema or None):
        raise EnvironmentFault(f"There is no ETL table {name}.", remedy="correct etl.table in the configuration.")
    columns = {column["name"] for column in inspector.get_columns(bare, schema or None)}
    needed = {table.listing_id, table.datasource_id, table.photo_urls, table.updated_at}
    if needed - columns:
        raise EnvironmentFault(
            f"ETL table {name} has no column {', '.join(sorted(needed - columns))}.",
            remedy="correct the etl columns in the configuration.",
        )
    key = inspector.get_pk_constraint(bare, schema or None)["constrained_columns"]
    leading = {index["column_names"][0] for index in inspector.get_indexes(bare, schema or None)} | {*key[:1]}
    for column, reader, wanted in (
        (table.updated_at, "run", f"({table.updated_at}, {table.listing_id})"),
        (table.listing_id, "purge", f"({table.listing_id})"),
    ):
        if column not in leading:
            raise EnvironmentFault(
                f"ETL table {name} has no index that begins with {column}: every {reader} would scan it.",
                remedy=f"ask for an index on {wanted}.",
            )
    return f"{name} with its columns and indexes on {table.updated_at} and {table.listing_id}"


def _read_only(ctx: Context) -> str:
    """Try to write no row, in each way there is: the login's rights or a server that only reads must refuse it.

    Rights are looked at first, so that any other error means that it has them.
    """
    engine, name, may = ctx.etl.engine, _name(ctx), []
    with engine.connect() as session:
        for right, statement in _WRITES:
            try:
                session.exec_driver_sql(statement.format(table=name, column=ctx.config.etl.updated_at))
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
