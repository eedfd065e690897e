"""A cleared run of a backfill that was cancelled never starts: the command says so, and the way out that works."""

from __future__ import annotations

import time

import pytest

from tests.scheduler.conftest import Live

pytestmark = [pytest.mark.scheduler, pytest.mark.sandbox, pytest.mark.long]

DAG_ID = "imagesys_it"


def test_a_cleared_run_of_a_cancelled_backfill_is_named_with_the_way_out_which_works(live: Live) -> None:
    live.api.wait_for_dag(DAG_ID, 120)
    days = {"from_date": "2026-10-05T00:00:00Z", "to_date": "2026-10-06T00:00:00Z"}
    asked = live.api.call("POST", "backfills", {"dag_id": DAG_ID, **days, "dag_run_conf": {}})
    live.api.call("PUT", f"backfills/{asked['id']}/cancel")
    stuck, other = sorted(runs(live))
    live.api.call("POST", f"dags/{DAG_ID}/dagRuns/{stuck}/clear", {"dry_run": False})
    live.api.unpause(DAG_ID)

    again = ("backfill", "it", "2026-10-05", "2026-10-06", "--reprocess-behavior", "failed")
    warned = live.command(*again)
    assert warned.returncode == 1
    reported = " ".join(warned.stderr.split())
    assert f"2026-10-05: {stuck}" in reported
    assert other not in reported
    assert "Mark each of these failed" in reported
    assert "imagesys backfill it 2026-10-05 2026-10-05 --reprocess-behavior failed" in reported
    assert live.api.wait_for_run(DAG_ID, other)["state"] == "success"
    time.sleep(5)
    assert runs(live)[stuck] == "queued"

    live.api.call("PATCH", f"dags/{DAG_ID}/dagRuns/{stuck}", {"state": "failed"})
    live.wait_until("the backfill to be closed", lambda: not open_backfills(live), 90)
    done = live.command("backfill", "it", "2026-10-05", "2026-10-05", "--reprocess-behavior", "failed")
    assert (done.returncode, done.stderr) == (0, "")
    live.wait_until("the day's run", lambda: runs(live)[stuck] != "failed")
    assert live.api.wait_for_run(DAG_ID, stuck)["state"] == "success"


def runs(live: Live) -> dict[str, str]:
    """The state of each of the backfills' runs, by its id."""
    return {str(run["dag_run_id"]): str(run["state"]) for run in live.api.runs(DAG_ID) if run["run_type"] == "backfill"}


def open_backfills(live: Live) -> list[object]:
    """Backfills that Airflow has not closed."""
    found = live.api.call("GET", "backfills", dag_id=DAG_ID)["backfills"]
    return [one for one in found if one["completed_at"] is None]
