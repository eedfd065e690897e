"""The canary under the real scheduler: run by the schedule, and one mail where a node does not hold it."""

from __future__ import annotations

import pytest

from tests.scheduler.conftest import Live

pytestmark = [pytest.mark.scheduler, pytest.mark.sandbox, pytest.mark.long]

DAG_ID = "imagesys_canary"


def test_the_schedule_runs_it_and_a_node_that_is_down_is_mailed_once(live: Live) -> None:
    since = len(live.sandbox.mail.files())
    live.api.wait_for_dag(DAG_ID, 120)
    live.sandbox.nodes.stop_node("n2")
    try:
        live.api.unpause(DAG_ID)
        first = live.wait_until("a scheduled run", lambda: live.api.runs(DAG_ID), 60)[0]
        assert first["run_type"] == "scheduled"
        assert live.api.wait_for_run(DAG_ID, first["dag_run_id"])["state"] == "failed"
    finally:
        live.sandbox.nodes.start_node("n2")
    again = live.api.trigger(DAG_ID)
    assert live.api.wait_for_run(DAG_ID, again)["state"] == "success"
    live.api.pause(DAG_ID)

    def reported() -> list[str]:
        return [
            mail.get_body(("plain",)).get_content()
            for mail in live.sandbox.mail.mails(since)
            if "canary failed" in str(mail["subject"])
        ]

    (text,) = live.wait_until("the mail about the canary", reported)
    assert "UK canary " in text
    assert "push of n2: Node n2: unreachable" in text
    assert "Remedy: start sshd on n2" in text
    assert f"{live.airflow.url}/dags/{DAG_ID}/runs/" in text
    assert [one["try_number"] for one in live.api.task_instances(DAG_ID, first["dag_run_id"])] == [1]
