"""The daily run, three backfill runs beside it, and every way of clearing, each seen by the web site's own log."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import pytest

from include.sandbox import ManifestEntry
from tests.scheduler.conftest import BATCH, Live, expected_live

pytestmark = [pytest.mark.scheduler, pytest.mark.sandbox]

DAG_ID = "imagesys_uk"
ZONE = "Europe/London"
FIRST, LAST = dt.date(2026, 10, 24), dt.date(2026, 10, 26)  # the clocks go back on the 25th: a day of 25 hours
OUTSIDE = dt.date(2026, 10, 27)
DAYS = [FIRST, dt.date(2026, 10, 25), LAST]


@dataclass(frozen=True)
class Country:
    """uk after its daily run and the backfill that ran beside it."""

    live: Live
    daily: str
    entries: dict[str, ManifestEntry]

    def expected(self) -> set[str]:
        """What should be on the website: all but the day that nobody asked for."""
        return expected_live({url: e for url, e in self.entries.items() if e.local_day != OUTSIDE.isoformat()})

    def snapshot(self) -> list[tuple[Any, ...]]:
        """The whole live table."""
        return self.live.rows("uk", "SELECT * FROM lis_live_images ORDER BY image_hash")


@pytest.fixture(scope="module")
def uk(live: Live) -> Country:
    """Seed, unpause, and at once backfill three past days: four runs side by side."""
    entries = live.seed("uk", ZONE, 100, past_days=[*DAYS, OUTSIDE], per_past_day=12)
    daily = live.start_daily("uk")
    asked = live.command("backfill", "uk", FIRST.isoformat(), LAST.isoformat())
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert "airflow backfill create" in asked.stdout.replace("\n", " ")
    runs = live.wait_until("four runs", lambda: (r := live.api.runs(DAG_ID)) and len(r) == 4 and r, 60)
    for run in runs:
        ended = live.api.wait_for_run(DAG_ID, run["dag_run_id"], 300)
        assert ended["state"] == "success", live.api.states(DAG_ID, run["dag_run_id"])
    return Country(live, daily, entries)


def test_exactly_the_days_asked_for_are_live(uk: Country) -> None:
    assert uk.live.live_urls("uk") == uk.expected()


def test_the_backfill_made_one_run_a_local_day(uk: Country) -> None:
    runs = [run for run in uk.live.api.runs(DAG_ID) if run["run_type"] == "backfill"]
    starts = sorted(run["data_interval_start"] for run in runs)
    assert starts == ["2026-10-23T23:00:00Z", "2026-10-24T23:00:00Z", "2026-10-26T00:00:00Z"]


def test_each_image_was_fetched_once_by_four_runs_side_by_side(uk: Country) -> None:
    counts = uk.live.sandbox.website.request_counts()
    wanted = {entry.target for url, entry in uk.entries.items() if url in uk.expected() and entry.kind == "ok"}
    assert wanted
    assert {target: counts[target] for target in wanted if counts[target] != 1} == {}


def test_three_nodes_hold_the_same_files_and_nothing_else(uk: Country) -> None:
    trees = uk.live.trees("uk")
    assert trees["n1"] == trees["n2"] == trees["n3"]
    assert len(trees["n1"]) == 2 * len(uk.expected())


def test_every_other_url_has_its_one_reason(uk: Country) -> None:
    found = dict(uk.live.rows("uk", "SELECT image_url, reason FROM lis_images WHERE state <> 'live'"))
    wrong = {url: reason for url, reason in found.items() if not uk.entries[url].accepts(reason)}
    assert wrong == {}
    assert set(found) | uk.expected() == {u for u, e in uk.entries.items() if e.local_day != OUTSIDE.isoformat()}


@pytest.mark.long
def test_the_backfill_again_changes_nothing(uk: Country) -> None:
    before, offset = uk.snapshot(), uk.live.sandbox.website.log_offset()
    uk.live.wait_until("the first backfill to be closed", lambda: not open_backfills(uk), 90)
    done = uk.live.command("backfill", "uk", FIRST.isoformat(), LAST.isoformat(), "--reprocess-behavior", "completed")
    assert done.returncode == 0, done.stdout + done.stderr
    for run in uk.live.api.runs(DAG_ID):
        uk.live.api.wait_for_run(DAG_ID, run["dag_run_id"], 180)
    assert [run["state"] for run in uk.live.api.runs(DAG_ID)] == ["success"] * 4
    assert uk.snapshot() == before
    assert uk.live.sandbox.website.request_counts(offset) == {}


def test_a_second_run_of_the_same_interval_downloads_nothing(uk: Country) -> None:
    before, offset = uk.snapshot(), uk.live.sandbox.website.log_offset()
    run_id = uk.live.api.trigger(DAG_ID)
    assert uk.live.api.wait_for_run(DAG_ID, run_id)["state"] == "success"
    assert uk.snapshot() == before
    assert uk.live.sandbox.website.request_counts(offset) == {}


@pytest.mark.parametrize(
    ("task", "downstream", "reruns"),
    [
        pytest.param(
            ("process.thumbnail", 1),
            True,
            {"process.thumbnail[1]", "sync[0]", "publish", "report"},
            marks=pytest.mark.long,
        ),
        (("process.download", 0), False, {"process.download[0]"}),
        ("plan", True, {"plan", "process.download[0]", "process.thumbnail[1]", "sync[2]", "report"}),
        pytest.param("report", False, {"report"}, marks=pytest.mark.long),
    ],
)
def test_clearing_a_task_repeats_no_finished_work(
    uk: Country, task: str | tuple[str, int], downstream: bool, reruns: set[str]
) -> None:
    api = uk.live.api
    batches = api.xcom(DAG_ID, uk.daily, "plan")
    # At least its own two; whatever the backfills had just ingested when it planned comes on top.
    assert [batch["seq"] for batch in batches] == list(range(len(batches)))
    assert [batch["size"] for batch in batches[:2]] == [BATCH, BATCH]
    tries = {name: one["try_number"] for name, one in instances(uk)}
    before, offset = uk.snapshot(), uk.live.sandbox.website.log_offset()

    cleared = api.clear(DAG_ID, uk.daily, [task], downstream=downstream)

    assert reruns <= set(cleared) | reruns_by_mapping(cleared)
    assert api.wait_for_run(DAG_ID, uk.daily, 180)["state"] == "success"
    assert api.xcom(DAG_ID, uk.daily, "plan") == batches
    after = {name: one["try_number"] for name, one in instances(uk)}
    assert {name for name in reruns if after[name] <= tries[name]} == set()
    assert uk.snapshot() == before
    assert uk.live.sandbox.website.request_counts(offset) == {}


def open_backfills(uk: Country) -> list[dict[str, Any]]:
    """Backfills that Airflow has not closed; it does so within half a minute after their last run."""
    found = uk.live.api.call("GET", "backfills", dag_id=DAG_ID)["backfills"]
    return [one for one in found if one["completed_at"] is None]


def instances(uk: Country) -> list[tuple[str, dict[str, Any]]]:
    """Task instances of the daily run, by name."""
    found = uk.live.api.task_instances(DAG_ID, uk.daily)
    return [(one["task_id"] + (f"[{one['map_index']}]" if one["map_index"] >= 0 else ""), one) for one in found]


def reruns_by_mapping(cleared: list[str]) -> set[str]:
    """Clearing `plan` clears the mapped tasks too; the answer lists some of them only once they are expanded."""
    return {f"{name}[{index}]" for name in cleared for index in range(6) if "[" not in name}
