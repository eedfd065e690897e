"""Dates that ops type: what Airflow refuses, and what becomes of a run that slipped through to a date in the future."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from include.sandbox.errors import SandboxError
from tests.scheduler.conftest import Live

pytestmark = [pytest.mark.scheduler, pytest.mark.sandbox]

DAG_ID = "imagesys_br"  # its deadlines are 3 and 6 seconds after a run was queued
START, END = "2190-01-01T00:00:00Z", "2190-01-02T00:00:00Z"


@pytest.mark.parametrize(
    "date", [START, "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "1999-01-01T00:00:00Z"]
)
def test_a_date_in_the_future_or_that_cannot_be_meant_is_refused_in_words(live: Live, date: str) -> None:
    live.api.wait_for_dag(DAG_ID, 120)
    with pytest.raises(SandboxError, match=r"400 .*(lies in the future|year must lie between)"):
        live.api.call("POST", f"dags/{DAG_ID}/dagRuns", {"logical_date": date})


def test_a_backfill_of_the_year_9999_or_1_is_refused_in_words(live: Live) -> None:
    live.api.wait_for_dag(DAG_ID, 120)
    for first, last in (("0001-01-01", "2026-10-01"), ("9999-12-31", "9999-12-31")):
        body = {"dag_id": DAG_ID, "from_date": f"{first}T00:00:00Z", "to_date": f"{last}T00:00:00Z", "dag_run_conf": {}}
        with pytest.raises(SandboxError, match=r"422 .*(No runs to create|future dates)"):
            live.api.call("POST", "backfills", body)
        refused = live.command("backfill", "br", first, last)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "Traceback" not in refused.stderr


@pytest.mark.long
def test_a_run_that_waits_for_a_date_in_the_future_is_named_with_the_way_out_which_works(live: Live) -> None:
    live.seed("br", "America/Sao_Paulo", 5, broken_share=0.0)
    since = len(live.sandbox.mail.files())
    live.api.wait_for_dag(DAG_ID, 120)
    interval = {"data_interval_start": START, "data_interval_end": END}
    live.api.call("POST", f"dags/{DAG_ID}/dagRuns", {"logical_date": START, **interval, "dag_run_id": "by-api"})
    by_hand = [str(Path(sys.executable).with_name("airflow")), "dags", "trigger", DAG_ID, "-l", END, "-r", "by-cli"]
    environment = {**os.environ, **live.airflow.environment()}
    done = subprocess.run(by_hand, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    live.api.unpause(DAG_ID)

    waits = "waits for a date in the future"
    live.wait_until("a mail about each", lambda: sum(waits in one for one in live.subjects("BR", since)) == 2)
    mails = [mail.get_body(("plain",)).get_content() for mail in live.sandbox.mail.mails(since)]
    for run_id, date in (("by-api", "2190-01-01"), ("by-cli", "2190-01-02")):
        (text,) = [" ".join(mail.split()) for mail in mails if f"Run {run_id} " in mail]
        assert f"it waits until {date} 00:00 UTC and holds the only slot" in text
        assert "Mark it failed" in text
    for command in ("status", "report"):
        reported = live.command(command, "br").stdout
        assert reported.count("until it is marked failed in Airflow, it holds the DAG's only slot") == 2

    for run_id in ("by-api", "by-cli"):
        live.api.call("PATCH", f"dags/{DAG_ID}/dagRuns/{run_id}", {"state": "failed"})
    live.api.call("POST", f"dags/{DAG_ID}/dagRuns", {"logical_date": None, "dag_run_id": "next"})
    assert live.api.wait_for_run(DAG_ID, "next")["state"] == "success"
    assert "marked failed" not in live.command("status", "br").stdout
