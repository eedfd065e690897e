"""Backfills yield to the daily run: they share its pools, and may wait."""

from __future__ import annotations

from typing import Any, Protocol

from airflow.plugins_manager import AirflowPlugin
from airflow.task.priority_strategy import PriorityWeightStrategy

DAILY_BEFORE_BACKFILL = 1000
"""More than any task's own weight."""


class _TaskInstance(Protocol):
    """As much of Airflow's task instance as is asked for here."""

    run_id: str
    task: Any


class DailyFirst(PriorityWeightStrategy):
    """A task's own weight, as ``absolute``, raised in every run that is not a backfill.

    Told by the run's id, since Airflow asks for the weight before the task instance knows its run.
    """

    def get_weight(self, ti: _TaskInstance) -> int:
        """Return the weight by which the scheduler orders what waits for a slot."""
        own: int = ti.task.priority_weight
        return own if ti.run_id.startswith("backfill__") else own + DAILY_BEFORE_BACKFILL


class DailyFirstPlugin(AirflowPlugin):
    """Makes the strategy known to scheduler, API server and DAG processor."""

    name = "imagesys_priority"
    priority_weight_strategies = (DailyFirst,)
