"""Airflow's DAG runs in the library's form."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from imagesys_lib.config.intervals import Interval, latest_complete_day
from imagesys_lib.runs.runs import Run, RunKind

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext


def run_of(context: TaskContext, zone: ZoneInfo) -> Run:
    """Return the library's view of a DAG run.

    Airflow gives a run that was triggered without a logical date no interval: it means the latest complete day.
    """
    dag_run = context["dag_run"]
    start, end = dag_run.data_interval_start, dag_run.data_interval_end
    if start is not None and end is not None and start < end:
        interval = Interval(start, end)
    else:
        interval = latest_complete_day(dag_run.run_after, zone)
    return Run(dag_run.run_id, kind_of(dag_run.run_type), interval, force=bool(context["params"].get("force")))


def kind_of(run_type: object) -> RunKind:
    """Return the kind of a run; one triggered by an operator, an asset or a person is a manual one."""
    name = str(getattr(run_type, "value", run_type))
    return RunKind(name) if name in (RunKind.SCHEDULED.value, RunKind.BACKFILL.value) else RunKind.MANUAL
