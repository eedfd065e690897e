"""A purge above its cap under the real scheduler: a task waits for a person, and the answer is carried out."""

from __future__ import annotations

import pytest

from include.sandbox.airflow_api import AirflowApi
from include.sandbox.config import due_day
from tests.scheduler.conftest import Live

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
