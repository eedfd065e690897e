"""Strangers' words reach neither a task's log nor Airflow's pages raw."""

from __future__ import annotations

from typing import Any

import pytest

from imagesys_lib.config import country_config
from imagesys_lib.nodes import NodeFault
from imagesys_lib.stages.purge.rules import Proposal
from tests.airflow.test_daily_report import RUN_ID
from tests.airflow.test_daily_report import api as api  # noqa: PLC0414 - the fixture
from tests.airflow.test_runs import context_of, sync_operator
from tests.library.output.test_printable import EVIL, RAW, SHOWN, assert_harmless, evil_node
from tests.support.world import World


def test_a_runs_note_is_escaped_and_no_longer_than_airflow_takes(api: Any) -> None:
    from imagesys_airflow.alerts.run_note import write_note

    write_note("imagesys_uk", RUN_ID, f"**WORK LOST**\n\n- {EVIL}" + "\x1b" * 1000)
    note = api.requests[-1][2]["note"]
    assert note.startswith("**WORK LOST**\n\n- \\x1b]0;pwned")
    assert RAW.findall(note) == []
    assert len(note) == 1000


def test_the_question_about_a_purge_shows_urls_escaped(world: World) -> None:
    from imagesys_airflow.dags.purge_approval import approval_text, invitation

    url = f"http://127.0.0.1/{EVIL}`.jpg"
    config = country_config("uk")
    proposal = Proposal(1, "open", {}, 100, ({"rule": "listing", "url": url},))
    headline, body = approval_text(config, proposal)
    assert_harmless(headline + body)
    assert f"`http://127.0.0.1/{SHOWN}%60.jpg`" in body
    mail = invitation(config, proposal, "run").written()
    assert RAW.findall(mail.subject + mail.text + mail.html) == []


@pytest.mark.filterwarnings("default")
def test_what_a_node_says_is_escaped_in_the_task_s_log_and_failure(
    world: World, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO")
    task = sync_operator("n1")
    with evil_node(world, "n1"), pytest.raises(NodeFault) as fault:
        task.execute(context_of(task))
    assert "pwned" in caplog.text
    assert "pwned" in str(fault.value)
    for reported in (caplog.text, str(fault.value), *capsys.readouterr()):
        assert RAW.findall(reported) == []
