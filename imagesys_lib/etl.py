"""The ETL's rows, read only: keyset pages of at most 1,000 rows, never locking.

A page costs what its rows cost, whatever else the table holds: its keyset is the recommended index, ``(updated_at,
listing_id)``, and each statement is one range of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import Engine

from imagesys_lib.config import EtlTable
from imagesys_lib.db.engine import CHUNK, Row, chunks, read
from imagesys_lib.intervals import Interval
from imagesys_lib.listings import BadRow, Listing, Raw, Rows, as_text, listings_of

_FIRST_DATE = "1000-01-01"  # of those that MySQL supports
_AHEAD = dt.timedelta(days=1)

Condition = sa.ColumnElement[bool]


@dataclass(frozen=True)
class Etl:
    """Where listings come from; ``engine`` is a raw one."""

    engine: Engine
    table: EtlTable

    @cached_property
    def _columns(self) -> dict[str, sa.ColumnClause[Any]]:
        t = self.table
        schema, _, name = t.table.rpartition(".")
        table = sa.table(name, *map(sa.column, (t.listing_id, t.datasource_id, t.photo_urls, t.updated_at)))
        if schema:
            table.schema = schema
        names = {
            "listing": t.listing_id,
            "datasource": t.datasource_id,
            "photos": t.photo_urls,
            "updated": t.updated_at,
        }
        return {key: table.c[name] for key, name in names.items()}

    def _local(self, instant: dt.datetime) -> dt.datetime:
        return instant.astimezone(ZoneInfo(self.table.time_zone)).replace(tzinfo=None)

    def _read(self, where: Condition) -> Sequence[Row]:
        """Return the first rows of a range, in the order of the index."""
        c = self._columns
        columns = [column.label(key) for key, column in c.items()]
        return read(self.engine, sa.select(*columns).where(where).order_by(c["updated"], c["listing"]).limit(CHUNK))

    def _rows(self, rows: Sequence[Row]) -> Rows:
        return listings_of(rows, ZoneInfo(self.table.time_zone), self.table.url_separator)

    def updated_in(self, interval: Interval) -> Iterator[Rows]:
        """Yield the rows whose ``updated_at`` lies in the interval, oldest first, page by page."""
        updated, end = self._columns["updated"], self._local(interval.end)
        left = (updated >= self._local(interval.start)) & (updated < end)
        while True:
            rows = self._read(left)
            if len(rows) < CHUNK:
                break
            yield from self._whole(rows)
            left = (updated > _bound(rows[-1].updated)) & (updated < end)
        if rows:
            yield self._rows(rows)

    def _whole(self, rows: Sequence[Row]) -> Iterator[Rows]:
        """Yield a full page, then all else of the moment at which it ends."""
        c = self._columns
        at = c["updated"] == _bound(rows[-1].updated)
        while True:
            last = rows[-1].listing
            own = c["listing"].is_(None) if last is None else c["listing"] == _bound(last)
            after = c["listing"].is_not(None) if last is None else c["listing"] > _bound(last)
            # Where the index is not unique, a page may end amid the rows of one listing: these are read by themselves.
            yield self._rows([row for row in rows if row.listing != last])
            yield self._one(self._read(at & own))
            rows = self._read(at & after)
            if len(rows) < CHUNK:
                break
        if rows:
            yield self._rows(rows)

    def _one(self, rows: Sequence[Row]) -> Rows:
        """Return the rows of one listing and moment; more than a page of them is no ETL's meaning."""
        found = self._rows(rows)
        if len(rows) == CHUNK:
            found.bad.append(
                BadRow(as_text(rows[0].listing), f"{CHUNK} rows or more of one moment: the rest is not read")
            )
        return found

    def listings(self, listing_ids: Sequence[str]) -> Rows:
        """Look listings up by id; those that the ETL no longer has are left out."""
        c = self._columns
        found = Rows()
        for piece in chunks(listing_ids):
            columns = [column.label(key) for key, column in c.items()]
            rows = self._rows(read(self.engine, sa.select(*columns).where(c["listing"].in_(piece))))
            found.listings.extend(rows.listings)
            found.bad.extend(rows.bad)
        return found

    def never_read(self, now: dt.datetime) -> list[BadRow]:
        """Return rows that no interval up to tomorrow holds, at most 1,000 of each kind: no date, or one far ahead."""
        updated = self._columns["updated"]
        ahead = self._local(now + _AHEAD)
        return [
            BadRow(as_text(row.listing), f"its date is {as_text(row.updated)}")
            for where in (updated.is_(None) | (updated < _FIRST_DATE), updated >= ahead)
            for row in self._read(where)
        ]


def newest_by_key(listings: Sequence[Listing]) -> dict[tuple[str, int], Listing]:
    """Return listings by id and data source; of several rows the newest counts."""
    ordered = sorted(listings, key=lambda listing: listing.updated_at)
    return {(listing.listing_id, listing.datasource_id): listing for listing in ordered}


def _bound(value: Raw) -> Any:
    """Return a value that was read as one to compare its column with: text as text, so that its collation holds."""
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value
