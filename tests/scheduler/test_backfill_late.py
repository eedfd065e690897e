"""Days of a backfill that wait in the queue past their deadlines are one mail a deadline, and one when all are done."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from zoneinfo import ZoneInfo

import pytest

from tests.scheduler.conftest import Live

pytestmark = [pytest.mark.scheduler, pytest.mark.sandbox, pytest.mark.long]

DAG_ID, ZONE = "imagesys_fr", "Europe/Paris"  # its deadlines are 3 and 6 seconds after a run was queued
DAYS = [dt.date(2026, 10, day) for day in (5, 6, 7, 8)]


def test_four_queued_days_that_are_all_late_do_not_flood(live: Live) -> None:
    live.seed("fr", ZONE, 10, broken_share=0.0, past_days=DAYS, per_past_day=5)
    daily = live.start_daily("fr")
    assert live.api.wait_for_run(DAG_ID, daily)["state"] == "success"
    since = len(live.sandbox.mail.files())
    first, last = (dt.datetime.combine(day, dt.time(), tzinfo=ZoneInfo(ZONE)) for day in (DAYS[0], DAYS[-1]))
    asked = {
        "dag_id": DAG_ID,
        "from_date": first.isoformat(),
        "to_date": last.isoformat(),
        "max_active_runs": 1,  # three of them wait for the first
        "dag_run_conf": {},
    }
    live.api.call("POST", "backfills", asked)

    def days() -> list[dict[str, object]]:
        return [run for run in live.api.runs(DAG_ID) if run["run_type"] == "backfill"]

    runs = live.wait_until("four days", lambda: (found := days()) and len(found) == len(DAYS) and found)
    live.wait_until("a mail about the backfill", lambda: reported(live, since), 90)
    queued = [run for run in days() if run["state"] == "queued"]
    assert queued
    for run in runs:
        assert live.api.wait_for_run(DAG_ID, str(run["dag_run_id"]), 300)["state"] == "success"
    began = live.rows("fr", "SELECT COUNT(*) FROM lis_runs WHERE kind = 'backfill'")
    assert began[0][0] == len(DAYS)
    wanted = {"backfill is late": 1, "backfill missed its deadline": 1}
    live.wait_until("the mail that takes both back", lambda: "backfill has ended well" in reported(live, since), 60)
    found = reported(live, since)
    assert found == {**wanted, "backfill has ended well": 1}
    assert live.rows("fr", "SELECT subject FROM lis_incidents WHERE is_open = 1") == []


def reported(live: Live, since: int) -> Counter[str]:
    """The mails about the backfill, each with how often it came."""
    subjects = [subject.removeprefix("FR ") for subject in live.subjects("FR", since)]
    return Counter(subject for subject in subjects if subject.startswith("backfill"))
