"""What tells of a country's runs: one mail when a run is late, misses its deadline or fails, one when that is over.

The triggerer calls :func:`run_late` while the run goes on, the DAG processor :class:`RunFailed` and
:class:`RunEndedWell` once it has ended, whatever of it did or did not run. None of them ever changes a run.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from imagesys_connections import airflow_connection
from imagesys_days import caught_up_with, with_cause
from imagesys_failures import Failure, failures_of
from imagesys_mail import keep, marks, post, post_files, send_once
from imagesys_mail_texts import (
    RunFacts,
    failed_message,
    late_message,
    logged_message,
    over_message,
    progress_of,
    run_facts,
    waits_message,
)

from imagesys_lib.alerts import gathered, incidents, outbox
from imagesys_lib.alerts.incidents import Kind as Trouble
from imagesys_lib.alerts.incidents import Over
from imagesys_lib.alerts.marks import Told
from imagesys_lib.alerts.message import Message, Sections
from imagesys_lib.context import Context, open_context
from imagesys_lib.db.engine import Session, probe, write
from imagesys_lib.runs import load as load_run
from imagesys_lib.runs import naive_utc

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)
T = TypeVar("T")

_LOOK_SECONDS = 20.0
"""A database that has not answered by then is itself the news; the mail goes out without figures, and directly."""


class EndedMeanwhile(Exception):
    """The run has ended between its deadline and now."""


def ask(ctx: Context, work: Callable[[], T]) -> T:
    """Return what ``work`` gets from the database, or raise soon; a thread that hangs is left behind."""
    db = ctx.db  # found before the clock runs: Airflow's own first look-up may take it half a minute
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            probe(db, patience=_LOOK_SECONDS / 2)
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_LOOK_SECONDS)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"no answer within {_LOOK_SECONDS:.0f} s")
    return done[0]


def announce(
    ctx: Context,
    facts: RunFacts,
    trouble: Trouble,
    message: Callable[[RunFacts], Message],
    failures: Sequence[Failure] = (),
) -> None:
    """Note what has befallen a run, and mail it if nobody has: directly, where the database does not answer."""
    given_up = threading.Event()
    marked = _told_directly_of(facts, lapses_hours=incidents.BACKFILL_LAPSES_HOURS)

    def work(session: Session) -> None:
        if given_up.is_set():
            return  # the database came back when the mail had gone
        known = with_cause(session, facts, failures) if trouble is Trouble.FAILED else facts
        _adopt(session, known, marked)
        if trouble is Trouble.FAILED:
            incidents.runs_ended(session, [facts.key], incidents.ENDED_BY_FAILURE)
            _tell_logged(session, facts)
        lapses = incidents.BACKFILL_LAPSES_HOURS if facts.is_backfill else None
        if incidents.begin(session, trouble, known.subject, known.key, lapses_hours=lapses):
            outbox.put(session, message(known))

    try:
        ask(ctx, lambda: write(ctx.db, work))
    except Exception:
        given_up.set()
        # Whatever is wrong with the database, the mail must go.
        log.warning("The database keeps no incidents now: mailing directly", exc_info=True)
        lapses_hours = incidents.BACKFILL_LAPSES_HOURS
        send_once(_mark(trouble, facts), message(facts), [ctx.country], lapses_hours=lapses_hours, run=facts.key)
    else:
        _forget(facts, marked)
        post(ctx)


# What this machine has told without a database


def _mark(trouble: Trouble, facts: RunFacts) -> str:
    return f"{trouble.value} {facts.subject}"


def _told_directly_of(facts: RunFacts, lapses_hours: float | None = None) -> dict[Trouble, Told]:
    told = {trouble: marks().told(_mark(trouble, facts), lapses_hours=lapses_hours) for trouble in incidents.ABOUT_RUNS}
    return {trouble: mark for trouble, mark in told.items() if mark}


def _adopt(session: Session, facts: RunFacts, marked: Mapping[Trouble, Told]) -> None:
    """Keep as incidents, from now on, what was told directly: so it is told once, and its end with all its runs'."""
    for trouble, mark in marked.items():
        for run in mark.runs or (facts.key,):
            incidents.begin(session, trouble, facts.subject, run, opened=naive_utc(mark.since))


def _forget(facts: RunFacts, marked: Iterable[Trouble]) -> None:
    for trouble in marked:
        marks().forget(_mark(trouble, facts))


# A run that is late


async def run_late(country: str, trouble: str, context: Mapping[str, Any]) -> None:
    """Tell that a run has not ended in time: its deadlines' callback, run by the triggerer.

    Returns None: a value would be written to Airflow's database, and what cannot be ends the triggerer.
    """
    try:
        await asyncio.to_thread(_run_late, country, Trouble(trouble), context)
    except Exception:
        log.exception("The mail about a late run of %s could not be sent", country)


def _run_late(country: str, trouble: Trouble, context: Mapping[str, Any]) -> None:
    facts = run_facts(country, context["dag_run"], f"imagesys_{country}")
    if facts.state in ("success", "failed"):
        return  # Airflow keeps the deadlines of a run that failed in time
    if facts.waits_until:
        with closing(open_context(country, resolver=airflow_connection)) as ctx:
            announce(ctx, facts, Trouble.WAITS, waits_message)
        return
    with closing(open_context(country, resolver=airflow_connection)) as ctx:
        try:
            _ = ctx.shared  # like ctx.db in `ask`
            progress = ask(ctx, lambda: _look(ctx, facts))
        except EndedMeanwhile:
            return
        except Exception as error:
            log.warning("Cannot look the run up", exc_info=True)
            progress = (
                ("What is done, and what is still to do", (f"The database does not say: {error}",)),
                ("Likely cause", ("The database is away or does not answer. See `imagesys doctor`.",)),
            )
        deadline = context.get("deadline", {}).get("deadline_time", "")
        announce(ctx, facts, trouble, lambda known: late_message(known, trouble, deadline, progress))


def _look(ctx: Context, facts: RunFacts) -> Sections:
    lateness = import_module("imagesys_lib.stages.lateness")  # every task reads its DAG, and few are late
    summarize = import_module("imagesys_lib.stages.report").summarize
    row = load_run(ctx.db, facts.run.run_id)
    if row is not None and row.state != "running":
        raise EndedMeanwhile
    summary = summarize(ctx, facts.run)
    delay = lateness.look(ctx, facts.run, summary)
    if row is None:
        told: Sections = (("Still to do", ("Everything.",)),)
    else:
        told = progress_of(summary, ingested=delay.ingested)
    return (*told, ("Likely cause", (lateness.likely_cause(delay),)))


# A run that has ended


@dataclass(frozen=True)
class RunFailed:
    """A DAG's ``on_failure_callback``: one mail for the run, naming every failed task."""

    country: str

    def __call__(self, context: TaskContext) -> None:
        """Send the mail; runs in the DAG processor."""
        try:
            facts = _facts(self.country, context, "failed")
            with closing(open_context(self.country, resolver=airflow_connection)) as ctx:
                tell_failed(ctx, facts, list(context["dag"].task_ids), str(context.get("reason") or ""))
        except Exception:
            log.exception("The mail about run %s of %s could not be sent", context.get("run_id"), self.country)


def tell_failed(ctx: Context, facts: RunFacts, task_ids: Sequence[str], reason: str = "") -> None:
    """Tell that a run has failed, with what its tasks have left of why."""
    failures: list[Failure] = []
    try:
        failures = failures_of(facts.dag_id, facts.run.run_id, task_ids)
    except Exception as error:
        # Whatever is wrong with Airflow's own interface, the mail must go.
        log.warning("What failed in run %s cannot be read", facts.key, exc_info=True)
        reason = f"Airflow does not say which tasks failed: {error}"
    announce(ctx, facts, Trouble.FAILED, lambda known: failed_message(known, failures, reason), failures)


@dataclass(frozen=True)
class RunEndedWell:
    """A DAG's ``on_success_callback``: takes back what had been told of the run, its backfill, or earlier days.

    What it cannot, with the database away, the next ``heal`` does: see ``imagesys_reconcile``.
    """

    country: str

    def __call__(self, context: TaskContext) -> None:
        """Send the mail; runs in the DAG processor."""
        try:
            facts = _facts(self.country, context, "success")
            with closing(open_context(self.country, resolver=airflow_connection)) as ctx:
                _ended_well(ctx, facts)
        except Exception:
            log.exception("Cannot see whether run %s had been told of", context.get("run_id"))


def _ended_well(ctx: Context, facts: RunFacts) -> None:
    marked = _told_directly_of(facts)
    given_up = threading.Event()

    def work(session: Session) -> None:
        if not given_up.is_set():
            _adopt(session, facts, marked)
            take_back(session, facts)

    try:
        ask(ctx, lambda: write(ctx.db, work))
    except Exception:
        given_up.set()
        log.warning("The database does not say what had been told of the run", exc_info=True)
        # How a backfill's other days stand is known only when the database is back.
        direct = [] if facts.is_backfill else [Over(t, facts.subject, mark.since) for t, mark in marked.items()]
        if direct and keep(over_message(facts, direct), [ctx.country]):
            _forget(facts, marked)
        post_files()
    else:
        _forget(facts, marked)
        post(ctx)


def take_back(session: Session, facts: RunFacts) -> None:
    """Close what waits for a run that has ended well, or is caught up with, and put the mails into the outbox."""
    _tell_logged(session, facts)
    days = {facts.key: facts.day, **caught_up_with(session, facts)}
    over = incidents.runs_ended(session, days, incidents.ABOUT_RUNS)
    if over:
        outbox.put(session, over_message(facts, over, days))


def _tell_logged(session: Session, facts: RunFacts) -> None:
    told = gathered.take(session, facts.key)
    if told:
        outbox.put(session, logged_message(facts, told))


def _facts(country: str, context: TaskContext, state: str) -> RunFacts:
    dag_run = context.get("dag_run")
    plain = dag_run.model_dump() if dag_run is not None else {"run_id": context["run_id"]}
    return run_facts(country, {**plain, "state": state}, context["dag"].dag_id)
