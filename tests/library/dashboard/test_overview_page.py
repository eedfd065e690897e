"""The page of all countries: one row each, whatever state a country's database is in."""

from __future__ import annotations

import time

from imagesys_lib.config import load_config
from imagesys_lib.config.connections import environment_connection
from imagesys_lib.dashboard.overview import Overview, overview
from imagesys_lib.dashboard.tables import Tone
from tests.support.world import World, set_connection


def row(page: Overview, country: str) -> dict:
    return {one["country"]: one for one in page.countries.as_json()}[country]


def test_every_country_has_a_row_and_what_cannot_be_read_names_its_fault(world: World, live: dict[str, object]) -> None:
    """Only uk's schema is made here: all others are missing."""
    page = overview(environment_connection)
    assert [one["country"] for one in page.countries.as_json()] == list(load_config())
    assert "well" in row(page, "uk")["last_run"]
    assert row(page, "de")["last_run"].startswith("cannot be read: Database 127.0.0.1")
    assert "imagesys_de" in row(page, "de")["last_run"]
    assert f"{len(load_config()) - 1} in trouble, 1 well." in page.sentence


def test_a_server_that_is_away_is_said_at_once(world: World) -> None:
    set_connection(world, "IMAGESYS_DB", port=1)
    began = time.monotonic()
    page = overview(environment_connection)
    assert all("did not answer" in one["last_run"] for one in page.countries.as_json())
    assert time.monotonic() - began < 20


def test_the_strip_has_thirty_days_in_the_colours_of_their_newest_runs(world: World) -> None:
    world.seed(5)
    world.pipeline(world.run(run_id="red"))
    world.pipeline(world.run(run_id="green"))
    day = "UTC_TIMESTAMP() - INTERVAL {} DAY"
    world.sql(f"UPDATE lis_runs SET interval_start = {day.format(3)}, started_at = {day.format(2)}")
    world.sql(f"UPDATE lis_runs SET state = 'failed', started_at = {day.format(1)} WHERE run_id = 'red'")
    page = overview(environment_connection)
    (uk,) = [cells for cells in page.countries.rows if cells[0].value == "uk"]  # type: ignore[union-attr]
    marks = uk[2].parts  # type: ignore[union-attr]
    assert len(marks) == 30
    (mark,) = [one for one in marks if one.link]
    assert mark is marks[-4]
    assert (mark.tone, mark.link) == (Tone.BAD, "dags/imagesys_uk/runs/red")
    assert "work lost" in mark.text


def test_a_run_under_way_makes_the_page_read_itself_anew(world: World) -> None:
    world.planned(3)
    page = overview(environment_connection)
    assert page.running
    assert row(page, "uk")["last_run"].startswith("running")
