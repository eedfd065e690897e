"""Ingest: which of the ETL's rows a run reads, and what they do to images and listings."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from imagesys_lib.config.intervals import UTC, local_day
from imagesys_lib.db import engine as engine_module
from imagesys_lib.db.schema import lis_images, lis_listing_images, lis_runs
from imagesys_lib.errors import DatabaseUnavailable, EnvironmentFault
from imagesys_lib.images.hash_and_path import lis_hash_for_url
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.ingest import Ingested, ingest
from imagesys_lib.stages.plan import plan
from tests.support.world import DAY, World

URL = "http://127.0.0.11:1/{}.jpg".format
LONDON = ZoneInfo("Europe/London")


def at(day: dt.date, clock: str, zone: ZoneInfo = LONDON) -> dt.datetime:
    """A local moment as the ETL stores it: naive UTC."""
    local = dt.datetime.combine(day, dt.time.fromisoformat(clock), tzinfo=zone)
    return local.astimezone(UTC).replace(tzinfo=None)


def ingested(world: World, run: Run) -> Ingested:
    runs.begin(world.ctx.db, run)
    return ingest(world.ctx, run)


def test_a_scheduled_run_also_sees_rows_that_came_late(world: World) -> None:
    two_days = dt.timedelta(days=2)
    world.put("late", URL(1), at=at(DAY - two_days, "00:00:00"))
    world.put("older", URL(2), at=at(DAY - two_days, "00:00:00") - dt.timedelta(seconds=1))
    world.put("next", URL(3), at=at(DAY + dt.timedelta(days=1), "00:00:00"))
    assert ingested(world, world.run()) == Ingested(1, 1, 0)
    assert world.images().keys() == {URL(1)}


@pytest.mark.parametrize(
    ("country", "zone", "day"),
    [
        ("uk", "Europe/London", "2026-03-28"),
        ("uk", "Europe/London", "2026-03-29"),  # 23 hours
        ("uk", "Europe/London", "2026-10-25"),  # 25 hours
        ("uk", "America/Sao_Paulo", "2026-03-29"),
        ("uk", "Asia/Kolkata", "2026-03-29"),
        ("uk", "Australia/Sydney", "2026-04-05"),
    ],
)
def test_a_backfill_reads_exactly_its_local_day(world: World, country: str, zone: str, day: str) -> None:
    tz, date = ZoneInfo(zone), dt.date.fromisoformat(day)
    second = dt.timedelta(seconds=1)
    first, end = at(date, "00:00:00", tz), at(date + dt.timedelta(days=1), "00:00:00", tz)
    for name, moment in {"before": first - second, "first": first, "last": end - second, "after": end}.items():
        world.put(name, URL(name), at=moment)
    run = Run("b", RunKind.BACKFILL, local_day(date, tz))
    assert ingested(world, run) == Ingested(2, 2, 0)
    assert world.images().keys() == {URL("first"), URL("last")}
    # Nor does it take up what others have ingested.
    ingested(world, Run("s", RunKind.SCHEDULED, local_day(date + dt.timedelta(days=1), tz)))
    assert world.images().keys() == {URL("before"), URL("first"), URL("last"), URL("after")}
    assert sum(batch.size for batch in plan(world.ctx, run)) == 2
    assert {url for url, row in world.images().items() if row.state == "reserved"} == {URL("first"), URL("last")}


def test_an_image_is_one_row_however_many_listings_show_it(world: World) -> None:
    world.put("a", URL(1), URL(2), datasource=101, at=at(DAY, "10:00"))
    world.put("b", URL(2), URL(2), URL(3), datasource=102, at=at(DAY, "11:00"))
    assert ingested(world, world.run()) == Ingested(2, 3, 0)
    assert world.images()[URL(2)].datasource_id == 102  # the most recently seen one's process details win
    rows = world.rows(sa.select(lis_listing_images))
    assert {(r.listing_id, r.image_hash, r.position) for r in rows} == {
        ("a", lis_hash_for_url(URL(1)), 0),
        ("a", lis_hash_for_url(URL(2)), 1),
        ("b", lis_hash_for_url(URL(2)), 0),
        ("b", lis_hash_for_url(URL(3)), 1),
    }
    assert ingested(world, world.run()) == Ingested(2, 0, 0)


def test_thousands_of_rows_of_one_second_are_read_to_the_last(world: World) -> None:
    from_etl = [(f"L{n:05d}", 101, URL(n), at(DAY, "12:00")) for n in range(2500)]
    with world.sandbox.etl._cursor("uk") as cursor:
        cursor.executemany(
            "INSERT INTO listings_uk (listing_id, datasource_id, photo_urls, updated_at) VALUES (%s, %s, %s, %s)",
            from_etl,
        )
    assert ingested(world, world.run()) == Ingested(2500, 2500, 0)
    assert world.scalar(sa.select(sa.func.count()).select_from(lis_images)) == 2500


@pytest.mark.parametrize("state", ["rejected", "failed", "quarantined", "purged"])
def test_a_new_etl_version_gives_an_image_another_chance(world: World, state: str) -> None:
    world.put("a", URL(1), at=at(DAY, "10:00"))
    ingested(world, world.run())
    world.sql(
        "UPDATE lis_images SET state = :s, reason = 'http_404', attempts = 7, next_attempt_at = '2099-01-01'", s=state
    )
    again = ingested(world, world.run())
    assert again == Ingested(1, 0, 1 if state == "purged" else 0)  # listed again: purged no more
    if state != "purged":
        assert world.images()[URL(1)].state == state
    world.put("a", URL(1), at=at(DAY, "10:01"))
    ingested(world, world.run())
    row = world.images()[URL(1)]
    assert (row.state, row.reason, row.attempts, row.releases) == ("new", None, 0, 0)
    assert sum(batch.size for batch in plan(world.ctx, world.run())) == 1


@pytest.mark.parametrize("state", ["live", "reserved", "downloaded", "thumbnailed"])
def test_a_new_etl_version_disturbs_no_image_that_is_live_or_in_work(world: World, state: str) -> None:
    world.put("a", URL(1), at=at(DAY, "10:00"))
    ingested(world, world.run())
    world.sql("UPDATE lis_images SET state = :s", s=state)
    world.put("a", URL(1), at=at(DAY, "10:01"))
    assert ingested(world, world.run()).released == 0
    assert world.images()[URL(1)].state == state
    assert world.images()[URL(1)].etl_version == at(DAY, "10:01")


def test_an_older_version_read_later_changes_nothing(world: World) -> None:
    world.put("new", URL(1), datasource=102, at=at(DAY, "10:00"))
    ingested(world, world.run())
    world.sql("UPDATE lis_images SET state = 'rejected'")
    world.put("old", URL(1), datasource=101, at=at(DAY, "09:00"))
    assert ingested(world, world.run()).released == 0
    row = world.images()[URL(1)]
    assert (row.state, row.datasource_id, row.etl_version) == ("rejected", 102, at(DAY, "10:00"))


def test_a_photo_that_its_listing_drops_is_missing_since_then_and_back_when_it_returns(world: World) -> None:
    def missing() -> set[str]:
        rows = world.rows(sa.select(lis_listing_images).where(lis_listing_images.c.missing_since.is_not(None)))
        return {row.image_hash for row in rows}

    world.put("a", URL(1), URL(2), at=at(DAY, "10:00"))
    world.put("b", URL(2), at=at(DAY, "10:00"))
    ingested(world, world.run())
    assert missing() == set()
    world.put("a", URL(1), at=at(DAY, "11:00"))
    ingested(world, world.run())
    assert missing() == {lis_hash_for_url(URL(2))}
    first = world.scalar(sa.select(sa.func.max(lis_listing_images.c.missing_since)))
    ingested(world, world.run())
    assert world.scalar(sa.select(sa.func.max(lis_listing_images.c.missing_since))) == first
    world.put("a", at=at(DAY, "11:30"))
    ingested(world, world.run())
    assert missing() == {lis_hash_for_url(URL(1)), lis_hash_for_url(URL(2))}
    world.put("a", URL(2), URL(1), at=at(DAY, "12:00"))
    ingested(world, world.run())
    assert missing() == set()


def test_urls_of_every_spelling_keep_their_bytes(world: World) -> None:
    urls = (
        "http://127.0.0.11:1/größe und mehr.jpg",
        "http://127.0.0.11:1/really%3Fx=1.jpg",
        "http://127.0.0.11:1/a?x=1&y=%20'\"`;--",
        "http://127.0.0.11:1/" + "x" * 4000,
        "http://127.0.0.11:1/🏠.jpg",
        "no url at all",
    )
    world.put("a", *urls)
    assert ingested(world, world.run()).new == len(urls)
    images = world.images()
    assert {url: images[url].image_hash for url in urls} == {url: lis_hash_for_url(url) for url in urls}


def test_an_etl_that_cannot_be_reached_is_a_clear_fault_and_the_run_is_not_ingested(world: World) -> None:
    world.patch.setattr(engine_module, "_PATIENCE", 0.2)
    run = world.run()
    ingested(world, run)
    assert runs.load(world.ctx.db, run.run_id).ingested_at
    world.patch.setenv("AIRFLOW_CONN_ETL", '{"conn_type": "mysql", "host": "127.0.0.1", "port": 9, "schema": "etl"}')
    ctx = world.context()
    with pytest.raises(DatabaseUnavailable, match=r"127.0.0.1:9/etl did not answer.*Remedy: bring it back"):
        ingest(ctx, run)
    assert runs.load(world.ctx.db, run.run_id).ingested_at is None


def test_an_etl_table_of_another_name_is_reported_with_its_place(world: World) -> None:
    ctx = world.reconfigure(etl={"table": "no_such_{country}"})
    run = world.run()
    runs.begin(ctx.db, run)
    with pytest.raises(EnvironmentFault, match=r"no_such_uk.*correct `etl` in the configuration"):
        ingest(ctx, run)
    assert world.rows(sa.select(lis_runs))[0].ingested_at is None


def test_an_etl_in_another_time_zone_is_read_by_its_own_clock(world: World) -> None:
    world.reconfigure(etl={"time_zone": "America/New_York"})
    day = dt.date(2026, 7, 1)
    midnight = dt.datetime(2026, 6, 30, 19, 0, tzinfo=UTC).replace(tzinfo=None)  # London's, on New York's clocks
    world.put("before", URL("before"), at=midnight - dt.timedelta(seconds=1))
    world.put("first", URL("first"), at=midnight)
    assert ingested(world, world.run(RunKind.BACKFILL, day)).new == 1
    assert world.images()[URL("first")].etl_version == dt.datetime(2026, 6, 30, 23, 0, tzinfo=UTC).replace(tzinfo=None)
