"""The ETL's rows, read only: keyset pages of at most 1,000 rows, never locking.

A page costs what its rows cost, whatever else the table holds: its keyset is the recommended index, ``(updated_at,
listing_id)``, and each statement is one range of it. That index is forced, as near the end of a moment MariaDB would
rather merge it with the primary key.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import Engine

from imagesys_lib.config import EtlTable
from imagesys_lib.config.intervals import Interval
from imagesys_lib.db.engine import CHUNK, Row, beyond, chunks, read
from imagesys_lib.etl.listings import BadRow, Listing, Raw, Rows, as_text, dated, listings_of

_FIRST_DATE = "1000-01-01"  # of those that MySQL supports
_FUTURE = dt.timedelta(days=1)
_LOOK_UP = CHUNK // 2  # MariaDB joins a list of 1,000 as a table, and finds no numbers by it

NUMBERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "decimal"})
"""Types of columns that hold exact numbers."""

_WHOLE = re.compile(r"-?[0-9]+", re.ASCII)

Condition = sa.ColumnElement[bool]


@dataclass(frozen=True)
class Etl:
    """Where listings come from; ``engine`` is a raw one."""

    engine: Engine
    table: EtlTable

    @cached_property
    def _table(self) -> sa.TableClause:
        t = self.table
        schema, _, name = t.table.rpartition(".")
        names = (t.listing_id, t.datasource_id, t.photo_urls, t.updated_at)
        columns: list[sa.ColumnClause[Any]] = [sa.column(column) for column in names]
        return sa.table(name, *columns, schema=schema or None)

    @cached_property
    def _columns(self) -> dict[str, sa.ColumnClause[Any]]:
        t = self.table
        names = {
            "listing": t.listing_id,
            "datasource": t.datasource_id,
            "photos": t.photo_urls,
            "updated": t.updated_at,
        }
        return {key: self._table.c[name] for key, name in names.items()}

    @property
    def name(self) -> str:
        """The ETL table's name as statements have it."""
        return ".".join(f"`{part}`" for part in self.table.table.split("."))

    @cached_property
    def indexes(self) -> dict[str, list[str]]:
        """The columns of each index that may be used, in lower case, with the primary key's that InnoDB adds to them.

        A view has none. What an index holds of a column but in part is "" in it.
        """
        found: dict[str, list[str]] = {}
        for row in read(self.engine, sa.text(f"SHOW INDEX FROM {self.name}")):
            shown = {key: as_text(value) for key, value in row._mapping.items()}
            hidden = shown.get("Visible") == "NO" or shown.get("Ignored") == "YES"
            part = shown["Column_name"].lower() if shown["Sub_part"] == "NULL" and not hidden else ""
            found.setdefault(shown["Key_name"], []).append(part)
        key = found.get("PRIMARY", [])
        return {name: columns if name == "PRIMARY" else columns + key for name, columns in found.items()}

    def index_on(self, *columns: str) -> str | None:
        """Return the name of an index that begins with these columns, or None."""
        wanted = [column.lower() for column in columns]
        return next((name for name, has in self.indexes.items() if has[: len(wanted)] == wanted), None)

    @cached_property
    def _numbered(self) -> bool:
        """Whether ids are numbers. Text among decimals would be compared as a float, which tells no long ones apart."""
        query = sa.text(f"SHOW COLUMNS FROM {self.name} WHERE Field = :name")
        rows = read(self.engine, query, {"name": self.table.listing_id})
        return any(re.split(r"[( ]", as_text(row.Type).lower())[0] in NUMBERS for row in rows)

    def _local(self, instant: dt.datetime) -> dt.datetime:
        return instant.astimezone(ZoneInfo(self.table.time_zone)).replace(tzinfo=None)

    def _read(self, where: Condition, *, newest: bool = False) -> Sequence[Row]:
        """Return the first (or the last) rows of a range, in the order of the index (or the other way round)."""
        c = self._columns
        query = sa.select(*(column.label(key) for key, column in c.items())).where(where)
        if index := self.index_on(self.table.updated_at, self.table.listing_id):
            query = query.with_hint(self._table, f"FORCE INDEX (`{index}`)", "mysql")
        order = (c["updated"], c["listing"])
        return read(self.engine, query.order_by(*(key.desc() if newest else key for key in order)).limit(CHUNK))

    def _rows(self, rows: Sequence[Row]) -> Rows:
        return listings_of(rows, ZoneInfo(self.table.time_zone), self.table.url_separator)

    def updated_in(self, interval: Interval) -> Iterator[Rows]:
        """Yield the rows whose ``updated_at`` lies in the interval, oldest first, page by page."""
        updated, listing = key = self._columns["updated"], self._columns["listing"]
        end = self._local(interval.end)
        left = (updated >= self._local(interval.start)) & (updated < end)
        while True:
            rows = self._read(left)
            if len(rows) < CHUNK:
                break
            at, last = _bound(rows[-1].updated), rows[-1].listing
            # The page may end amid rows of one listing and moment, as no index need be unique: these are read apart.
            yield self._rows([row for row in rows if (row.listing, row.updated) != (last, rows[-1].updated)])
            yield self._one(self._read((updated == at) & _equals(listing, last)))
            later = beyond(key, (at, _bound(last))) if last is not None else _beyond_null(key, at)
            left = (updated >= at) & (updated < end) & later
        if rows:
            yield self._rows(rows)

    def _one(self, rows: Sequence[Row]) -> Rows:
        """Return the rows of one listing and moment; more than a page of them is no ETL's meaning."""
        found = self._rows(rows)
        if len(rows) == CHUNK:
            found.bad.append(
                BadRow(as_text(rows[0].listing), f"{CHUNK} rows or more of one moment: the rest is not read", kept=True)
            )
        return found

    def listings(self, listing_ids: Sequence[str]) -> Rows:
        """Look listings up by id; those that the ETL no longer has are left out."""
        c = self._columns
        found = Rows()
        ids: Sequence[str | int] = listing_ids
        if self._numbered:
            ids = [int(listing_id) for listing_id in listing_ids if _WHOLE.fullmatch(listing_id)]
        for piece in chunks(ids, _LOOK_UP):
            columns = [column.label(key) for key, column in c.items()]
            rows = self._rows(read(self.engine, sa.select(*columns).where(c["listing"].in_(piece))))
            found.listings.extend(rows.listings)
            found.bad.extend(rows.bad)
        return found

    def ends(self) -> Rows:
        """Return the oldest and the newest 1,000 rows; what is in both comes twice."""
        everything = sa.true()
        return self._rows([*self._read(everything), *self._read(everything, newest=True)])

    def never_read(self, now: dt.datetime) -> list[BadRow]:
        """Return rows that no interval up to tomorrow holds, 1,000 of each kind at most: no date, or a later one."""
        updated = self._columns["updated"]
        future = self._local(now + _FUTURE)
        return [
            BadRow(as_text(row.listing), dated(row.updated))
            for where in (updated.is_(None) | (updated < _FIRST_DATE), updated >= future)
            for row in self._read(where)
        ]


def newest_by_key(listings: Sequence[Listing]) -> dict[tuple[str, int], Listing]:
    """Return listings by id and data source; of several rows the newest counts."""
    ordered = sorted(listings, key=lambda listing: listing.updated_at)
    return {(listing.listing_id, listing.datasource_id): listing for listing in ordered}


def _equals(column: sa.ColumnElement[Any], value: Raw) -> Condition:
    same: Condition = column == _bound(value)
    return column.is_(None) if value is None else same


def _beyond_null(key: tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]], at: Any) -> Condition:
    """Return the condition that a row comes after those of a moment that have no id, which are its first."""
    updated, listing = key
    later: Condition = (updated > at) | ((updated == at) & listing.is_not(None))
    return later


def _bound(value: Raw) -> Any:
    """Return a value that was read as one to compare its column with: text as text, so that its collation holds."""
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value
