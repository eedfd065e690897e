"""The DAG that asks a person about purges above the cap: its shape, and each operator with every answer."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from imagesys_lib.config import load_config
from imagesys_lib.errors import DatabaseUnavailable
from imagesys_lib.stages.purge import proposals, purge
from include.sandbox import ManifestEntry
from include.sandbox.settings import PROJECT
from tests.library.stages.test_purge import first_listings
from tests.library.stages.test_purge_proposals import STRICT
from tests.support.world import World

Entries = dict[str, ManifestEntry]
pytestmark = pytest.mark.filterwarnings("default")  # Airflow warns of its own


@pytest.fixture
def proposed(world: World, live: Entries) -> tuple[dict[str, Any], set[str]]:
    """A proposal as the tasks know it, and the URLs it is about."""
    world.reconfigure(purge=STRICT)
    listings, urls = first_listings(live, 3)
    world.sandbox.etl.remove("uk", listings)
    number = purge(world.ctx).proposal
    assert number
    return {"country": "uk", "proposal_id": number}, urls


def context(run_id: str = "scheduled__1") -> dict[str, Any]:
    ti = MagicMock(dag_id="imagesys_purge_approval", run_id=run_id, map_index=0, try_number=1)
    return {"ti": ti, "task_instance": ti, "dag_run": MagicMock(run_id=run_id), "params": {}}


def ask(proposal: dict[str, Any]) -> Any:
    from imagesys_airflow.dags.purge_approval import AskOperator

    return AskOperator(task_id="ask", proposal=proposal, response_timeout=dt.timedelta(hours=1))


def carry_out(proposal: dict[str, Any]) -> Any:
    from imagesys_airflow.dags.purge_approval import CarryOutOperator

    return CarryOutOperator(task_id="carry_out", proposal=proposal).execute(context())


def answer(option: str, user: str | None) -> dict[str, Any]:
    """What Airflow resumes a waiting task with; on a time-out it gives the default, and nobody's name."""
    return {
        "chosen_options": [option],
        "params_input": {},
        "responded_at": dt.datetime.now(dt.timezone.utc),
        "responded_by_user": {"id": "7", "name": user} if user else None,
        "timedout": user is None,
    }


def test_the_dag_asks_and_carries_out_each_proposal_by_itself(airflow_database: None) -> None:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(PROJECT / "dags"))
    assert bag.import_errors == {}
    dag = bag.dags["imagesys_purge_approval"]
    assert set(dag.task_dict) == {"find", "ask", "carry_out"}
    assert "ask" in dag.task_dict["find"].downstream_task_ids
    assert dag.task_dict["ask"].downstream_task_ids == {"carry_out"}
    assert dag.max_active_runs > len(load_config())  # a question keeps its run open
    assert dag.catchup is False
    question = dag.task_dict["ask"]
    assert question.defaults == ["Reject"]
    assert question.response_timeout == dt.timedelta(hours=48)
    assert all(len(task.doc_md) > 100 for task in dag.tasks)
    for country in load_config():
        assert "ask" not in bag.dags[f"imagesys_{country}"].task_dict


def test_a_proposal_is_found_by_one_run_and_not_by_the_next(
    world: World, proposed: tuple[dict[str, Any], set[str]]
) -> None:
    from imagesys_airflow.dags.purge_approval import FindProposalsOperator

    find = FindProposalsOperator(task_id="find", countries=["uk"])
    assert find.execute(context("r1")) == [proposed[0]]
    assert find.execute(context("r2")) == []
    assert find.execute(context("r1")) == [proposed[0]]  # cleared


def test_a_country_whose_database_is_away_does_not_keep_others_from_being_asked(
    world: World, proposed: tuple[dict[str, Any], set[str]]
) -> None:
    from imagesys_airflow.dags.purge_approval import FindProposalsOperator
    from imagesys_lib.db import engine as engine_module

    world.patch.setattr(engine_module, "_PATIENCE", 0.2)
    away = '{"conn_type": "mysql", "host": "127.0.0.1", "port": 9, "schema": "imagesys_de"}'
    world.patch.setenv("AIRFLOW_CONN_IMAGESYS_DB_DE", away)
    assert FindProposalsOperator(task_id="find", countries=["de", "uk"]).execute(context()) == [proposed[0]]
    with pytest.raises(DatabaseUnavailable):
        FindProposalsOperator(task_id="find", countries=["de"]).execute(context())


def test_the_question_shows_rule_counts_and_samples_and_waits_without_a_process(
    world: World, proposed: tuple[dict[str, Any], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.standard.operators import hitl
    from airflow.sdk.exceptions import TaskAwaitingInput

    put: dict[str, Any] = {}
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **asked: put.update(asked))  # Airflow's API server
    proposal, urls = proposed
    world.configure(purge={**STRICT, "approval_hours": 12})
    with pytest.raises(TaskAwaitingInput) as waiting:
        ask(proposal).execute(context())
    assert waiting.value.timeout == dt.timedelta(hours=12)
    assert put["subject"].startswith(f"United Kingdom: purge {len(urls)} of 40 live images")
    assert f"| unlisted: no listing shows it any more | {len(urls)} | {len(urls)} |" in put["body"]
    assert sum(url in put["body"] for url in urls) == min(20, len(urls))
    assert (put["options"], put["defaults"]) == (["Approve", "Reject"], ["Reject"])


def test_people_are_invited_once_however_often_the_question_is_put(
    world: World, proposed: tuple[dict[str, Any], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.standard.operators import hitl
    from airflow.sdk.exceptions import TaskAwaitingInput

    from imagesys_airflow.dags.purge_approval import FindProposalsOperator

    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **_: None)  # Airflow's API server
    world.configure(purge={**STRICT, "approval_hours": 12})
    _, urls = proposed
    since = len(world.sandbox.mail.files())

    def put(run_id: str) -> list[str]:
        for found in FindProposalsOperator(task_id="find", countries=["uk"]).execute(context(run_id)):
            for _ in range(2):  # tried again
                with pytest.raises(TaskAwaitingInput):
                    ask(found).execute(context(run_id))
        world.sandbox.mail.wait_for(lambda _mail: True, since=since)
        mails = [mail.get_body(("plain",)).get_content() for mail in world.sandbox.mail.mails(since)]
        return [run_id for run_id in ("r1", "r2") for text in mails if f"/runs/{run_id}" in text]

    assert put("r1") == ["r1"]
    mail = world.sandbox.mail.mails(since)[0]
    assert f"United Kingdom: purge {len(urls)} of 40 live images" in str(mail["Subject"])
    assert "none within 12 hours is a no" in mail.get_body(("plain",)).get_content().replace("\n", " ")
    assert put("r1") == ["r1"]  # cleared
    world.sql("UPDATE lis_purge_proposals SET asked_at = TIMESTAMPADD(HOUR, -11, asked_at)")
    assert put("r2") == ["r1"]
    # Nobody has answered in time, and the run that asked is gone: another one asks, and says where.
    world.sql("UPDATE lis_purge_proposals SET asked_at = TIMESTAMPADD(HOUR, -3, asked_at)")
    assert put("r2") == ["r1", "r2"]


def test_a_database_that_is_away_is_reported_once_until_it_is_back_and_each_unfinished_purge_too(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from imagesys_airflow.alerts import mail as imagesys_mail
    from imagesys_airflow.alerts.failures import Failure
    from imagesys_airflow.dags import purge_approval

    monkeypatch.setattr(imagesys_mail, "_HERE", tmp_path)
    failures = [Failure("find", "", "http://airflow.example.test/find")]
    monkeypatch.setattr(purge_approval, "failures_of", lambda *_: failures)  # Airflow's API server's answer
    since = len(world.sandbox.mail.files())
    failed, well = "[ImageSys] Purge approval failed", "[ImageSys] Purge approval works again"

    def reported() -> list[str]:
        return [str(mail["subject"]) for mail in world.sandbox.mail.mails(since)]

    for hour in range(3):
        purge_approval.notify_failure({"run_id": f"scheduled__{hour}"})
    assert reported() == [failed]
    failures[:] = [Failure("carry_out[0]", "", "http://airflow.example.test/carry_out")]
    for _ in range(2):
        purge_approval.notify_failure({"run_id": "scheduled__3"})
    assert reported() == [failed] * 2
    purge_approval.notify_recovery({"run_id": "scheduled__4"})  # the database is back
    assert reported() == [failed] * 2 + [well]
    purge_approval.notify_recovery({"run_id": "scheduled__3"})  # the purge was cleared
    purge_approval.notify_recovery({"run_id": "scheduled__5"})
    assert reported() == [failed] * 2 + [well] * 2


def test_approved_it_is_unpublished_and_a_cleared_task_does_nothing_twice(
    world: World, live: Entries, proposed: tuple[dict[str, Any], set[str]]
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    proposal, urls = proposed
    assert ask(proposal).execute_complete(context(), answer("Approve", "ann")) == {"state": "approved", "by": "ann"}
    assert carry_out(proposal)["unpublished"] == len(urls)
    assert world.live().keys() == live.keys() - urls
    with pytest.raises(AirflowSkipException, match="is carried out"):
        carry_out(proposal)
    assert ask(proposal).execute(context()) == {"state": "approved", "by": "ann"}  # nobody is asked again


@pytest.mark.parametrize("user", ["bob", None])
def test_rejected_or_not_answered_in_time_it_changes_nothing(
    world: World, live: Entries, proposed: tuple[dict[str, Any], set[str]], user: str | None
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    proposal, _ = proposed
    by = user or "nobody in time"
    assert ask(proposal).execute_complete(context(), answer("Reject", user)) == {"state": "rejected", "by": by}
    with pytest.raises(AirflowSkipException, match="is rejected"):
        carry_out(proposal)
    assert world.live().keys() == live.keys()
    assert f"was rejected by {by}" in purge(world.ctx).refused


def test_an_answer_to_a_proposal_that_was_replaced_does_nothing(
    world: World, live: Entries, proposed: tuple[dict[str, Any], set[str]]
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    proposal, _ = proposed
    world.sandbox.etl.remove("uk", first_listings(live, 7)[0])
    assert purge(world.ctx).proposal == proposal["proposal_id"] + 1
    assert ask(proposal).execute_complete(context(), answer("Approve", "ann"))["state"] == "expired"
    with pytest.raises(AirflowSkipException, match="is expired"):
        carry_out(proposal)
    assert world.live().keys() == live.keys()


def test_an_approval_that_what_is_due_has_outgrown_is_skipped_and_named(
    world: World, live: Entries, proposed: tuple[dict[str, Any], set[str]]
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    proposal, urls = proposed
    proposals.decide(world.ctx.db, proposal["proposal_id"], approve=True, by="ann")
    world.sandbox.etl.remove("uk", first_listings(live, 7)[0])
    with pytest.raises(AirflowSkipException, match=f"was approved for {len(urls)} and is expired"):
        carry_out(proposal)
    assert world.live().keys() == live.keys()


def test_an_approval_waits_for_an_etl_that_is_half_loaded(
    world: World, live: Entries, proposed: tuple[dict[str, Any], set[str]]
) -> None:
    from imagesys_airflow.dags.purge_approval import EtlHalfLoaded

    proposal, _ = proposed
    proposals.decide(world.ctx.db, proposal["proposal_id"], approve=True, by="ann")
    world.configure(purge={**STRICT, "max_unlisted_percent": 20})
    world.sandbox.etl.empty("uk")
    with pytest.raises(EtlHalfLoaded, match=r"looks half loaded.*Remedy: clear this task"):
        carry_out(proposal)
    assert world.live().keys() == live.keys()
