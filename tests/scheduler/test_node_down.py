"""A node that is down: the others get everything, the run is red and says what to do, and one clear completes it."""

from __future__ import annotations

import pytest

from tests.scheduler.conftest import Live, expected_live

pytestmark = [pytest.mark.scheduler, pytest.mark.sandbox]

DAG_ID = "imagesys_de"


def test_a_node_down_turns_its_own_task_red_and_one_clear_completes_it(live: Live) -> None:
    entries = live.seed("de", "Europe/Berlin", 30, broken_share=0.0)
    mails_before = len(live.sandbox.mail.files())
    live.sandbox.nodes.stop_node("n2")
    try:
        run_id = live.start_daily("de")
        run = live.api.wait_for_run(DAG_ID, run_id)
    finally:
        live.sandbox.nodes.start_node("n2")

    assert run["state"] == "failed"
    assert "WORK LOST" in run["note"]
    assert "Node n2 is behind by 30 images" in run["note"]
    states = live.api.states(DAG_ID, run_id)
    assert {name for name, state in states.items() if state in ("failed", "upstream_failed")} == {"sync[1]", "report"}
    assert {name for name, state in states.items() if state == "skipped"} >= {"check[1]"}
    assert live.live_urls("de") == expected_live(entries)  # by quorum
    trees = live.trees("de")
    assert trees["n1"] == trees["n3"]
    assert len(trees["n1"]) == 2 * len(expected_live(entries))
    assert trees["n2"] == {}

    tries = {one["task_id"]: one["try_number"] for one in live.api.task_instances(DAG_ID, run_id)}
    assert tries["sync"] == 1  # the change log is the retry
    log = live.api.log(DAG_ID, run_id, "report")
    assert "Node n2" in log
    assert "clear its sync task" in log

    def reported() -> list[str]:
        return [str(mail) for mail in live.sandbox.mail.mails(mails_before) if "failed" in str(mail["subject"])]

    mails = live.wait_until("the mail about the failed run", reported, 60)
    assert len(mails) == 1  # one for the run, not one a task
    text = mail_text(live, mails_before)
    assert "n2" in text
    assert f"{live.airflow.url}/dags/{DAG_ID}/runs/" in text
    assert "/tasks/sync/mapped/1" in text
    assert "daily runs that fail for this alone get no mail" in text

    live.api.clear(DAG_ID, run_id, [("sync", 1)])

    ended = live.api.wait_for_run(DAG_ID, run_id)
    assert ended["state"] == "success"
    assert "Nothing was lost." in ended["note"]
    trees = live.trees("de")
    assert trees["n1"] == trees["n2"] == trees["n3"]
    assert len(trees["n2"]) == 2 * len(entries)
    checks = live.rows(
        "de", "SELECT node, files, findings FROM lis_node_checks WHERE kind <> 'scrub' ORDER BY check_id DESC LIMIT 3"
    )
    assert {(files, findings) for _, files, findings in checks} == {(2 * len(entries), "{}")}
    live.wait_until("the mail that takes it back", lambda: len(live.subjects("DE", mails_before)) > 1, 60)
    assert [subject.split(" ", 4)[-1] for subject in live.subjects("DE", mails_before)] == ["failed", "has ended well"]


def mail_text(live: Live, since: int) -> str:
    """Return the plain part of the mail about the failed run."""
    mail = next(mail for mail in live.sandbox.mail.mails(since) if "failed" in str(mail["subject"]))
    parts = [part for part in mail.walk() if part.get_content_type() == "text/plain"]
    return "\n".join(part.get_payload(decode=True).decode() for part in parts)
