"""From when a run's deadline (SLA) counts."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseDeadlineReference

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class DailyRunQueued(BaseDeadlineReference):
    """The moment a scheduled or manual run was queued; a backfill has no deadline.

    Used in place of Airflow's DAGRUN_QUEUED_AT. Backfill runs are queued together, so with that one they would all be
    late together, before they have begun. And Airflow 3.3.2 cannot clear a failed run that has such a deadline before
    it: ``_recalculate_dagrun_queued_at_deadlines`` takes the stored interval for a number and the clear ends with
    status 500.
    """

    required_kwargs = frozenset({"dag_id", "run_id"})

    def _evaluate_with(self, *, session: Session, dag_id: str, run_id: str) -> dt.datetime | None:
        """Return when the run was queued; None for no deadline. Called by the scheduler or API server."""
        from airflow.models import DagRun  # noqa: PLC0415, TID251 - only they, with their session, come here
        from sqlalchemy import select  # noqa: PLC0415

        query = select(DagRun.queued_at, DagRun.run_type).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        row = session.execute(query).one_or_none()
        return None if row is None or str(row.run_type) == "backfill" else row.queued_at


class DailyRunQueuedPlugin(AirflowPlugin):
    """Makes the reference known to scheduler, API server and DAG processor."""

    name = "imagesys_deadline"
    deadline_references = (DailyRunQueued,)
