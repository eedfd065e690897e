"""A backfill of days that fail is one mail, however many days and tasks, and one when all of them have ended well."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.scheduler.conftest import Live

pytestmark = [pytest.mark.scheduler, pytest.mark.sandbox, pytest.mark.long]

DAG_ID, ZONE = "imagesys_mx", "America/Mexico_City"
DAYS = [dt.date(2026, 10, day) for day in (5, 6, 7)]


def test_a_backfill_of_failing_days_mails_once_and_once_when_all_are_well(live: Live) -> None:
    live.seed("mx", ZONE, 10, broken_share=0.0, past_days=DAYS, per_past_day=5)
    live.sandbox.nodes.stop_node("n2")
    try:
        live.start_daily("mx")
        asked = live.command("backfill", "mx", DAYS[0].isoformat(), DAYS[-1].isoformat())
        assert asked.returncode == 0, asked.stdout + asked.stderr
        runs = live.wait_until("four runs", lambda: (r := live.api.runs(DAG_ID)) and len(r) == 4 and r)
        for run in runs:
            assert live.api.wait_for_run(DAG_ID, run["dag_run_id"], 300)["state"] == "failed"
        live.wait_until("two mails", lambda: len(live.subjects("MX")) == 2)
    finally:
        live.sandbox.nodes.start_node("n2")
    for run in runs:
        live.api.clear(DAG_ID, run["dag_run_id"], [("sync", 1)])
    for run in runs:
        assert live.api.wait_for_run(DAG_ID, run["dag_run_id"], 300)["state"] == "success"
    live.wait_until("two more mails", lambda: len(live.subjects("MX")) >= 4)

    daily = next(run["dag_run_id"] for run in runs if run["run_type"] == "scheduled")
    day = live.rows("mx", "SELECT interval_start FROM lis_runs WHERE run_id = %s", daily)[0][0].date()
    assert sorted(live.subjects("MX")) == [
        "MX backfill failed",
        "MX backfill has ended well",
        f"MX run of {day} failed",
        f"MX run of {day} has ended well",
    ]
