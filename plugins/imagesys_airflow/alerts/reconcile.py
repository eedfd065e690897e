"""Runs whose end nobody has seen: no report closed their row, or the callback was lost, or somebody marked them.

Airflow is asked for the state of runs that count as under way, or that open incidents wait for, by each ``heal``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from imagesys_airflow.alerts.caught_up import facts_of
from imagesys_airflow.alerts.incidents import announce_failure, resolve_run
from imagesys_lib.alerts import incidents
from imagesys_lib.context import Context
from imagesys_lib.db.engine import write
from imagesys_lib.errors import DatabaseUnavailable
from imagesys_lib.runs import runs

log = logging.getLogger(__name__)


def close_ended(ctx: Context, ti: Any) -> None:
    """Close the rows of runs that are over without their report's word: a task cleared alone, or a database away.

    Until then they count as under way, and no other run takes their batches over. What Airflow does not know, such as
    a run by hand, is left alone. Where Airflow does not answer, nothing is closed.
    """
    dag_id = f"imagesys_{ctx.country}"
    try:
        for run_id in runs.under_way(ctx.db):
            state = _state(ti, dag_id, run_id)
            if state in ("success", "failed"):
                log.info("run %s is over (%s): its row is closed", run_id, state)
                write(ctx.db, partial(runs.close, run_id=run_id, well=state == "success"))
    except DatabaseUnavailable:
        raise
    except Exception:
        log.exception("Could not ask for the state of the runs that count as under way")


def reconcile(ctx: Context, ti: Any) -> None:
    """Resolve the incidents of runs that have ended well, and mail that; quietly those of runs that are no more.

    Quietly, too, what its failure ends: a run that somebody has marked failed calls nobody back. ``ti`` is the task
    instance that asks.
    """
    for key, since in write(ctx.db, incidents.awaited_runs).items():
        dag_id, _, run_id = key.partition(" ")
        state = _state(ti, dag_id, run_id)
        if state == "success":
            row = runs.load(ctx.db, run_id) if dag_id == f"imagesys_{ctx.country}" else None
            write(ctx.db, partial(resolve_run, facts=facts_of(ctx.country, key, since, row)))
        elif state in ("failed", "gone"):
            kinds = incidents.ENDED_BY_FAILURE if state == "failed" else incidents.ABOUT_RUNS
            write(ctx.db, partial(incidents.resolve_runs, runs=[key], kinds=kinds))


def announce_missed(ctx: Context, ti: Any, task_ids: Sequence[str]) -> None:
    """Open incidents of runs that have failed lately and have or had none: the callback was lost."""
    dag_id, failed = f"imagesys_{ctx.country}", runs.failed_lately(ctx.db)
    if not failed:
        return
    first = min(row.finished_at for row in failed)
    notified = write(
        ctx.db, lambda connection: incidents.notified_runs(connection, incidents.IncidentKind.FAILED, first)
    )
    for row in failed:
        key = f"{dag_id} {row.run_id}"
        is_known = key in notified and ((resolved_at := notified[key]) is None or resolved_at > row.finished_at)
        if not is_known and _state(ti, dag_id, row.run_id) == "failed":
            announce_failure(ctx, facts_of(ctx.country, key, row.finished_at, row), task_ids)


def _state(ti: Any, dag_id: str, run_id: str) -> str:
    """Return the state of a run, as Airflow says: ``success``, ``failed``, ``gone`` or ``open``."""
    count = partial(ti.get_dr_count, dag_id=dag_id, run_ids=[run_id])
    for state in ("success", "failed"):
        if count(states=[state]):
            return state
    return "open" if count(states=None) else "gone"
