"""An ETL table that takes anything: no type, width or key keeps a row out."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from typing import Any

from imagesys_lib.context import Context
from tests.support.world import COUNTRY, DAY, World

NOON = dt.datetime.combine(DAY, dt.time(12))
URL = "http://127.0.0.11:1/{}.jpg".format
COLUMNS = {
    "listing_id": "VARCHAR(300)",
    "datasource_id": "VARCHAR(60)",
    "photo_urls": "LONGTEXT",
    "updated_at": "DATETIME",
}


class Loose:
    """The table, and how to write to it; ``ctx`` reads it."""

    def __init__(self, world: World, ctx: Context) -> None:
        self.world, self.ctx = world, ctx

    def sql(self, statement: str, *values: Any) -> None:
        """Write as an ETL may: no mode of the server's is strict."""
        with self.world.sandbox.etl._cursor(COUNTRY) as cursor:
            cursor.execute("SET SESSION sql_mode = 'ALLOW_INVALID_DATES'")
            cursor.execute(statement.format(table=f"etl.loose_{COUNTRY}"), values or None)

    def put(self, listing: Any, datasource: Any, photos: Any, updated: Any = NOON) -> None:
        """Add a row. Bytes are stored as they are."""
        place = {True: "CONVERT(%s USING utf8mb4)", False: "%s"}[isinstance(photos, bytes)]
        self.sql(f"INSERT INTO {{table}} VALUES (%s, %s, {place}, %s)", listing, datasource, photos, updated)


@contextlib.contextmanager
def loose_etl(
    world: World, index: str = "KEY (updated_at, listing_id), KEY (listing_id)", **types: str
) -> Iterator[Loose]:
    """Make the table, with other ``types`` of its columns where given, and configure the world to read it."""
    loose = Loose(world, world.reconfigure(etl={"table": "loose_{country}"}))
    columns = ", ".join(f"{name} {kind}" for name, kind in {**COLUMNS, **types}.items())
    loose.sql(f"CREATE OR REPLACE TABLE {{table}} ({columns}{', ' * bool(index)}{index}) DEFAULT CHARSET = utf8mb4")
    try:
        yield loose
    finally:
        loose.sql("DROP TABLE IF EXISTS {table}")
