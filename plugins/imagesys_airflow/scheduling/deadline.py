"""From when a run's deadline (SLA) counts."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from airflow.sdk import BaseDeadlineReference  # type: ignore[attr-defined]  # missing in its stub (3.3.2)

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class RunQueued(BaseDeadlineReference):  # type: ignore[misc]
    """The moment a run was queued.

    Used in place of Airflow's DAGRUN_QUEUED_AT: Airflow 3.3.2 cannot clear a failed run that has such a deadline before
    it, as ``_recalculate_dagrun_queued_at_deadlines`` takes the stored interval for a number and the clear ends with
    status 500.
    """

    required_kwargs = frozenset({"dag_id", "run_id"})

    def _evaluate_with(self, *, session: Session, dag_id: str, run_id: str) -> dt.datetime | None:
        """Return when the run was queued. Called by whoever made it: scheduler, API server or command line."""
        from airflow.models import DagRun  # noqa: TID251 - only they, with their session, come here
        from sqlalchemy import select

        queued: dt.datetime | None = session.scalar(
            select(DagRun.queued_at).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        )
        return queued
