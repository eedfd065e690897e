"""The canary's DAG: one mapped task, red with one mail where a canary fails, and not tried again."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.config.hostnames import host_of
from imagesys_lib.db.schema import lis_hosts
from imagesys_lib.fetch.politeness.host_records import pause
from include.sandbox.settings import PROJECT
from tests.support.world import NODES, World

pytestmark = [pytest.mark.usefixtures("airflow_database"), pytest.mark.filterwarnings("default")]


@pytest.fixture
def dag(world: World) -> Any:
    """The DAG, read with the world's configuration: uk alone has a canary."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    bag = DagBag(str(PROJECT / "dags"))
    assert bag.import_errors == {}
    sync_bag_to_db(bag, "dags-folder", None)
    return bag.dags["imagesys_canary"]


def timetable_of(dag: Any) -> Any:
    from airflow.serialization.encoders import coerce_to_core_timetable

    return coerce_to_core_timetable(dag.timetable)


def test_every_hour_each_country_that_has_a_canary_runs_it(world: World, dag: Any) -> None:
    assert (timetable_of(dag).summary, dag.max_active_runs, dag.catchup) == ("41 * * * *", 1, False)
    task = dag.task_dict["run"]
    assert task.expand_input.value == {"country": ["uk"]}
    limit = world.ctx.config.canary.seconds  # type: ignore[union-attr]
    assert limit < task.partial_kwargs["execution_timeout"].total_seconds() < 3600

    run = dag.test(logical_date=dt.datetime.now(dt.timezone.utc))

    assert run.state == "success"
    for node in NODES:
        assert len(world.tree(node)) == 2


def test_a_canary_that_fails_turns_the_run_red_and_is_reported_once_and_resolved_once(world: World, dag: Any) -> None:
    since = len(world.sandbox.mail.files())

    def subjects() -> list[str]:
        return [str(mail["subject"]).removeprefix("[ImageSys] ") for mail in world.sandbox.mail.mails(since)]

    def ran() -> Any:
        return dag.test(logical_date=dt.datetime.now(dt.timezone.utc))

    world.sandbox.nodes.stop_node("n2")
    for _ in range(2):  # the second hour is no second mail
        run = ran()
        assert run.state == "failed"
        (ti,) = run.get_task_instances()
        assert (ti.state, ti.try_number, ti.rendered_map_index) == ("failed", 1, "uk")
        assert subjects() == ["UK canary failed"]
    (mail,) = world.sandbox.mail.mails(since)
    text = mail.get_body(("plain",)).get_content()
    assert "push of n2: Node n2: unreachable" in text
    assert "http://airflow.example.test/dags/imagesys_canary/runs/" in text
    world.sandbox.nodes.start_node("n2")
    assert ran().state == "success"
    assert ran().state == "success"
    assert subjects() == ["UK canary failed", "UK canary comes through again"]


def test_a_canary_whose_host_is_left_alone_is_skipped_and_neither_opened_nor_resolved(world: World, dag: Any) -> None:
    since = len(world.sandbox.mail.files())

    def ran() -> str:
        (ti,) = dag.test(logical_date=dt.datetime.now(dt.timezone.utc)).get_task_instances()
        return str(ti.state)

    pause(world.ctx.shared, host_of(world.ctx.config.canary.url), 3600, "http_429")  # type: ignore[union-attr]
    assert ran() == "skipped"
    assert world.sandbox.mail.mails(since) == []
    world.write_all(world.ctx.shared, [sa.delete(lis_hosts)])
    world.sandbox.nodes.stop_node("n2")
    assert ran() == "failed"
    pause(world.ctx.shared, host_of(world.ctx.config.canary.url), 3600, "http_429")  # type: ignore[union-attr]
    assert ran() == "skipped"
    subjects = [str(mail["subject"]) for mail in world.sandbox.mail.mails(since)]
    assert subjects == ["[ImageSys] UK canary failed"]


@pytest.fixture
def subjects(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[str]]:
    """Subjects of the mails since the test began; stamps of direct mails are its own."""
    from imagesys_airflow.alerts import mail as imagesys_mail

    monkeypatch.setattr(imagesys_mail, "_HERE", tmp_path)
    since = len(world.sandbox.mail.files())
    return lambda: [str(mail["subject"]) for mail in world.sandbox.mail.mails(since)]


def test_where_canaries_cannot_even_run_that_is_mailed_once_and_resolved_once(
    world: World, monkeypatch: pytest.MonkeyPatch, subjects: Callable[[], list[str]]
) -> None:
    from imagesys_airflow.alerts.failures import Failure
    from imagesys_airflow.dags import canary

    away = Failure("run[0]", "Database away", "http://airflow.example.test/0", kind="DatabaseUnavailable")
    failed = Failure("run[1]", "push of n1: away", "http://airflow.example.test/1", kind="CanaryFailed")
    failures = [failed]
    monkeypatch.setattr(canary, "failures_of", lambda *_: failures)  # Airflow's API server's answer
    since = len(world.sandbox.mail.files())
    canary.notify_failure({"run_id": "scheduled__1"})  # it has notified by itself
    canary.notify_recovery({"run_id": "scheduled__1"})
    assert subjects() == []
    failures.append(away)
    for number in (2, 3):
        canary.notify_failure({"run_id": f"scheduled__{number}"})
    (mail,) = world.sandbox.mail.mails(since)
    assert (str(mail["subject"]), mail["to"]) == ("[ImageSys] Canaries cannot run", "ops@example.test")
    text = mail.get_body(("plain",)).get_content()
    assert "Database away\n    http://airflow.example.test/0" in text
    assert "push of n1" not in text
    assert "http://airflow.example.test/dags/imagesys_canary/runs/scheduled__2" in text
    failures.remove(away)
    canary.notify_failure({"run_id": "scheduled__4"})  # they run, though one does not come through
    canary.notify_recovery({"run_id": "scheduled__5"})
    assert subjects()[1:] == ["[ImageSys] Canaries run again"]
    failures.append(away)
    canary.notify_failure({"run_id": "scheduled__6"})  # a second outage of the same day
    assert subjects()[2:] == ["[ImageSys] Canaries cannot run"]


def test_that_canaries_cannot_run_is_notified_later_where_the_mail_server_is_away_too(
    world: World, monkeypatch: pytest.MonkeyPatch, subjects: Callable[[], list[str]]
) -> None:
    from imagesys_airflow.alerts.failures import Failure
    from imagesys_airflow.dags import canary

    away = Failure("run[0]", "Database away", "http://airflow.example.test/0", kind="DatabaseUnavailable")
    monkeypatch.setattr(canary, "failures_of", lambda *_: [away])
    world.sandbox.mail.stop()
    try:
        canary.notify_failure({"run_id": "scheduled__1"})
    finally:
        world.sandbox.mail.start()
    canary.notify_failure({"run_id": "scheduled__2"})
    assert subjects() == ["[ImageSys] Canaries cannot run"]


def test_what_a_canary_logs_from_the_level_on_is_mailed(world: World, subjects: Callable[[], list[str]]) -> None:
    from imagesys_airflow.dags.canary import CanaryOperator
    from tests.airflow.test_runs import context_of

    class Talkative(CanaryOperator):
        def work(self, job: Any) -> Any:
            logging.getLogger("imagesys_lib.ops.canary").error("n2 is slow")

    task = Talkative(task_id="run", country="uk")
    task.execute(context_of(task))
    assert subjects() == ["[ImageSys] UK canary logged messages"]
    assert world.rows(sa.text("SELECT * FROM lis_messages")) == []


def test_without_any_canary_the_dag_is_there_and_does_not_run() -> None:
    from airflow.dag_processing.dagbag import DagBag

    dag = DagBag(str(PROJECT / "dags")).dags["imagesys_canary"]
    assert timetable_of(dag).can_be_scheduled is False
