"""One row, one listing: a row of the ETL that nobody can read costs its own listing, and is reported by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_images, lis_listing_images
from imagesys_lib.etl import listings
from imagesys_lib.images.hash_and_path import lis_hash_for_url
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import RunKind
from imagesys_lib.stages.ingest import Ingested, ingest
from imagesys_lib.stages.purge import purge
from imagesys_lib.stages.report import render, report, run_note
from tests.support.loose_etl import NOON, URL, Loose, loose_etl
from tests.support.world import World

SKIPPED: dict[str, tuple[tuple[Any, ...], str]] = {
    "no data source": (("bad", None, URL("bad")), "'NULL' is no whole number of 32 bits"),
    "an empty data source": (("bad", "", URL("bad")), "'' is no whole number"),
    "a data source in words": (("bad", "feed 7", URL("bad")), "'feed 7' is no whole number"),
    "a data source too wide": (("bad", str(1 << 31), URL("bad")), "'2147483648' is no whole number"),
    "a data source far too wide": (("bad", "9" * 50, URL("bad")), "9' is no whole number"),
    "half a data source": (("bad", "101.5", URL("bad")), "'101.5' is no whole number"),
    "a data source in other digits": (("bad", "١٠١", URL("bad")), "is no whole number"),
    "no id": ((None, "101", URL("bad")), "NULL is no id"),
    "an id that is too long": (("x" * 65, "101", URL("bad")), "its id has 65 characters, more than 64"),
    "an id that is longer in characters": (("é" * 300, "101", URL("bad")), "its id has 300 characters"),
    "an id that ends in a blank": (("bad ", "101", URL("bad")), "ends in a blank"),
    "a day that no month has": (("bad", "101", URL("bad"), "2026-03-00 10:00:00"), "its date is '2026-03-00 10:00:00'"),
    "a month of 31 days": (("bad", "101", URL("bad"), "2026-02-31 10:00:00"), "its date is '2026-02-31 10:00:00'"),
    "no date": (("bad", "101", URL("bad"), None), "its date is 'NULL'"),
    "a date of zeros": (("bad", "101", URL("bad"), "0000-00-00 00:00:00"), "its date is '0000-00-00 00:00:00'"),
    "a date far ahead": (("bad", "101", URL("bad"), "9999-12-31 23:59:59"), "its date is '9999-12-31 23:59:59'"),
    "photos as JSON": (("bad", "101", f'["{URL("bad")}"]'), "its photos are JSON"),
    "photos as a JSON object": (("bad", "101", '{"1": "x"}'), "its photos are JSON"),
}


@pytest.fixture
def loose(world: World) -> Iterator[Loose]:
    with loose_etl(world) as etl:
        yield etl


def ingested(etl: Loose) -> Ingested:
    run = etl.world.run()
    runs.begin(etl.ctx.db, run)
    return ingest(etl.ctx, run)


def reported(etl: Loose) -> list[str]:
    """What the last run's ingest has reported."""
    row = runs.latest(etl.ctx.db)
    return row.bad_rows["ingest"]["samples"] if row and row.bad_rows else []


def missing(world: World) -> set[str]:
    t = lis_listing_images.c
    return {row.listing_id for row in world.rows(sa.select(t.listing_id).where(t.missing_since.is_not(None)))}


@pytest.mark.parametrize("case", SKIPPED)
def test_a_row_that_cannot_be_read_is_skipped_and_named_and_its_neighbours_are_ingested(
    loose: Loose, case: str
) -> None:
    values, why = SKIPPED[case]
    loose.put("a", "101", URL("a"), NOON)
    loose.put(*values)
    loose.put("z", "101", URL("z"))
    loose.world.reconfigure(etl={"table": "loose_{country}"}, look_back_hours=24 * 31)
    loose.ctx = loose.world.ctx
    found = ingested(loose)
    assert (found.listings, found.new, found.skipped, found.cut) == (2, 2, 1, 0)
    assert loose.world.images().keys() == {URL("a"), URL("z")}
    (line,) = reported(loose)
    assert why in line
    assert ("bad" if values[0] == "bad" else str(values[0])[:64]) in line or values[0] is None


@pytest.mark.parametrize("case", SKIPPED)
def test_a_known_listing_whose_row_turns_bad_stays_as_it_is_while_the_purge_goes_on(loose: Loose, case: str) -> None:
    values, _why = SKIPPED[case]
    known = values[0] if values[0] in ("bad", "bad ") else "bad"
    for name in (known.strip(), "kept", "gone"):
        loose.put(name, "101", URL(name))
    world = loose.world
    ctx = world.reconfigure(
        etl={"table": "loose_{country}"}, purge={"max_unlisted_percent": 100, "cap_percent": 100, "retention_days": 0}
    )
    run = world.run()
    runs.begin(ctx.db, run)
    ingest(ctx, run)
    if values[0] == known.strip():
        loose.sql("DELETE FROM {table} WHERE listing_id IN ('bad', 'gone')")
        loose.put(*values)
    else:  # its id is what is wrong: that row is another listing's
        loose.sql("DELETE FROM {table} WHERE listing_id = 'gone'")
        loose.put(*values)
    ingest(ctx, run)
    purged = purge(ctx, run=run)
    assert purged.unlisted == 1
    assert {row.listing_id for row in world.rows(sa.select(lis_listing_images))} == {"bad", "kept"}
    assert {url for url, row in world.images().items() if row.state == "purged"} == {URL("gone")}


def test_what_was_marked_before_its_row_turned_bad_is_not_purged_either(loose: Loose) -> None:
    loose.put("bad", "101", URL("bad"))
    ctx = loose.world.reconfigure(
        etl={"table": "loose_{country}"}, purge={"max_unlisted_percent": 100, "cap_percent": 100, "retention_days": 0}
    )
    run = loose.world.run()
    runs.begin(ctx.db, run)
    ingest(ctx, run)
    loose.world.sql("UPDATE lis_listing_images SET missing_since = '2026-01-01'")
    loose.sql("UPDATE {table} SET datasource_id = NULL")
    assert purge(ctx, run=run).unpublished == 0
    assert loose.world.images()[URL("bad")].state == "new"
    row = runs.load(ctx.db, run.run_id)
    assert row is not None
    assert row.bad_rows["purge"]["skipped"] == 1
    assert "listing 'bad'" in row.bad_rows["purge"]["samples"][0]


def test_a_purge_by_hand_tells_of_bad_rows_as_well(loose: Loose, caplog: pytest.LogCaptureFixture) -> None:
    loose.put("bad", "101", URL(1))
    ingested(loose)
    loose.sql("UPDATE {table} SET updated_at = NULL")
    assert purge(loose.ctx, dry_run=True).unlisted == 0
    assert "1 rows of the ETL skipped, 0 cut: bad row: listing 'bad': its date is 'NULL'" in caplog.text


@pytest.mark.parametrize("most", [64, pytest.param(listings.MAX_PHOTOS, marks=pytest.mark.long)])
def test_too_many_photos_of_one_listing_are_cut_to_what_can_be_kept(loose: Loose, most: int) -> None:
    loose.world.patch.setattr(listings, "MAX_PHOTOS", most)
    urls = [URL(n) for n in range(most + 464)]
    loose.put("many", "101", "|".join(urls))
    loose.put("z", "101", URL("z"))
    found = ingested(loose)
    assert (found.listings, found.new, found.skipped, found.cut) == (2, most + 1, 0, 1)
    assert loose.world.scalar(sa.select(sa.func.max(lis_listing_images.c.position))) == most - 1
    assert reported(loose) == [f"bad row: listing 'many': {most + 464} photos, of which the first {most} are kept"]


def test_photo_urls_that_are_not_utf_8_are_left_out_and_the_others_kept(world: World) -> None:
    for kind in ("LONGTEXT", "LONGBLOB"):
        with loose_etl(world, photo_urls=kind) as etl:
            etl.sql(
                "INSERT INTO {table} VALUES ('odd', 101, CONCAT(%s, X'7C', X'68EDA080', X'7C', %s), %s)",
                *(URL(1), URL("é"), NOON),
            )
            assert ingested(etl).cut == 1
            assert world.images().keys() == {URL(1), URL("é")}
            assert reported(etl) == ["bad row: listing 'odd': 1 of its photo URLs are not UTF-8"]


def test_an_id_that_is_not_utf_8_is_reported(loose: Loose) -> None:
    loose.sql("INSERT INTO {table} VALUES (X'61EDA080', 101, %s, %s)", URL(1), NOON)
    loose.put("z", "101", URL("z"))
    assert ingested(loose).skipped == 1
    assert loose.world.images().keys() == {URL("z")}
    assert "its id is not UTF-8" in reported(loose)[0]


def test_a_url_of_more_than_4096_bytes_is_bad_url_however_long_it_is(loose: Loose) -> None:
    long = [("http://127.0.0.11:1/" + "é" * length)[: length - 20] for length in (4097, 65_535, 65_536, 200_000)]
    world = loose.world
    for number, url in enumerate(long):
        loose.put(f"long-{number}", "101", f"{url}|{URL(1)}")
    world.pipeline()
    i = lis_images.c
    for url in long:
        (row,) = world.rows(sa.select(lis_images).where(i.image_hash == lis_hash_for_url(url)))
        assert (row.state, row.reason) == ("rejected", "bad_url"), len(url)
        assert url.startswith(row.image_url)


@pytest.mark.parametrize(
    ("types", "row", "key"),
    [
        ({"datasource_id": "DOUBLE"}, ("a", 101.0), ("a", 101)),
        ({"datasource_id": "DECIMAL(20,2)"}, ("a", 101), ("a", 101)),
        ({"datasource_id": "BIGINT UNSIGNED"}, ("a", 101), ("a", 101)),
        ({"datasource_id": "BOOL"}, ("a", True), ("a", 1)),
        ({"datasource_id": "INT"}, ("a", -7), ("a", -7)),
        ({"datasource_id": "CHAR(20)"}, ("a", " 101.00"), ("a", 101)),
        ({"listing_id": "BIGINT UNSIGNED"}, ((1 << 64) - 1, 101), (str((1 << 64) - 1), 101)),
        ({"listing_id": "BIGINT"}, (-5, 101), ("-5", 101)),
        ({"listing_id": "DECIMAL(30,0)"}, (10**29, 101), (str(10**29), 101)),
        ({"listing_id": "VARBINARY(64)"}, ("é", 101), ("é", 101)),
        ({"listing_id": "VARCHAR(64) CHARACTER SET latin1"}, ("é", 101), ("é", 101)),
        ({"updated_at": "DATE"}, ("a", 101), ("a", 101)),
        ({"updated_at": "DATETIME(1)"}, ("a", 101), ("a", 101)),
        ({"updated_at": "TIMESTAMP(6) NULL"}, ("a", 101), ("a", 101)),
        ({"updated_at": "VARCHAR(40)"}, ("a", 101), ("a", 101)),
        ({"photo_urls": "LONGBLOB"}, ("a", 101), ("a", 101)),
        ({"photo_urls": "VARCHAR(200) CHARACTER SET latin1"}, ("a", 101), ("a", 101)),
    ],
)
def test_columns_of_other_types_are_read_alike_by_ingest_and_purge(
    world: World, types: dict[str, str], row: tuple[Any, int], key: tuple[str, int]
) -> None:
    with loose_etl(world, **types) as etl:
        etl.put(*row, URL("é"))
        assert ingested(etl) == Ingested(1, 1, 0)
        (kept,) = world.rows(sa.select(lis_listing_images))
        assert (kept.listing_id, kept.datasource_id) == key
        assert world.images().keys() == {URL("é")}
        run = world.run()
        runs.begin(etl.ctx.db, run)
        ingest(etl.ctx, run)
        assert purge(etl.ctx, run=run).unlisted == 0
        assert missing(world) == set()


@pytest.mark.parametrize("kind", ["DECIMAL(30,0)", "BIGINT UNSIGNED"])
def test_long_numbers_that_differ_in_their_last_digit_are_looked_up_each(world: World, kind: str) -> None:
    with loose_etl(world, listing_id=kind) as etl:
        ids = [10**19 + number for number in range(300)]
        for number in ids:
            etl.put(number, 101, URL(number))
        ingested(etl)
        assert purge(etl.ctx).unlisted == 0
        found = etl.ctx.etl.listings([*map(str, ids), "no number", "1_0", "\u0661"])
        assert [listing.listing_id for listing in found.listings] == [str(number) for number in ids]


def test_no_photos_are_not_a_bad_row(loose: Loose) -> None:
    loose.put("none", "101", None)
    loose.put("empty", "101", "")
    assert ingested(loose) == Ingested(2, 0, 0)


def test_a_backfill_tells_the_bad_rows_of_its_own_days_alone(loose: Loose) -> None:
    loose.put("undated", "101", URL(1), None)
    loose.put("bad", None, URL(2))
    run = loose.world.run(RunKind.BACKFILL)
    runs.begin(loose.ctx.db, run)
    assert ingest(loose.ctx, run).skipped == 1
    assert "'bad'" in reported(loose)[0]


def test_the_report_names_what_was_skipped_and_does_not_say_that_nothing_was_lost(loose: Loose) -> None:
    for n in range(8):
        loose.put(f"bad-{n}", None, URL(n))
    loose.put("undated", "101", URL(1), None)
    summary = loose.world.pipeline()
    text, short = render(summary), run_note(summary)
    assert not summary.lost
    assert "  ingest: 9 rows of the ETL skipped, 0 cut to what can be kept: bad row: listing 'bad-0': its data" in text
    assert "; ...\n" in text
    assert "Nothing was lost." not in text + short
    assert text.endswith("  Nothing of ours was lost, but rows of the ETL cannot be read.")
    assert short.startswith("**Nothing of ours was lost, but rows of the ETL cannot be read.**")
    run = loose.world.run(run_id=summary.run_id)
    assert runs.figures(loose.ctx.db, run.run_id, "rows.") == {"skipped": 9, "cut": 0}
    loose.sql("DELETE FROM {table}")
    runs.begin(loose.ctx.db, run)
    ingest(loose.ctx, run)
    assert "Nothing was lost." in render(report(loose.ctx, run))
    assert runs.figures(loose.ctx.db, run.run_id, "rows.") == {"skipped": 0, "cut": 0}


def test_text_of_an_etl_reaches_no_report_raw(loose: Loose) -> None:
    loose.put("\x1b[31m\u202ered", None, URL(1))
    ingested(loose)
    assert reported(loose)[0].isprintable()
