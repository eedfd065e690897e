"""The page of all countries: one row each, whatever state a country's database is in."""

from __future__ import annotations

import datetime as dt
import time

import pytest
import sqlalchemy as sa

from imagesys_lib.alerts.incidents import IncidentKind, open_incident
from imagesys_lib.alerts.message import Message
from imagesys_lib.config import load_config
from imagesys_lib.dashboard.figure_cells import cells
from imagesys_lib.dashboard.figures import Count, Figures
from imagesys_lib.dashboard.overview import Overview, overview
from imagesys_lib.dashboard.tables import Tone
from imagesys_lib.db.engine import write
from imagesys_lib.db.schema import lis_live_images
from imagesys_lib.images.hash_and_path import lis_hash_for_url
from imagesys_lib.stages.purge import proposals
from imagesys_lib.stages.purge.rules import Due, PurgeRule
from imagesys_lib.stages.report import DiskForecast
from tests.support.world import World, set_connection


def row(page: Overview, country: str) -> dict:
    return {one["country"]: one for one in page.countries.as_json()}[country]


def test_every_country_has_a_row_and_what_cannot_be_read_names_its_fault(world: World, live: dict[str, object]) -> None:
    """Only uk's schema is made here: all others are missing."""
    page = overview(world.context_of)
    assert [one["country"] for one in page.countries.as_json()] == list(load_config())
    assert "well" in row(page, "uk")["last_run"]
    assert row(page, "de")["last_run"].startswith("cannot be read: Database 127.0.0.1")
    assert "imagesys_de" in row(page, "de")["last_run"]
    assert f"{len(load_config()) - 1} in trouble, 1 well." in page.sentence


def test_a_server_that_is_away_is_said_at_once(world: World) -> None:
    set_connection(world, "IMAGESYS_DB", port=1)
    began = time.monotonic()
    page = overview(world.context_of)
    assert all("did not answer" in one["last_run"] for one in page.countries.as_json())
    assert time.monotonic() - began < 20


def test_the_strip_has_thirty_days_in_the_colours_of_their_newest_runs(world: World) -> None:
    world.seed(5)
    world.pipeline(world.run(run_id="red"))
    world.pipeline(world.run(run_id="green"))
    day = "UTC_TIMESTAMP() - INTERVAL {} DAY"
    world.sql(f"UPDATE lis_runs SET interval_start = {day.format(3)}, started_at = {day.format(2)}")
    world.sql(f"UPDATE lis_runs SET state = 'failed', started_at = {day.format(1)} WHERE run_id = 'red'")
    page = overview(world.context_of)
    (uk,) = [cells for cells in page.countries.rows if cells[0].value == "uk"]  # type: ignore[union-attr]
    marks = uk[2].parts  # type: ignore[union-attr]
    assert len(marks) == 30
    (mark,) = [one for one in marks if one.link]
    assert mark is marks[-4]
    assert (mark.tone, mark.link) == (Tone.BAD, "dags/imagesys_uk/runs/red")
    assert "work lost" in mark.text


def test_what_is_open_is_counted_with_the_way_to_it(world: World, live: dict[str, object]) -> None:
    mail = Message("s", "t", ())
    for kind, subject in ((IncidentKind.FAILED, "r1"), (IncidentKind.SOURCE, "data source 7")):
        write(world.ctx.db, lambda session, k=kind, s=subject: open_incident(session, k, s, mail, run="imagesys_uk r1"))
    proposals.leave(world.ctx.db, {PurgeRule.UNLISTED: Due(9, 8)}, 100, [])
    world.new_images(7)
    world.sql("UPDATE lis_images SET next_attempt_at = UTC_TIMESTAMP(6) - INTERVAL 50 HOUR WHERE state = 'new' LIMIT 1")
    world.sql("UPDATE lis_nodes SET fault = 'unreachable' WHERE node = 'n3'")
    world.sql("INSERT INTO lis_changes (created_at) VALUES (UTC_TIMESTAMP(6) - INTERVAL 2 HOUR)")
    world.sql("INSERT INTO lis_change_acks SELECT MAX(change_id), 'n1', UTC_TIMESTAMP(6) FROM lis_changes")
    page = overview(world.context_of)
    uk = row(page, "uk")
    assert {name: uk[name] for name in ("live", "due", "incidents", "sources", "mails", "proposals")} == {
        "live": 40,
        "due": 7,
        "incidents": 2,
        "sources": 1,
        "mails": 2,
        "proposals": 1,
    }
    assert uk["nodes"] == "n1 well; n2 behind 2 h 00 min; n3 unreachable"
    (found_cells,) = [found for found in page.countries.cells() if found[0][1].value == "uk"]
    shown = {column.key: cell for column, cell in found_cells}
    assert (shown["oldest_due"].text, shown["oldest_due"].tone) == ("2 d ago", Tone.WARN)
    assert [part.text for part in shown["nodes"].parts] == ["n2 behind 2 h 00 min", "n3 unreachable", "1 well"]
    assert shown["incidents"].link == "dags/imagesys_uk#incidents"
    assert str(shown["disks"].value).endswith(" free")


def test_more_than_a_thousand_are_not_counted_through(world: World) -> None:
    """Of what is due it is said that there are more, of what is live the server's estimate."""
    urls = world.new_images(1200)
    published = {"datasource_id": 1, "image_data": {}, "insert_time": dt.datetime(2026, 3, 1)}  # noqa: DTZ001
    rows = [{"image_url": url, "image_hash": lis_hash_for_url(url), **published} for url in urls]
    write(world.ctx.db, lambda session: session.execute(sa.insert(lis_live_images), rows))
    world.rows(sa.text("ANALYZE TABLE lis_live_images"))
    page = overview(world.context_of)
    (found_cells,) = [found for found in page.countries.cells() if found[0][1].value == "uk"]
    shown = {column.key: cell for column, cell in found_cells}
    assert shown["due"].text == "1,000+"
    assert shown["live"].text.startswith("≈ 1,")
    assert 1000 <= shown["live"].value <= 1400


@pytest.mark.parametrize(
    ("days", "text", "tone"),
    [
        ((None, None), "5.0 GB free", Tone.NONE),
        ((9.2, 80.0), "n1 full in 9 d", Tone.WARN),
        ((None, 80.0), "n2 full in 80 d", Tone.NONE),
    ],
)
def test_the_disk_that_is_full_first_is_the_one_to_look_at(days: tuple, text: str, tone: Tone) -> None:
    disks = {"n1": DiskForecast(5_000_000_000, days[0]), "n2": DiskForecast(9_000_000_000, days[1])}
    none = Figures(Count(0), Count(0), None, {}, disks, 0, 0, 0, 0)
    found = cells("uk", none, dt.datetime(2026, 3, 1))["disks"]  # noqa: DTZ001
    assert (found.value, found.tone) == (text, tone)


def test_a_run_under_way_makes_the_page_read_itself_anew(world: World) -> None:
    world.planned(3)
    page = overview(world.context_of)
    assert page.running
    assert row(page, "uk")["last_run"].startswith("running")


def test_of_a_node_that_was_never_synced_nothing_is_said(world: World) -> None:
    assert row(overview(world.context_of), "uk")["nodes"] == "; ".join(f"n{n} not synced yet" for n in (1, 2, 3))
