"""A backfill that was there first yields to the daily run that finds late rows; backwards, its last day is first."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tests.scheduler.conftest import Live

pytestmark = pytest.mark.long

DAG_ID = "imagesys_de"
ZONE = "Europe/Berlin"
FIRST, LAST = dt.date(2026, 9, 1), dt.date(2026, 9, 3)
BATCHES = "SELECT count(*) FROM lis_batches"
OWN = 8  # batches of the daily run, half of them at first
DAYS = [FIRST, dt.date(2026, 9, 2), LAST]


@pytest.fixture(scope="module")
def de(live: Live) -> Live:
    """Many small batches of three days, last day first, wait when the daily run gets work."""
    live.seed("de", ZONE, 40, past_days=DAYS, per_past_day=80)
    daily = live.start_daily("de")
    assert live.api.wait_for_run(DAG_ID, daily, 300)["state"] == "success"
    live.sandbox.website.set_delay(1000)
    try:
        asked = live.command("backfill", "de", FIRST.isoformat(), LAST.isoformat(), "--backwards")
        assert asked.returncode == 0, asked.stdout + asked.stderr
        assert "--run-backwards" in asked.stdout
        live.wait_until("batches of three days", lambda: live.rows("de", BATCHES)[0][0] == OWN // 2 + 24, 120)
        live.seed("de", ZONE, 40, seed=1)  # late rows of the ETL
        live.api.clear(DAG_ID, daily, ["ingest"])
        for run in live.api.runs(DAG_ID):
            ended = live.api.wait_for_run(DAG_ID, run["dag_run_id"], 300)
            assert ended["state"] == "success", live.api.states(DAG_ID, run["dag_run_id"])
    finally:
        live.sandbox.website.set_delay(0)
    return live


def downloads(de: Live, run: dict[str, Any]) -> list[dict[str, Any]]:
    found = de.api.task_instances(DAG_ID, run["dag_run_id"])
    return [one for one in found if one["task_id"] == "process.download"]


def test_the_last_day_of_a_backwards_backfill_starts_first(de: Live) -> None:
    backfills = [run for run in de.api.runs(DAG_ID) if run["run_type"] == "backfill"]
    in_order = sorted(backfills, key=lambda run: run["start_date"])
    days = [run["data_interval_start"] for run in in_order]
    assert days == sorted(days, reverse=True)
    assert len(days) == 3


def test_once_the_daily_run_has_batches_none_of_the_backfill_begins_before_them(de: Live) -> None:
    runs = de.api.runs(DAG_ID)
    own = [one for run in runs if run["run_type"] == "scheduled" for one in downloads(de, run)]
    others = [one for run in runs if run["run_type"] == "backfill" for one in downloads(de, run)]
    waiting = max(moment(one["scheduled_when"]) for one in own)
    last = max(moment(one["queued_when"]) for one in own)
    began = [moment(one["queued_when"]) for one in others]
    assert len(own) == OWN
    assert len(others) >= 20
    assert [time for time in began if waiting < time < last] == []
    assert [time for time in began if time > last], "the backfill had nothing left to do"


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
