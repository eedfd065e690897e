"""The page of a country: its runs by day as charts and rows, and all that is open now."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa

from imagesys_lib.alerts.incidents import IncidentKind, open_incident
from imagesys_lib.alerts.message import Message
from imagesys_lib.config import Breaker
from imagesys_lib.dashboard.country import YEAR, CountryPage, country_page
from imagesys_lib.dashboard.tables import Table, by_name
from imagesys_lib.db.engine import write
from imagesys_lib.fetch.politeness import datasources, host_records
from imagesys_lib.fetch.politeness.circuit_breaker import Circuit
from imagesys_lib.fetch.politeness.datasources import Tally
from imagesys_lib.stages.purge import proposals
from imagesys_lib.stages.purge.rules import Due, PurgeRule
from tests.support.world import World, drop_connection


def rows(page: CountryPage, name: str) -> list[dict]:
    found = by_name(page.tables, name)
    assert isinstance(found, Table)
    return found.as_json()


def values(page: CountryPage, chart: str) -> dict[str, list[float]]:
    """What each series of a chart has, without the days that have nothing."""
    (found,) = [one for one in page.charts if one.name == chart]
    return {series.label: [value for value in series.values if value] for series in found.series}


def test_runs_are_told_by_outcome_bytes_and_time_in_rows_and_charts(world: World) -> None:
    world.seed(60, broken_share=0.5)
    summary = world.pipeline(world.run(run_id="one"))
    world.sql("UPDATE lis_runs SET interval_start = started_at - INTERVAL 1 DAY")
    page = country_page(world.ctx)
    (run,) = rows(page, "runs")
    assert (run["run_id"], run["state"], run["images"]) == ("one", "success", summary.images)
    assert {name: run[name] for name in ("live", "failed", "rejected")} == {
        name: summary.states.get(name, 0) for name in ("live", "failed", "rejected")
    }
    assert summary.weights
    assert (run["fetched"], run["saved"]) == (summary.weights.originals, summary.weights.saved)
    assert values(page, "outcomes")["live"] == [summary.states["live"]]
    assert values(page, "rates")["images a second"] == [pytest.approx(run["rate"], abs=0.01)]
    assert values(page, "bytes") == {"fetched": [run["fetched"]], "saved": [run["saved"]]}
    assert {(row["outcome"], row["reason"]): row["images"] for row in rows(page, "reasons")} == {
        (state, code): count for state, codes in summary.reasons.items() for code, count in codes.items()
    }
    assert not page.running


def test_a_year_has_what_a_month_leaves_out(world: World) -> None:
    world.seed(10)
    world.pipeline(world.run(run_id="old"))
    world.sql(
        "UPDATE lis_runs SET interval_start = UTC_TIMESTAMP() - INTERVAL 101 DAY, "
        "started_at = UTC_TIMESTAMP() - INTERVAL 100 DAY, finished_at = UTC_TIMESTAMP() - INTERVAL 100 DAY"
    )
    month, year = country_page(world.ctx), country_page(world.ctx, YEAR)
    assert rows(month, "runs") == []
    assert values(month, "outcomes")["live"] == []
    assert [run["run_id"] for run in rows(year, "runs")] == ["old"]
    assert values(year, "outcomes")["live"] == [10]
    assert len(year.charts[0].days) in (53, 54)
    assert {dt.date.fromisoformat(day).weekday() for day in year.charts[0].days} == {0}


def test_what_is_open_is_named(world: World, live: dict[str, object]) -> None:
    db, now = world.ctx.db, world.scalar(sa.select(sa.func.utc_timestamp(6)))
    mail, failed = Message("n2 fails", "It does.", ()), IncidentKind.FAILED
    write(db, lambda session: open_incident(session, failed, "run r1", mail, run="imagesys_uk r1"))
    write(db, lambda session: open_incident(session, failed, "run c1", mail, run="imagesys_check_uk c1"))
    proposals.leave(db, {PurgeRule.UNLISTED: Due(9, 8), PurgeRule.AGE: Due(1, 1)}, 100, [])
    page = country_page(world.ctx)
    first, second = rows(page, "incidents")
    assert (first["state"], first["subject"], first["runs"]) == ("open", "run c1", "c1")
    assert abs(dt.datetime.fromisoformat(second["opened_at"].rstrip("Z")) - now) < dt.timedelta(minutes=1)
    incidents = by_name(page.tables, "incidents")
    assert incidents
    (check,), (daily,) = (row[-1].parts for row in incidents.rows)  # type: ignore[union-attr]
    assert (check.link, check.airflow) == ("dags/imagesys_check_uk/runs/c1", True)
    assert (daily.link, daily.airflow) == ("dags/imagesys_uk/runs/r1", False)
    assert [mail["subject"] for mail in rows(page, "mails")] == ["n2 fails", "n2 fails"]
    (proposal,) = rows(page, "proposals")
    assert (proposal["state"], proposal["due"], proposal["live"]) == ("open", 10, 100)


def test_breakers_come_first_with_what_they_have_seen(world: World, live: dict[str, object]) -> None:
    datasources.note_results(world.ctx.db, "uk", {77: Tally(30, 29)}, Breaker(source_images=10, first_seconds=60))
    host = "127.0.0.11"
    host_records.change(world.ctx.shared, host, "timeout", lambda _: Circuit(5, 5, openings=1, wait=90))
    page = country_page(world.ctx)
    worst, *others = rows(page, "sources")
    assert (worst["datasource"], worst["breaker"], worst["attempts"], worst["failures"]) == ("77", "open", 30, 29)
    assert 0 < worst["wait"] <= 60
    assert sum(one["images"] for one in others) == 40
    assert {one["breaker"] for one in others} == {"closed"}
    hosts = {row["host"]: row for row in rows(page, "hosts")}
    assert sum(row["images"] for row in hosts.values()) == 40
    assert all(row["failure_rate"] == 0 for row in hosts.values())


def test_hosts_that_cannot_be_read_cost_their_own_table(world: World, live: dict[str, object]) -> None:
    drop_connection(world, "IMAGESYS_SHARED")
    page = country_page(world.context())
    hosts = by_name(page.tables, "hosts")
    assert hosts
    assert not hosts.rows
    assert "'imagesys_shared' does not exist" in hosts.empty
    assert rows(page, "sources")


def test_nodes_are_as_the_last_report_had_them_with_the_fault_of_now(world: World, live: dict[str, object]) -> None:
    world.sql("UPDATE lis_nodes SET fault = 'disk_full', detail = 'no space' WHERE node = 'n3'")
    nodes = {row["node"]: row for row in rows(country_page(world.ctx), "nodes")}
    assert [nodes[name]["state"] for name in ("n1", "n2", "n3")] == ["well", "well", "disk_full"]
    assert {nodes[name]["files"] for name in ("n1", "n2", "n3")} == {80}
