"""Incidents of runs whose end nobody has told: the callback was lost, the run deleted or marked by hand.

Airflow is asked how those runs stand that open incidents wait for. Called by each ``heal``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from imagesys_days import facts_of
from imagesys_incidents import take_back

from imagesys_lib.alerts import incidents
from imagesys_lib.context import Context
from imagesys_lib.db.engine import Session, chunks, write
from imagesys_lib.runs import load as load_run

log = logging.getLogger(__name__)

_AT_ONCE = 50
"""Runs asked for in one request, which carries their ids in its address."""


def reconcile(ctx: Context, ti: Any) -> None:
    """Close the incidents of runs that have ended well, and mail that; quietly those of runs that are no more.

    ``ti`` is the task instance that asks.
    """
    since = write(ctx.db, incidents.waited_for)
    for dag_id, run_id, is_there in _over(ti, since):
        key = f"{dag_id} {run_id}"
        if is_there:
            row = load_run(ctx.db, run_id) if dag_id == f"imagesys_{ctx.country}" else None
            facts = facts_of(ctx.country, key, since[key], row)
            write(ctx.db, lambda session, facts=facts: take_back(session, facts))
        else:
            log.info("run %s is no more: nothing waits for it now", key)
            write(ctx.db, lambda session, key=key: _let_go(session, key))


def _let_go(session: Session, key: str) -> None:
    incidents.runs_ended(session, [key], incidents.ABOUT_RUNS)


def _over(ti: Any, keys: Iterable[str]) -> Iterator[tuple[str, str, bool]]:
    """Go through those runs that have ended well, or that are no more. Mostly there are none: two requests say so."""
    pairs = sorted((dag_id, run_id) for dag_id, _, run_id in (key.partition(" ") for key in keys))
    for dag_id, own in groupby(pairs, key=lambda pair: pair[0]):
        for runs in chunks([run_id for _, run_id in own], _AT_ONCE):
            if _count(ti, dag_id, runs) == len(runs) and not _count(ti, dag_id, runs, ["success"]):
                continue
            for run_id in runs:
                if _count(ti, dag_id, [run_id], ["success"]):
                    yield dag_id, run_id, True
                elif not _count(ti, dag_id, [run_id]):
                    yield dag_id, run_id, False


def _count(ti: Any, dag_id: str, runs: list[str], states: list[str] | None = None) -> int:
    return int(ti.get_dr_count(dag_id=dag_id, run_ids=runs, states=states))
