"""No page reads more than some thousand rows, however large the tables are."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from benchmarks.ops_scale import tables
from imagesys_lib.dashboard.country import YEAR, country_page
from imagesys_lib.dashboard.overview import overview
from imagesys_lib.dashboard.run import run_page
from imagesys_lib.stages.report import Summary
from tests.library.db.test_database_indexes import BIG, explained
from tests.support.world import World

SUMMARY = Summary(
    country="uk",
    run_id="old-1",
    kind="scheduled",
    interval="",
    images=50_000,
    states={"live": 46_500, "rejected": 1500, "failed": 1000},
    reasons={"rejected": {"http_404": 1500}, "failed": {"timeout": 1000}},
    batches=50,
    unfinished={},
    nodes={},
    lost=[],
)
IMAGES = 60_000
MOST = 6_000

PAGES: dict[str, Callable[[World], object]] = {
    "overview": lambda world: overview(world.context_of),
    "country": lambda world: country_page(world.ctx),
    "year": lambda world: country_page(world.ctx, YEAR),
    "run": lambda world: run_page(world.ctx, "old-1"),
}


@pytest.fixture
def large(world: World) -> World:
    """A country with years of images, one of whose runs has fifty batches of a thousand."""
    with world.sandbox.mariadb.connect("imagesys", "imagesys_uk") as connection:
        tables.fill(connection, IMAGES)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE lis_runs SET run_id = 'old-1' WHERE run_id = 'run-1'")
            cursor.execute("INSERT INTO lis_datasources (datasource_id) SELECT seq FROM seq_1_to_3000")
            cursor.execute("ANALYZE TABLE lis_datasources")
            cursor.fetchall()
            cursor.execute("UPDATE lis_runs SET summary = %s", (json.dumps(SUMMARY.as_json()),))
        connection.commit()
    return world


def test_no_page_reads_more_than_some_thousand_rows_nor_a_large_table_wholly(large: World) -> None:
    with large.sandbox.mariadb.connect("imagesys", "imagesys_uk") as connection:
        for name, page in PAGES.items():
            before = tables.rows_read(connection)
            page(large)
            assert tables.rows_read(connection) - before < MOST, name
            with explained(large.ctx.db, big=BIG) as statements:
                page(large)
            bad = {text: found for text, found in statements.items() if found}
            assert not bad, name + "\n\n".join(f"{found}\n{text}" for text, found in bad.items())
