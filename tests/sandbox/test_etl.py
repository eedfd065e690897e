"""Seeding: what lies in the ETL table, on which local day, and that asking again changes nothing."""

# ruff: noqa: DTZ001 (the column holds naive UTC)

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from include.sandbox import ManifestEntry, Sandbox
from include.sandbox.feed.listings import kinds_of, start_of_day
from include.sandbox.feed.manifest import BROKEN_KINDS

from .conftest import LAST_DAY, PAST_DAY

Seeded = dict[str, ManifestEntry]


def test_the_table_holds_the_planned_urls_on_their_local_days(sandbox: Sandbox, seeded: Seeded) -> None:
    assert len(seeded) == 108
    days = Counter(entry.local_day for entry in seeded.values())
    assert days.keys() == {"2026-03-28", "2026-03-29", PAST_DAY.isoformat()}
    assert days[PAST_DAY.isoformat()] == 8
    listings = sandbox.etl.listings("uk")
    assert {url for listing in listings for url in listing.photo_urls} == set(seeded)
    london = ZoneInfo("Europe/London")
    for listing in listings:
        local = listing.updated_at.replace(tzinfo=ZoneInfo("UTC")).astimezone(london)
        for url in listing.photo_urls:
            assert seeded[url].local_day == local.date().isoformat()
            assert listing.listing_id in seeded[url].listing_ids
    assert {len(listing.photo_urls) for listing in listings} <= set(range(1, 9))
    assert {listing.datasource_id for listing in listings} == {101, 102, 103}


def test_each_day_has_rows_in_its_first_and_last_second(sandbox: Sandbox, seeded: Seeded) -> None:
    moments = {listing.updated_at for listing in sandbox.etl.listings("uk")}
    assert datetime(2026, 3, 28, 0, 0, 0) in moments
    assert datetime(2026, 3, 28, 23, 59, 59) in moments
    assert datetime(2026, 3, 29, 0, 0, 0) in moments
    assert datetime(2026, 3, 29, 22, 59, 59) in moments  # summer time since 01:00: midnight is 23:00 UTC


def test_some_urls_are_listed_twice(sandbox: Sandbox, seeded: Seeded) -> None:
    listings = sandbox.etl.listings("uk")
    assert any(len(set(listing.photo_urls)) < len(listing.photo_urls) for listing in listings)
    assert any(len(entry.listing_ids) > 1 for entry in seeded.values())
    assert any(len(entry.datasource_ids) > 1 for entry in seeded.values())


def test_every_fault_is_there_once_in_a_hundred(seeded: Seeded) -> None:
    kinds = Counter(entry.kind for entry in seeded.values() if PAST_DAY.isoformat() != entry.local_day)
    assert all(kinds[kind] == 1 for kind in BROKEN_KINDS)


def test_more_images_keep_the_faults_of_fewer() -> None:
    assert kinds_of("uk-0", 2000, 0.06, True)[:500] == kinds_of("uk-0", 500, 0.06, True)
    assert sum(kind != "ok" for kind in kinds_of("uk-0", 2000, 0.06, True)) == 120
    assert set(kinds_of("uk-0", 300, 0, True)) == {"ok"}


def test_seeding_again_changes_nothing_and_mends_what_was_changed(sandbox: Sandbox, seeded: Seeded) -> None:
    before = sandbox.etl.listings("uk")
    etl = sandbox.etl
    etl.touch(
        "uk",
        before[0].listing_id,
        datetime(2027, 1, 1),
        photo_urls=["http://127.0.0.11/new.jpg"],
        datasource_id=102,
    )
    changed = next(one for one in etl.listings("uk") if one.listing_id == before[0].listing_id)
    assert (changed.updated_at, changed.photo_urls, changed.datasource_id) == (
        datetime(2027, 1, 1),
        ("http://127.0.0.11/new.jpg",),
        102,
    )
    assert etl.remove("uk", [before[1].listing_id]) == 1
    assert etl.halve("uk") == (len(before) - 1) // 2
    assert etl.empty("uk") > 0
    assert etl.count("uk") == 0
    again = etl.seed(
        "uk", images=100, last_day=LAST_DAY, time_zone="Europe/London", past_days=[PAST_DAY], per_past_day=8
    )
    assert again == seeded
    assert etl.listings("uk") == before


def test_another_seed_adds_and_fewer_images_take_away(sandbox: Sandbox, seeded: Seeded) -> None:
    before = sandbox.etl.listings("uk")
    more = sandbox.etl.seed("uk", images=4, last_day=LAST_DAY, time_zone="Europe/London", seed=1)
    assert sandbox.etl.count("uk") > len(before)
    assert sandbox.manifest.entries("uk").keys() == seeded.keys() | more.keys()
    sandbox.etl.seed("uk", images=0, last_day=LAST_DAY, time_zone="Europe/London", seed=1)
    assert sandbox.etl.listings("uk") == before
    sandbox.manifest.remove("uk", 1)


@pytest.mark.parametrize(
    ("day", "zone", "start"),
    [
        (date(2026, 5, 1), "Asia/Kolkata", datetime(2026, 4, 30, 18, 30)),
        (date(2026, 5, 1), "America/Sao_Paulo", datetime(2026, 5, 1, 3, 0)),
        (date(2018, 11, 4), "America/Sao_Paulo", datetime(2018, 11, 4, 3, 0)),  # 00:00 did not exist there
    ],
)
def test_a_local_day_starts_at_its_first_instant(day: date, zone: str, start: datetime) -> None:
    assert start_of_day(day, ZoneInfo(zone)) == start
