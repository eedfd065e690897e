"""Pages of a large ETL table: each costs what its rows cost, and none loses a row or comes twice."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from imagesys_lib.config.intervals import UTC, Interval
from imagesys_lib.db.engine import CHUNK
from imagesys_lib.etl.pages import Etl
from tests.support.loose_etl import NOON, Loose, loose_etl
from tests.support.world import World

ROWS = 200_000
SPAN = Interval(dt.datetime(2026, 3, 1, tzinfo=UTC), dt.datetime(2026, 4, 1, tzinfo=UTC))
STRICT = {
    "listing_id": "VARCHAR(64) NOT NULL",
    "datasource_id": "INT NOT NULL",
    "photo_urls": "TEXT NOT NULL",
    "updated_at": "DATETIME NOT NULL",
}
_DIGITS = " CROSS JOIN ".join(
    f"(SELECT 0 AS d UNION ALL {' UNION ALL '.join(f'SELECT {n}' for n in range(1, 10))}) AS d{place}"
    for place in range(6)
)
_NUMBER = " + ".join(f"d{place}.d * {10**place}" for place in range(6))


def fill(etl: Loose, updated: str, rows: int = ROWS, listing: str = "CONCAT('L', LPAD(n, 7, '0'))") -> None:
    """Add so many rows in the server itself; ``updated`` and ``listing`` are of ``n``, from 0."""
    etl.sql(
        f"INSERT INTO {{table}} SELECT {listing}, 101, CONCAT('http://a.example/', n, '.jpg'), {updated} "
        f"FROM (SELECT {_NUMBER} AS n FROM {_DIGITS}) AS numbers WHERE n < {rows}"
    )
    etl.sql("ANALYZE TABLE {table}")


EVERY = {
    "spread over a day": "'2026-03-28 00:00:00' + INTERVAL (n % 80000) SECOND",
    "of one moment": "'2026-03-28 12:00:00'",
    "a page and a bit a moment": f"'2026-03-28 00:00:00' + INTERVAL (n DIV {CHUNK + 1}) SECOND",
}


def reads(etl: Etl, statement: str, values: Any) -> tuple[int, list[dict[str, Any]]]:
    """Execute a statement; return how many rows the server touched for it, and its plan."""
    plain = sa.create_engine(etl.engine.url)
    with plain.connect() as connection:
        before = _handlers(connection)
        connection.exec_driver_sql(statement, values).all()
        touched = _handlers(connection) - before
        plan = [dict(row) for row in connection.exec_driver_sql(f"EXPLAIN {statement}", values).mappings()]
    plain.dispose()
    return touched, plan


def _handlers(connection: sa.Connection) -> int:
    rows = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read%%'", ()).all()
    return sum(int(value) for _name, value in rows)


class Statements:
    """The statements that the ETL is asked, while they are recorded."""

    def __init__(self, etl: Etl) -> None:
        self.etl, self.asked = etl, list[tuple[str, Any]]()
        event.listen(etl.engine, "before_cursor_execute", self._note)

    def _note(self, _c: Any, _k: Any, text: str, values: Any, _x: Any, _many: bool) -> None:
        if text.startswith("SELECT"):
            self.asked.append((text, values))

    def each_is_a_range_of(self, index: str) -> None:
        for text, values in self.asked:
            touched, plan = reads(self.etl, text, values)
            assert touched <= CHUNK + 5, (touched, text)
            (step,) = plan
            assert step["key"] == index, (step, text)
            assert step["type"] in ("range", "ref", "ref_or_null", "const"), (step, text)
            assert "filesort" not in (step["Extra"] or ""), (step, text)
            assert "temporary" not in (step["Extra"] or ""), (step, text)


@pytest.fixture
def big(world: World) -> Iterator[Loose]:
    with loose_etl(world, "PRIMARY KEY (listing_id), KEY read_by (updated_at, listing_id)", **STRICT) as etl:
        yield etl


@pytest.mark.parametrize(
    "updated", [pytest.param(name, marks=[pytest.mark.long] if number else []) for number, name in enumerate(EVERY)]
)
def test_any_page_of_200000_rows_is_one_range_of_the_recommended_index(big: Loose, updated: str) -> None:
    fill(big, EVERY[updated])
    asked = Statements(big.ctx.etl)
    seen = Counter(one.listing_id for page in big.ctx.etl.updated_in(SPAN) for one in page.listings)
    assert (len(seen), seen.total()) == (ROWS, ROWS)
    assert len(asked.asked) < 6 * ROWS / CHUNK
    asked.asked = asked.asked[:8] + asked.asked[len(asked.asked) // 2 :][:8] + asked.asked[-8:]
    asked.each_is_a_range_of("read_by")


def test_a_look_up_reads_its_listings_alone(big: Loose) -> None:
    fill(big, EVERY["of one moment"])
    asked = Statements(big.ctx.etl)
    found = big.ctx.etl.listings([f"L{n:07d}" for n in range(0, ROWS, ROWS // CHUNK)])
    assert len(found.listings) == CHUNK
    asked.each_is_a_range_of("PRIMARY")


def test_a_look_up_by_numbers_reads_its_listings_alone(world: World) -> None:
    types = {**STRICT, "listing_id": "BIGINT NOT NULL"}
    with loose_etl(world, "PRIMARY KEY (listing_id), KEY read_by (updated_at, listing_id)", **types) as etl:
        fill(etl, EVERY["a page and a bit a moment"], listing="n")
        asked = Statements(etl.ctx.etl)
        assert len(etl.ctx.etl.listings([str(n) for n in range(0, ROWS, ROWS // CHUNK)]).listings) == CHUNK
        asked.each_is_a_range_of("PRIMARY")
        asked.asked.clear()
        pages = etl.ctx.etl.updated_in(SPAN)
        assert sum(len(next(pages).listings) for _ in range(20)) > 3 * CHUNK
        asked.each_is_a_range_of("read_by")


def test_rows_that_are_never_read_are_found_by_the_index(big: Loose) -> None:
    big.sql("ALTER TABLE {table} MODIFY updated_at DATETIME NULL")
    fill(big, "CASE n % 50000 WHEN 0 THEN NULL WHEN 1 THEN '0000-00-00' WHEN 2 THEN '9999-12-31' ELSE '2026-03-28' END")
    asked = Statements(big.ctx.etl)
    assert len(big.ctx.etl.never_read(dt.datetime(2026, 3, 29, tzinfo=UTC))) == 12
    asked.each_is_a_range_of("read_by")


def test_no_row_of_an_etl_without_a_unique_key_is_lost_at_the_edge_of_a_page(world: World) -> None:
    with loose_etl(world) as etl:
        # Ids of which each has 1 to 7 rows of one moment, with a data source each; every edge falls amid some.
        rows = [(f"L{n:05d}", source) for n in range(1500) for source in range(n % 7 + 1)]
        moments = [NOON + dt.timedelta(seconds=n // 2500) for n in range(len(rows))]
        for number, (listing_id, _source) in enumerate(rows):
            if number and rows[number - 1][0] == listing_id:
                moments[number] = moments[number - 1]
        with world.sandbox.etl._cursor("uk") as cursor:
            cursor.executemany(
                "INSERT INTO etl.loose_uk VALUES (%s, %s, 'http://a.example/', %s)",
                [(*row, moment) for row, moment in zip(rows, moments, strict=True)],
            )
        pages = list(etl.ctx.etl.updated_in(SPAN))
        seen = Counter((one.listing_id, one.datasource_id) for page in pages for one in page.listings)
        assert seen == Counter(rows)
        dates = [one.updated_at for page in pages for one in page.listings]
        assert all(a <= b for a, b in pairwise(dates))


@pytest.mark.parametrize("listing", ["NULL", "''", "'one'"])
def test_thousands_of_rows_of_one_listing_and_moment_end_and_are_reported(world: World, listing: str) -> None:
    with loose_etl(world) as etl:
        fill(etl, "'2026-03-28 12:00:00'", rows=3500, listing=listing)
        fill(etl, "'2026-03-28 12:00:00'", rows=1200)
        fill(etl, "'2026-03-28 13:00:00'", rows=3)
        pages = list(etl.ctx.etl.updated_in(SPAN))
        seen = {(one.listing_id, one.updated_at.hour) for page in pages for one in page.listings}
        assert len({key for key in seen if key[0].startswith("L")}) == 1203
        reported = {str(row) for page in pages for row in page.bad}
        assert any("1000 rows or more of one moment: the rest is not read" in line for line in reported)


def test_ids_that_the_etl_takes_for_equal_are_all_read(world: World) -> None:
    with loose_etl(world) as etl:
        fill(etl, "'2026-03-28 12:00:00'", rows=2500, listing="IF(n % 2, CONCAT('l', n DIV 2), CONCAT('L', n DIV 2))")
        seen = {one.listing_id for page in etl.ctx.etl.updated_in(SPAN) for one in page.listings}
        assert len(seen) == 2500


def test_impossible_dates_at_the_edge_of_a_page_lose_no_row(world: World) -> None:
    with loose_etl(world) as etl:
        fill(etl, "IF(n < 1300, '2026-03-00 12:00:00', '2026-03-02 12:00:00')", rows=2600)
        span = Interval(dt.datetime(2026, 2, 27, tzinfo=UTC), SPAN.end)
        pages = list(etl.ctx.etl.updated_in(span))
        assert sum(len(page.listings) for page in pages) == 1300
        assert sum(len(page.bad) for page in pages) == 1300
