"""The canary's DAG: one mapped task, red with one mail where a canary fails, and not tried again."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from include.sandbox.settings import PROJECT
from tests.world import NODES, World

pytestmark = [pytest.mark.usefixtures("airflow_database"), pytest.mark.filterwarnings("default")]


@pytest.fixture
def dag(world: World) -> Any:
    """The DAG, read with the world's configuration: uk alone has a canary."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    bag = DagBag(str(PROJECT / "dags" / "imagesys_canary_hourly.py"))
    assert bag.import_errors == {}
    sync_bag_to_db(bag, "dags-folder", None)
    return bag.dags["imagesys_canary"]


def timetable_of(dag: Any) -> Any:
    from airflow.serialization.encoders import coerce_to_core_timetable

    return coerce_to_core_timetable(dag.timetable)


def test_every_hour_each_country_that_has_a_canary_flies_it(world: World, dag: Any) -> None:
    assert (timetable_of(dag).summary, dag.max_active_runs, dag.catchup) == ("41 * * * *", 1, False)
    task = dag.task_dict["fly"]
    assert task.expand_input.value == {"country": ["uk"]}
    limit = world.ctx.config.canary.seconds  # type: ignore[union-attr]
    assert limit < task.partial_kwargs["execution_timeout"].total_seconds() < 3600

    run = dag.test(logical_date=dt.datetime.now(dt.timezone.utc))

    assert run.state == "success"
    for node in NODES:
        assert len(world.tree(node)) == 2


def test_a_canary_that_fails_turns_the_run_red_and_is_not_tried_again(world: World, dag: Any) -> None:
    world.sandbox.nodes.stop_node("n2")

    run = dag.test(logical_date=dt.datetime.now(dt.timezone.utc))

    assert run.state == "failed"
    (ti,) = run.get_task_instances()
    assert (ti.state, ti.try_number, ti.rendered_map_index) == ("failed", 1, "uk")


def test_the_mail_about_a_failed_run_names_what_each_canary_saw(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import imagesys_canary
    from imagesys_failures import Failure

    seen = [Failure(f"fly[{n}]", f"push of n{n}: away", f"http://airflow.example.test/{n}") for n in (1, 2)]
    monkeypatch.setattr(imagesys_canary, "failures_of", lambda *_: seen)  # Airflow's API server; see tests/scheduler
    since = len(world.sandbox.mail.files())
    imagesys_canary.mail_failure({"run_id": "scheduled__1"})
    mail = world.sandbox.mail.wait_for(lambda mail: str(mail["subject"]) == "[ImageSys] Canary failed", since=since)
    assert mail["to"] == "ops@example.test"
    text = mail.get_body(("plain",)).get_content()
    assert "push of n1: away\n    http://airflow.example.test/1" in text
    assert "push of n2: away\n    http://airflow.example.test/2" in text
    assert "http://airflow.example.test/dags/imagesys_canary/runs/scheduled__1" in text


def test_without_any_canary_the_dag_is_there_and_does_not_run() -> None:
    from airflow.dag_processing.dagbag import DagBag

    dag = DagBag(str(PROJECT / "dags" / "imagesys_canary_hourly.py")).dags["imagesys_canary"]
    assert timetable_of(dag).can_be_scheduled is False
