"""Incidents of a country's runs: one mail when a run is late, misses its deadline or fails, one when it is resolved.

The triggerer calls :func:`run_late` while the run goes on, the DAG processor :class:`RunFailed` and
:class:`RunEndedWell` once it has ended, whatever of it did or did not run. None of them ever changes a run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from imagesys_airflow.alerts.caught_up import caught_up_with, with_cause
from imagesys_airflow.alerts.failures import Failure, failures_of
from imagesys_airflow.alerts.mail import ask, notify
from imagesys_airflow.alerts.mail_texts import (
    RunFacts,
    failed_message,
    late_message,
    logged_message,
    over_message,
    progress_of,
    run_facts,
    waits_message,
)
from imagesys_airflow.connections import airflow_connection
from imagesys_lib.alerts import gathered, incidents, outbox
from imagesys_lib.alerts.incidents import IncidentKind
from imagesys_lib.alerts.message import Message, Sections
from imagesys_lib.context import Context, open_context
from imagesys_lib.runs import runs

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)


def announce(
    ctx: Context,
    facts: RunFacts,
    trouble: IncidentKind,
    message: Callable[[RunFacts], Message],
    failures: Sequence[Failure] = (),
) -> None:
    """Note what has befallen a run, and mail it if nobody has: directly, where the database does not answer."""

    def work(connection: Connection) -> None:
        known = facts
        if trouble is IncidentKind.FAILED:
            known = with_cause(connection, facts, failures)
            incidents.resolve_runs(connection, [facts.key], incidents.ENDED_BY_FAILURE)
            _mail_logged(connection, facts)
        lapses = incidents.BACKFILL_LAPSES_HOURS if facts.is_backfill else 0
        incidents.open_incident(connection, trouble, known.subject, message(known), run=known.key, lapses_hours=lapses)

    notify(ctx, work, message(facts))


# A run that is late


async def run_late(country: str, trouble: str, context: Mapping[str, Any]) -> None:
    """Notify people that a run has not ended in time: its deadlines' callback, run by the triggerer.

    Returns None: a value would be written to Airflow's database, and what cannot be ends the triggerer.
    """
    try:
        await asyncio.to_thread(_run_late, country, IncidentKind(trouble), context)
    except Exception:
        log.exception("The mail about a late run of %s could not be sent", country)


def _run_late(country: str, trouble: IncidentKind, context: Mapping[str, Any]) -> None:
    facts = run_facts(country, context["dag_run"], f"imagesys_{country}")
    if facts.state in ("success", "failed"):
        return  # Airflow keeps the deadlines of a run that failed in time
    with closing(open_context(country, resolver=airflow_connection)) as ctx:
        if facts.waits_until:
            announce(ctx, facts, IncidentKind.WAITS, waits_message)
            return
        try:
            db, _ = ctx.db, ctx.shared  # found before the clock runs
            progress = ask(db, lambda: _progress(ctx, facts))
        except Exception as error:
            log.warning("Cannot look the run up", exc_info=True)
            progress = (
                ("What is done, and what is still to do", (f"The database does not say: {error}",)),
                ("Likely cause", ("The database is away or does not answer. See `imagesys doctor`.",)),
            )
        if progress:
            deadline = context.get("deadline", {}).get("deadline_time", "")
            announce(ctx, facts, trouble, lambda known: late_message(known, trouble, deadline, progress))


def _progress(ctx: Context, facts: RunFacts) -> Sections:
    """Return what is done and left of a run, and why it is late; nothing where it has ended since its deadline."""
    from imagesys_lib.stages import report
    from imagesys_lib.stages.report import lateness

    row = runs.load(ctx.db, facts.run.run_id)
    if row is not None and row.state != "running":
        return ()
    summary = report.summarize(ctx, facts.run)
    delay = lateness.measured(ctx, facts.run, summary)
    to_do: Sections = (("Still to do", ("Everything.",)),)
    done = to_do if row is None else progress_of(summary, ingested=delay.ingested)
    return (*done, ("Likely cause", (lateness.likely_cause(delay),)))


# A run that has ended


@dataclass(frozen=True)
class _RunEnded:
    """What a DAG calls in the DAG processor when a run has ended."""

    country: str

    def __call__(self, context: TaskContext) -> None:
        """See Airflow. Never raises."""
        try:
            dag_run = context.get("dag_run")
            plain = dag_run.model_dump() if dag_run is not None else {"run_id": context["run_id"]}  # type: ignore[attr-defined]
            facts = run_facts(self.country, plain, context["dag"].dag_id)
            with closing(open_context(self.country, resolver=airflow_connection)) as ctx:
                self.notify(ctx, facts, context)
        except Exception:
            log.exception("The end of run %s of %s could not be mailed", context.get("run_id"), self.country)

    def notify(self, ctx: Context, facts: RunFacts, context: TaskContext) -> None:
        """Open or resolve incidents."""
        raise NotImplementedError


class RunFailed(_RunEnded):
    """A DAG's ``on_failure_callback``: one mail for the run, naming every failed task."""

    def notify(self, ctx: Context, facts: RunFacts, context: TaskContext) -> None:
        """See :func:`announce_failure`."""
        announce_failure(ctx, facts, list(context["dag"].task_ids), str(context.get("reason") or ""))


class RunEndedWell(_RunEnded):
    """A DAG's ``on_success_callback``: resolves the incidents of the run, its backfill, or earlier days.

    What it cannot, with the database away, the next ``heal`` does: see ``imagesys_reconcile``.
    """

    def notify(self, ctx: Context, facts: RunFacts, context: TaskContext) -> None:  # noqa: ARG002 - the other's needs
        """See :func:`resolve_run`."""
        notify(ctx, partial(resolve_run, facts=replace(facts, state="success")))


def announce_failure(ctx: Context, facts: RunFacts, task_ids: Sequence[str], reason: str = "") -> None:
    """Open the incident of a run that has failed, with what its tasks have left of why."""
    facts = replace(facts, state="failed")
    failures: list[Failure] = []
    try:
        failures = failures_of(facts.dag_id, facts.run.run_id, task_ids)
    except Exception as error:
        # Whatever is wrong with Airflow's own interface, the mail must go.
        log.warning("What failed in run %s cannot be read", facts.key, exc_info=True)
        reason = f"Airflow does not say which tasks failed: {error}"
    announce(ctx, facts, IncidentKind.FAILED, lambda known: failed_message(known, failures, reason), failures)


def resolve_run(connection: Connection, facts: RunFacts) -> None:
    """Resolve what waits for a run that has ended well, or is caught up with, and put the mails into the outbox."""
    _mail_logged(connection, facts)
    days = {facts.key: facts.day, **caught_up_with(connection, facts)}
    over = incidents.resolve_runs(connection, days, incidents.ABOUT_RUNS)
    if over:
        outbox.put(connection, over_message(facts, over, days))


def _mail_logged(connection: Connection, facts: RunFacts) -> None:
    if logged := gathered.take_messages(connection, facts.key):
        outbox.put(connection, logged_message(facts, logged))
