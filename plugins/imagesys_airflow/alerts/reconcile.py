"""Runs whose end nobody has told: no report closed their row, or the callback was lost, or somebody marked them.

Airflow is asked how those runs stand that count as under way, or that open incidents wait for. Called by each ``heal``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from imagesys_airflow.alerts.caught_up import facts_of
from imagesys_airflow.alerts.incidents import take_back, tell_failed
from imagesys_lib import runs
from imagesys_lib.alerts import incidents
from imagesys_lib.context import Context
from imagesys_lib.db.engine import Session, chunks, write
from imagesys_lib.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

_AT_ONCE = 50
"""Runs asked for in one request, which carries their ids in its address."""


def close_ended(ctx: Context, ti: Any) -> None:
    """Close the rows of runs that are over without their report's word: a task cleared alone, or a database away.

    Until then they count as under way, and no other run takes their batches over. What Airflow does not know, such as
    a run by hand, is left alone. Where Airflow does not answer, nothing is closed.
    """
    dag_id = f"imagesys_{ctx.country}"
    try:
        for run_id in runs.under_way(ctx.db):
            for state in ("success", "failed"):
                if _count(ti, dag_id, [run_id], [state]):
                    log.info("run %s is over (%s): its row is closed", run_id, state)
                    _close(ctx, run_id, well=state == "success")
    except DatabaseUnavailable:
        raise
    except Exception:
        log.exception("Could not look how the runs stand that count as under way")


def _close(ctx: Context, run_id: str, *, well: bool) -> None:
    write(ctx.db, lambda session: runs.close(session, run_id, well=well))


def reconcile(ctx: Context, ti: Any) -> None:
    """Close the incidents of runs that have ended well, and mail that; quietly those of runs that are no more.

    Quietly, too, what its failure ends: a run that somebody has marked failed calls nobody back. ``ti`` is the task
    instance that asks.
    """
    late = write(ctx.db, lambda session: incidents.waited_for(session, incidents.ENDED_BY_FAILURE))
    for key in late:
        dag_id, _, run_id = key.partition(" ")
        if _count(ti, dag_id, [run_id], ["failed"]):
            write(ctx.db, lambda session, key=key: _let_go(session, key, incidents.ENDED_BY_FAILURE))  # type: ignore[misc]
    since = write(ctx.db, incidents.waited_for)
    for dag_id, run_id, is_there in _over(ti, since):
        key = f"{dag_id} {run_id}"
        if is_there:
            row = runs.load(ctx.db, run_id) if dag_id == f"imagesys_{ctx.country}" else None
            facts = facts_of(ctx.country, key, since[key], row)
            write(ctx.db, lambda session, facts=facts: take_back(session, facts))  # type: ignore[misc]
        else:
            log.info("run %s is no more: nothing waits for it now", key)
            write(ctx.db, lambda session, key=key: _let_go(session, key))  # type: ignore[misc]


def announce_untold(ctx: Context, ti: Any, task_ids: Sequence[str]) -> None:
    """Tell of runs that have failed lately and of which no incident is or was: the callback was lost."""
    dag_id, failed = f"imagesys_{ctx.country}", runs.failed_lately(ctx.db)
    if not failed:
        return
    first = min(row.finished_at for row in failed)
    told = write(ctx.db, lambda session: incidents.told_of(session, incidents.Kind.FAILED, first))
    for row in failed:
        key = f"{dag_id} {row.run_id}"
        is_told = key in told and ((closed_at := told[key]) is None or closed_at > row.finished_at)
        if not is_told and _count(ti, dag_id, [row.run_id], ["failed"]):
            facts = replace(facts_of(ctx.country, key, row.finished_at, row), state="failed")
            tell_failed(ctx, facts, task_ids)


def _let_go(session: Session, key: str, kinds: Sequence[incidents.Kind] = incidents.ABOUT_RUNS) -> None:
    incidents.runs_ended(session, [key], kinds)


def _over(ti: Any, keys: Iterable[str]) -> Iterator[tuple[str, str, bool]]:
    """Go through those runs that have ended well, or that are no more. Mostly there are none: two requests say so."""
    pairs = sorted((dag_id, run_id) for dag_id, _, run_id in (key.partition(" ") for key in keys))
    for dag_id, own in groupby(pairs, key=lambda pair: pair[0]):
        for some in chunks([run_id for _, run_id in own], _AT_ONCE):
            if _count(ti, dag_id, some) == len(some) and not _count(ti, dag_id, some, ["success"]):
                continue
            for run_id in some:
                if _count(ti, dag_id, [run_id], ["success"]):
                    yield dag_id, run_id, True
                elif not _count(ti, dag_id, [run_id]):
                    yield dag_id, run_id, False


def _count(ti: Any, dag_id: str, run_ids: list[str], states: list[str] | None = None) -> int:
    return int(ti.get_dr_count(dag_id=dag_id, run_ids=run_ids, states=states))
