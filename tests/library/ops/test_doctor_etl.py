"""The doctor and an ETL of other types: what works is sound, what does not is named with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from imagesys_lib.ops.doctor import etl
from imagesys_lib.runs import runs
from imagesys_lib.stages.ingest import ingest
from include.sandbox.settings import LOOPBACK
from tests.library.ops.test_doctor import administer
from tests.support.loose_etl import NOON, URL, loose_etl
from tests.support.world import COUNTRY, World

SOUND = {
    **{f"{name} dates": {"updated_at": name} for name in ("DATE", "DATETIME(6)", "TIMESTAMP NULL", "VARCHAR(30)")},
    **{f"{name} photos": {"photo_urls": name} for name in ("MEDIUMBLOB", "VARCHAR(3000)", "TEXT CHARACTER SET latin1")},
    **{f"{name} ids": {"listing_id": name} for name in ("BIGINT UNSIGNED", "VARBINARY(64)", "CHAR(36)", "UUID")},
    **{f"{name} sources": {"datasource_id": name} for name in ("BIGINT", "DECIMAL(10,0)", "VARCHAR(10)", "DOUBLE")},
}
ROWS: dict[str, tuple[Any, ...]] = {
    "UUID ids": ("6ccd780c-baba-1026-9564-5b8c656024db", 101, URL(1)),
    "other": (7, 101, URL(1)),
}
AILING = {
    "BIGINT dates": ({"updated_at": "BIGINT"}, 1774699200, "Column updated_at of etl.loose_uk is BIGINT: dates are"),
    "text in another order": (
        {"updated_at": "VARCHAR(30)"},
        "28/03/2026 12:00",
        "updated_at of etl.loose_uk is VARCHAR",
    ),
    "text of RFC 3339": (
        {"updated_at": "VARCHAR(30)"},
        "2026-03-28T12:00:00Z",
        "updated_at of etl.loose_uk is VARCHAR",
    ),
    "TIME dates": ({"updated_at": "TIME"}, "12:00", "is TIME: dates are DATETIME, TIMESTAMP or DATE"),
    "YEAR dates": ({"updated_at": "YEAR"}, 2026, "is YEAR: dates are"),
    "FLOAT ids": ({"listing_id": "FLOAT"}, NOON, "Column listing_id of etl.loose_uk is FLOAT: ids are numbers"),
    "ENUM ids": ({"listing_id": "ENUM('7')"}, NOON, "is ENUM: ids are"),
    "BIT sources": ({"datasource_id": "BIT(8)"}, NOON, "is BIT: data sources are whole numbers"),
    "INT photos": ({"photo_urls": "INT"}, NOON, "is INT: photos are text of URLs"),
}


@pytest.mark.parametrize("name", SOUND)
def test_columns_that_can_be_read_are_sound(patient: World, name: str) -> None:
    with loose_etl(patient, **SOUND[name]) as loose:
        loose.put(*ROWS.get(name, ROWS["other"]))
        assert [str(finding) for finding in etl.examine(loose.ctx) if not finding.ok] == []


@pytest.mark.parametrize(
    ("width", "reported"), [("VARCHAR(64)", False), ("VARCHAR(65)", True), ("VARBINARY(200)", True)]
)
def test_ids_that_may_be_wider_than_ours_are_reported_of_a_sound_table(
    patient: World, width: str, reported: bool
) -> None:
    with loose_etl(patient, listing_id=width) as loose:
        first = next(iter(etl.examine(loose.ctx)))
        assert first.ok
        assert ("rows with ids of more than 64 characters are skipped" in first.detail) is reported


@pytest.mark.parametrize("name", AILING)
def test_columns_that_cannot_be_read_are_named_with_their_remedy(patient: World, name: str) -> None:
    types, moment, fault = AILING[name]
    with loose_etl(patient, **types) as loose:
        loose.put(7, 101, 1 if "photo_urls" in types else URL(1), moment)
        (finding,) = etl.examine(loose.ctx)
        assert not finding.ok
        assert fault in finding.detail
        assert "have a column of such a type" in finding.remedy


def test_rows_that_are_never_read_and_such_as_are_skipped_or_cut_are_counted_and_named(patient: World) -> None:
    with loose_etl(patient) as loose:
        for number in range(9):
            loose.put(f"L{number}", 101, URL(number), None)
        loose.put("zero", 101, URL(1), "0000-00-00 00:00:00")
        loose.put("far", 101, URL(1), "2999-01-01 00:00:00")
        loose.put("json", 101, "[]")
        found = [finding for finding in etl.examine(loose.ctx) if not finding.ok]
        (rows,) = found
        assert rows.check == "uk ETL rows"
        assert "bad row: listing 'L0': its date is 'NULL'" in rows.detail
        assert "; and 2 more" in rows.detail
        loose.sql("DELETE FROM {table} WHERE updated_at IS NULL")
        (rows,) = [finding for finding in etl.examine(loose.ctx) if not finding.ok]
        for line in (
            "'zero': its date is '0000-00-00",
            "'far': its date is '2999-01-01",
            "'json': its photos are JSON",
        ):
            assert line in rows.detail
        assert "have the ETL mend these rows" in rows.remedy


def test_rows_that_the_last_run_has_skipped_are_named_wherever_they_lie(patient: World) -> None:
    with loose_etl(patient) as loose:
        loose.put("sourceless", None, URL(1))
        run = patient.run()
        runs.begin(loose.ctx.db, run)
        ingest(loose.ctx, run)
        runs.finish(loose.ctx.db, run, "success", {})
        loose.sql("DELETE FROM {table}")
        (rows,) = [finding for finding in etl.examine(loose.ctx) if not finding.ok]
        assert "listing 'sourceless': its data source 'NULL'" in rows.detail


@pytest.fixture
def view(patient: World) -> Iterator[World]:
    with patient.sandbox.etl._cursor(COUNTRY) as cursor:
        cursor.execute("DROP VIEW IF EXISTS etl.view_uk")
    yield patient
    with patient.sandbox.etl._cursor(COUNTRY) as cursor:
        cursor.execute("DROP VIEW IF EXISTS etl.view_uk")


@pytest.mark.parametrize(
    ("select", "fault"),
    [
        ("SELECT * FROM etl.listings_uk", ""),
        (
            "SELECT listing_id, datasource_id, LOWER(photo_urls) AS photo_urls, updated_at FROM listings_uk",
            "",
        ),
        ("SELECT DISTINCT * FROM etl.listings_uk", "(updated_at, listing_id): every run would scan or sort it"),
        (
            "SELECT listing_id, datasource_id, photo_urls, updated_at + INTERVAL 1 HOUR AS updated_at FROM listings_uk",
            "(updated_at, listing_id): every run would scan",
        ),
        (
            "SELECT CONCAT(listing_id, '') AS listing_id, datasource_id, photo_urls, updated_at FROM listings_uk",
            "(listing_id): every purge would scan",
        ),
    ],
)
def test_a_view_is_judged_by_how_it_is_read(view: World, select: str, fault: str) -> None:
    view.put("a", URL(1))
    with view.sandbox.etl._cursor(COUNTRY) as cursor:
        cursor.execute(f"CREATE VIEW etl.view_uk AS {select}")
    ctx = view.reconfigure(etl={"table": "view_{country}"})
    assert all(finding.ok for finding in etl.examine(ctx))  # its plans are not shown to this login, which can read it
    login = f"`{ctx.etl.engine.url.username}`@`{LOOPBACK}`"
    administer(view, f"GRANT SHOW VIEW ON etl.* TO {login}")
    ctx = view.context()
    bad = [str(finding) for finding in etl.examine(ctx) if not finding.ok]
    administer(view, f"REVOKE SHOW VIEW ON etl.* FROM {login}")
    assert bool(bad) == bool(fault)
    assert all(fault in line and "of a view, on its table" in line for line in bad)
