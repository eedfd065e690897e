"""Incidents of runs whose end nobody reported are resolved by the next run's `heal`, which asks Airflow's own API."""

from __future__ import annotations

import datetime as dt
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from imagesys_lib.alerts import incidents
from imagesys_lib.alerts.incidents import IncidentKind
from imagesys_lib.alerts.message import Message
from imagesys_lib.db.engine import write
from imagesys_lib.runs import runs
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from include.sandbox.settings import PROJECT
from tests.support.world import DAY, World

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("airflow_database")]


@pytest.fixture
def uk(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The DAG of uk, read with the world's configuration."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    from imagesys_airflow.alerts import mail as imagesys_mail

    monkeypatch.setattr(imagesys_mail, "_HERE", tmp_path)
    bag = DagBag(str(PROJECT / "dags"))
    dag = bag.dags["imagesys_uk"]
    dag.deadline = None  # see test_runs.py
    dag.on_success_callback = dag.on_failure_callback = None  # the DAG processor was killed
    sync_bag_to_db(bag, "dags-folder", None)
    return dag


def ran(uk: Any, days: int) -> Any:
    """A run of its own, so many days later."""
    at = dt.datetime.combine(DAY + dt.timedelta(days=days), dt.time(3), tzinfo=ZoneInfo("Europe/London"))
    return uk.test(logical_date=at)


def state(world: World, run_id: str) -> str:
    row = runs.load(world.ctx.db, run_id)
    assert row is not None
    return str(row.state)


def test_what_nobody_took_back_the_next_run_does(world: World, uk: Any) -> None:
    world.seed(4)
    first = ran(uk, 1)
    assert first.state == "success"
    for run_id in (first.run_id, "scheduled__deleted"):
        key = f"imagesys_uk {run_id}"
        message = Message("[ImageSys] UK failed", "Intro.", ())
        write(
            world.ctx.db,
            partial(incidents.open_incident, kind=IncidentKind.FAILED, subject=key, message=message, run=key),
        )
    world.sql("DELETE FROM lis_mails")  # they were sent
    since = len(world.sandbox.mail.files())
    assert ran(uk, 2).state == "success"
    assert world.rows(sa.text("SELECT subject FROM lis_incidents WHERE is_open = 1")) == []
    (mail,) = world.sandbox.mail.mails(since)
    assert str(mail["subject"]) == f"[ImageSys] UK run of {DAY} has ended well"
    assert f"/dags/imagesys_uk/runs/{first.run_id[:10]}" in mail.get_body(("plain",)).get_content()


@pytest.mark.long  # two whole runs
def test_the_next_run_takes_over_what_a_run_left_that_ended_without_a_report(world: World, uk: Any) -> None:
    world.seed(4)
    first = ran(uk, 1)
    by_hand = world.run()
    runs.begin(world.ctx.db, by_hand)  # it goes on, and Airflow knows nothing of it
    entries = world.seed(9, seed=1)
    own = world.run(run_id=first.run_id)
    ingest(world.ctx, own)
    download(world.ctx, plan(world.ctx, own)[-1].batch_id)  # cleared alone: no report follows
    assert state(world, first.run_id) == "running"
    assert world.count() == {"live": 4, "downloaded": len(entries)}
    assert ran(uk, 2).state == "success"
    assert world.count() == {"live": 4 + len(entries)}
    assert state(world, first.run_id) == "success"
    assert state(world, by_hand.run_id) == "running"
