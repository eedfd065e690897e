"""The ETL's listings, read only: keyset pages of at most 1,000 rows, never locking."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import Engine

from imagesys_lib.config import EtlTable
from imagesys_lib.db.engine import CHUNK, Row, beyond, chunks, read
from imagesys_lib.hashing import split_photo_urls
from imagesys_lib.intervals import UTC, Interval


@dataclass(frozen=True)
class Listing:
    """One listing with its photo URLs in order; ``updated_at`` is naive UTC."""

    listing_id: str
    datasource_id: int
    urls: tuple[str, ...]
    updated_at: dt.datetime


@dataclass(frozen=True)
class Etl:
    """Where listings come from."""

    engine: Engine
    table: EtlTable

    def _columns(self) -> tuple[sa.TableClause, dict[str, sa.ColumnClause[Any]]]:
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
        return table, {key: table.c[name] for key, name in names.items()}

    def _local(self, instant: dt.datetime) -> dt.datetime:
        return instant.astimezone(ZoneInfo(self.table.time_zone)).replace(tzinfo=None)

    def _listing(self, row: Row) -> Listing:
        stamp: dt.datetime = row.updated
        aware = stamp.replace(tzinfo=ZoneInfo(self.table.time_zone))
        return Listing(
            listing_id=str(row.listing),
            datasource_id=int(row.datasource),
            urls=split_photo_urls(row.photos or "", self.table.url_separator),
            updated_at=aware.astimezone(UTC).replace(tzinfo=None),
        )

    def updated_in(self, interval: Interval) -> Iterator[list[Listing]]:
        """Yield the listings whose ``updated_at`` lies in the interval, oldest first, page by page."""
        _, c = self._columns()
        window = (c["updated"] >= self._local(interval.start)) & (c["updated"] < self._local(interval.end))
        order = (c["updated"], c["listing"], c["datasource"])
        after: sa.ColumnElement[bool] = sa.true()
        while True:
            columns = [column.label(key) for key, column in c.items()]
            rows = read(self.engine, sa.select(*columns).where(window, after).order_by(*order).limit(CHUNK))
            if rows:
                yield [self._listing(row) for row in rows]
            if len(rows) < CHUNK:
                return
            last = rows[-1]
            after = beyond(order, (last.updated, last.listing, last.datasource))
            window = (c["updated"] >= last.updated) & (c["updated"] < self._local(interval.end))

    def listings(self, listing_ids: Sequence[str]) -> dict[tuple[str, int], Listing]:
        """Look listings up by key; those that the ETL no longer has are left out."""
        _, c = self._columns()
        found: dict[tuple[str, int], Listing] = {}
        for piece in chunks(listing_ids):
            columns = [column.label(key) for key, column in c.items()]
            for row in read(self.engine, sa.select(*columns).where(c["listing"].in_(piece))):
                listing = self._listing(row)
                found[listing.listing_id, listing.datasource_id] = listing
        return found
