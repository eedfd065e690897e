"""Backfills yield to the daily run: they share its pools, and may wait."""

from __future__ import annotations

import datetime as dt
from typing import Any, Protocol

from airflow.task.priority_strategy import PriorityWeightStrategy

from imagesys_lib.config.intervals import UTC

DAILY_BEFORE_BACKFILL = 1000
"""More than any task's own weight."""

_NEWEST = dt.timedelta(hours=36)
"""A scheduled run that was due longer ago is not the newest, or very late: its day is done again."""


class _TaskInstance(Protocol):
    """As much of Airflow's task instance as is asked for here."""

    run_id: str
    task: Any


class DailyFirst(PriorityWeightStrategy):
    """A task's own weight, as ``absolute``, raised in every run that does not do past days."""

    def get_weight(self, ti: _TaskInstance) -> int:
        """Return the weight by which the scheduler orders what waits for a slot."""
        return weight(ti.task.priority_weight, ti.run_id, dt.datetime.now(UTC))


def weight(own: int, run_id: str, now: dt.datetime) -> int:
    """Return the weight of a task in a run.

    Told by the run's id, since Airflow asks for the weight before the task instance knows its run; and a backfill that
    clears a day's own run asks while that is still a scheduled one, and leaves it its id.
    """
    kind, _, due = run_id.partition("__")
    is_past = kind == "backfill" or (kind == "scheduled" and _is_past(due, now))
    return own if is_past else own + DAILY_BEFORE_BACKFILL


def _is_past(due: str, now: dt.datetime) -> bool:
    try:
        return dt.datetime.fromisoformat(due).astimezone(UTC) < now - _NEWEST
    except ValueError:  # an id that somebody made up
        return False
