"""Mails about a run's failure that nobody sent, or sent while the database was away: each is notified once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import RunKind
from tests.airflow.mails import DAG_ID, Sink, count, ends, late, run
from tests.airflow.test_runs import context_of
from tests.support.world import DAY, World

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("airflow_database")]


def judged(world: World, day: int, state: str, kind: RunKind = RunKind.SCHEDULED) -> None:
    """What a run leaves in the database."""
    own = world.run(kind, DAY.replace(day=day), run_id=f"{kind.value}__2026-03-{day}")
    runs.begin(world.ctx.db, own)
    runs.mark_ingested(world.ctx.db, own)
    runs.finish(world.ctx.db, own, state, {"lost": []})


def heals(states: dict[str, str]) -> None:
    """The `heal` of the next run, to which Airflow says how runs stand."""
    from imagesys_airflow.operators.stages import HealOperator

    heal = HealOperator(task_id="heal", country="uk")
    context = context_of(heal)
    context["ti"].get_dr_count = count(states)
    heal.execute(context)


@contextmanager
def no_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The connection names a port where nothing listens."""
    from imagesys_airflow.alerts import mail as imagesys_mail

    connection = json.loads(os.environ["AIRFLOW_CONN_IMAGESYS_DB"])
    with monkeypatch.context() as patch:
        patch.setattr(imagesys_mail, "_CONNECT_SECONDS", 1)
        patch.setenv("AIRFLOW_CONN_IMAGESYS_DB", json.dumps({**connection, "port": 1}))
        yield


def test_a_failure_is_mailed_although_airflow_does_not_say_which_tasks_failed(sink: Sink) -> None:
    from types import SimpleNamespace

    from imagesys_airflow.alerts.incidents import RunFailed

    plain = {**run(), "run_id": run()["dag_run_id"]}
    dag = SimpleNamespace(dag_id=DAG_ID, task_ids=["report"])
    context: Any = {"dag": dag, "dag_run": SimpleNamespace(model_dump=lambda: plain), "run_id": plain["run_id"]}
    RunFailed("uk")(context)  # outside of Airflow's processes there is nobody to ask
    assert sink.subjects() == ["run of 2026-03-28 failed"]
    assert "Airflow does not say which tasks failed" in sink.texts()[0]


def test_a_failure_that_nobody_notified_is_reported_by_the_next_heal(
    sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(world, 25, "failed")
    judged(world, 26, "success")  # with which the 25th is no news
    judged(world, 27, "failed")
    judged(world, 28, "failed", RunKind.MANUAL)  # by hand: Airflow does not know it
    for day in (10, 11):
        judged(world, day, "failed", RunKind.BACKFILL)
    backfills = {f"{DAG_ID} backfill__2026-03-{day}": "failed" for day in (10, 11)}
    states = {f"{DAG_ID} scheduled__2026-03-{day}": "failed" for day in (25, 27)}
    for _ in range(2):
        heals({**states, **backfills})
    assert sink.subjects() == ["run of 2026-03-27 failed", "backfill failed"]
    assert "state failed" in sink.texts()[0]
    ends(run(27), well=False, monkeypatch=monkeypatch)  # the callback comes after all
    judged(world, 27, "success")
    ends(run(27), well=True, monkeypatch=monkeypatch)
    heals(backfills)
    assert sink.subjects()[2:] == ["run of 2026-03-27 has ended well"]


def test_a_run_that_failed_again_after_its_incident_was_resolved_is_notified_anew(
    sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {f"{DAG_ID} scheduled__2026-03-27": "failed"}
    judged(world, 27, "failed")
    ends(run(27), well=False, monkeypatch=monkeypatch)
    heals(states)
    ends(run(27), well=True, monkeypatch=monkeypatch)
    heals(states)  # cleared meanwhile, say: what its last report found had been notified
    assert len(sink.subjects()) == 2
    judged(world, 27, "failed")
    heals(states)
    assert sink.subjects()[2:] == ["run of 2026-03-27 failed"]


def test_what_was_mailed_without_a_database_becomes_an_incident_once_it_is_back(
    sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with no_database(monkeypatch):
        late(run())
        ends(run(), well=False, monkeypatch=monkeypatch)
    assert sink.subjects() == ["run of 2026-03-28 is late", "run of 2026-03-28 failed"]
    judged(world, 28, "failed")
    for _ in range(2):
        heals({f"{DAG_ID} scheduled__2026-03-28": "failed"})
    assert sink.subjects()[2:] == ["run of 2026-03-28 failed"]
    for _ in range(2):
        ends(run(), well=True, monkeypatch=monkeypatch)
    assert sink.subjects()[3:] == ["run of 2026-03-28 has ended well"]
    assert sink.texts()[3].count("It was") == 1
