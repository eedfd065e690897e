"""Runs as their callbacks get them, and what has reached the mail server."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from imagesys_lib.config.intervals import local_day
from tests.support.world import DAY, World

DAG_ID = "imagesys_uk"
LONDON = ZoneInfo("Europe/London")


class Sink:
    """What has reached the mail server since the test began."""

    def __init__(self, world: World) -> None:
        self.server = world.sandbox.mail
        self.since = len(self.server.files())

    def subjects(self) -> list[str]:
        return [str(mail["subject"]).removeprefix("[ImageSys] UK ") for mail in self.server.mails(self.since)]

    def texts(self) -> list[str]:
        return [mail.get_body(("plain",)).get_content() for mail in self.server.mails(self.since)]


def run(day: int = 28, run_type: str = "scheduled", state: str = "running") -> dict[str, Any]:
    """A run of a day in March, as Airflow describes it."""
    interval = local_day(DAY.replace(day=day), LONDON)
    return {
        "dag_run_id": f"{run_type}__2026-03-{day}",
        "run_type": run_type,
        "state": state,
        "data_interval_start": interval.start,
        "data_interval_end": interval.end,
        "run_after": interval.end + dt.timedelta(hours=3),
    }


def late(dag_run: dict[str, Any], trouble: str = "late") -> None:
    """Its deadline passes."""
    from imagesys_airflow.alerts import incidents

    context = {"dag_run": dag_run, "deadline": {"deadline_time": "2026-03-29T07:00:00Z"}}
    assert asyncio.run(incidents.run_late(country="uk", trouble=trouble, context=context)) is None


def ends(
    dag_run: dict[str, Any],
    *,
    well: bool,
    monkeypatch: pytest.MonkeyPatch,
    dag_id: str = DAG_ID,
    failures: Sequence[Any] = (),
) -> None:
    """It ends, as the DAG processor tells its callbacks; ``failures`` are its failed tasks."""
    from imagesys_airflow.alerts import incidents

    monkeypatch.setattr(incidents, "failures_of", lambda *_: list(failures))
    dag = SimpleNamespace(dag_id=dag_id, task_ids=["report"])
    plain = {**dag_run, "run_id": dag_run["dag_run_id"]}
    context: Any = {"dag": dag, "dag_run": SimpleNamespace(model_dump=lambda: plain), "run_id": plain["run_id"]}
    callback = incidents.RunEndedWell if well else incidents.RunFailed
    callback("uk")({**context, "reason": "task_failure"})


def failed(name: str, message: str, kind: str = "") -> Any:
    """A failed task, as its note tells of it."""
    from imagesys_airflow.alerts.failures import Failure

    return Failure(name, message, f"http://airflow.example.test/{name}", kind, 1)


def count(runs: dict[str, str]) -> Any:
    """Airflow's answer to how many of some runs there are, in some states."""

    def get_dr_count(dag_id: str, run_ids: list[str], states: list[str] | None = None) -> int:
        found = [runs[key] for key in (f"{dag_id} {run_id}" for run_id in run_ids) if key in runs]
        return len([state for state in found if states is None or state in states])

    return get_dr_count
