"""A purge above its cap under the real scheduler: a task waits for a person, and the answer is carried out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.sandbox.environment import due_day, write_config
from include.sandbox.services.airflow_api import AirflowApi
from tests.scheduler.conftest import COUNTRIES, PURGES_AT_ONCE, QUICK, Live

pytestmark = [pytest.mark.scheduler, pytest.mark.sandbox, pytest.mark.long]

DAG_ID = "imagesys_purge_approval"


def waiting(api: AirflowApi) -> list[str]:
    """Runs with a task that waits for a person."""
    return [
        run["dag_run_id"]
        for run in api.runs(DAG_ID)
        if api.states(DAG_ID, run["dag_run_id"]).get("ask[0]") == "awaiting_input"
    ]


def test_a_person_approves_and_the_purge_is_carried_out(live: Live) -> None:
    entries = live.seed("it", "Europe/Rome", 20, broken_share=0.0)
    assert live.command("run", "it", "--interval", str(due_day("Europe/Rome"))).returncode == 0
    gone = sorted({entry.listing_ids[0] for entry in entries.values()})[:2]
    off = {url for url, entry in entries.items() if set(entry.listing_ids) <= set(gone)}
    live.sandbox.etl.remove("it", gone)
    assert live.command("purge", "it").returncode == 1
    live.api.wait_for_dag(DAG_ID, 120)
    live.api.unpause(DAG_ID)
    [run_id] = live.wait_until("a question", lambda: waiting(live.api), 120)
    other = live.api.trigger(DAG_ID)
    assert live.api.wait_for_run(DAG_ID, other)["state"] == "success"
    assert live.api.states(DAG_ID, other)["find"] == "success"
    assert waiting(live.api) == [run_id]  # the other run does not ask again
    assert live.live_urls("it") == set(entries)

    answer = {"chosen_options": ["Approve"], "params_input": {}}
    live.api.call("PATCH", f"dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/ask/0/hitlDetails", answer)
    assert live.api.wait_for_run(DAG_ID, run_id)["state"] == "success"
    assert live.api.states(DAG_ID, run_id) == dict.fromkeys(("find", "ask[0]", "carry_out[0]"), "success")
    assert live.live_urls("it") == set(entries) - off
    [(state, by)] = live.rows("it", "SELECT state, decided_by FROM lis_purge_proposals")
    assert (state, by) == ("approved", "admin")


@pytest.fixture
def hardly_waits(live: Live) -> Iterator[str]:
    """A country that gives people eleven seconds to answer."""
    purge = {**PURGES_AT_ONCE["purge"], "approval_hours": 0.003}
    write_config(live.sandbox.settings, QUICK, {**COUNTRIES, "in": {"purge": purge}})
    yield "in"
    write_config(live.sandbox.settings, QUICK, COUNTRIES)


def test_nobody_answers_in_time_which_is_a_no(live: Live, hardly_waits: str) -> None:
    """The time-out is Airflow's own."""
    country, zone = hardly_waits, "Asia/Kolkata"
    entries = live.seed(country, zone, 20, broken_share=0.0)
    assert live.command("run", country, "--interval", str(due_day(zone))).returncode == 0
    live.sandbox.etl.remove(country, sorted({entry.listing_ids[0] for entry in entries.values()})[:2])
    assert live.command("purge", country).returncode == 1
    live.api.wait_for_dag(DAG_ID, 120)
    live.api.unpause(DAG_ID)
    live.api.trigger(DAG_ID)
    asked_by = "SELECT asked_by FROM lis_purge_proposals WHERE asked_by IS NOT NULL"
    [(run_id,)] = live.wait_until("a run that asks", lambda: live.rows(country, asked_by), 120)
    live.wait_until("a question", lambda: run_id in waiting(live.api))
    assert decisions(live, country) == [("open", None)]

    assert live.api.wait_for_run(DAG_ID, run_id)["state"] == "success"
    states = live.api.states(DAG_ID, run_id)
    assert states == {"find": "success", "ask[0]": "success", "carry_out[0]": "skipped"}
    assert decisions(live, country) == [("rejected", "nobody in time")]
    assert set(entries) <= live.live_urls(country)  # beside another day, which a forced backfill left alone
    assert len([subject for subject in live.subjects("purge") if subject.startswith("India")]) == 1


def decisions(live: Live, country: str) -> list[tuple[object, ...]]:
    return live.rows(country, "SELECT state, decided_by FROM lis_purge_proposals")
