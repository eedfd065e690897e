"""Mails to the people who run a country: a run that is late, and one mail for a run that failed.

The late mail is sent by the triggerer while the run goes on; the failure mail by the DAG processor once the run has
ended, whatever of it did or did not run. Neither ever changes a run. Both go through the connection ``smtp_default``.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import html
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.mime.text import MIMEText
from typing import TYPE_CHECKING, Any

from airflow.providers.smtp.hooks.smtp import SmtpHook
from imagesys_connections import airflow_connection
from imagesys_failures import Failure, failures_of, run_url
from imagesys_operators import kind_of
from imagesys_retries import PreflightMissing

from imagesys_lib.config import CountryConfig, country_config
from imagesys_lib.context import open_context
from imagesys_lib.errors import WorkLost
from imagesys_lib.intervals import Interval, latest_complete_day
from imagesys_lib.runs import Kind, Run
from imagesys_lib.runs import load as load_run
from imagesys_lib.stages.report import Summary, summarize

if TYPE_CHECKING:
    from email.mime.multipart import MIMEMultipart

    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)

_LOOK_SECONDS = 20.0
"""A database that has not answered by then is itself the news; the mail goes out without figures."""

_SHOWN_FAILURES = 20

HOW_TO_RERUN = (
    "Mend what the messages name. Then open the run, choose the failed task and press Clear (Shift+C), with "
    "downstream. Finished work is not repeated, and whatever is left undone the next daily run takes up."
)
HOW_TO_HURRY = (
    "Open the run and look at what is running: its log tells how far it is. Tasks that wait for a slot mean that the "
    "pools imagesys_download and imagesys_thumbnail are full; the log of a slow batch names the hosts it waits for. "
    "Nothing has to be done for the run to end by itself; clearing a hung task is safe."
)


@dataclass(frozen=True)
class Message:
    """A mail in parts: a heading and, under titles, paragraphs or items, some with a link."""

    subject: str
    intro: str
    sections: tuple[tuple[str, tuple[str, ...]], ...]
    links: Mapping[str, str]

    def text(self) -> str:
        """Return the plain part."""
        lines = [self.intro]
        for title, items in self.sections:
            lines += ["", title]
            for item in items:
                lines += ["  - " + item.replace("\n", "\n    ")]
                lines += [f"    {self.links[item]}"] if item in self.links else []
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """Return the same as HTML."""
        parts = [f"<p>{_escape(self.intro)}</p>"]
        for title, items in self.sections:
            rows = "".join(f"<li>{self._item(item)}</li>" for item in items)
            parts.append(f"<h3>{_escape(title)}</h3><ul>{rows}</ul>")
        return "\n".join(parts)

    def _item(self, item: str) -> str:
        link = self.links.get(item)
        return f'<a href="{html.escape(link)}">{_escape(item)}</a>' if link else _escape(item)


def _escape(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")


class TwoPartSmtpHook(SmtpHook):
    """The provider's hook, which knows HTML only, with a plain part beside it."""

    plain = ""

    def _build_mime_message(self, *args: Any, **kwargs: Any) -> tuple[MIMEMultipart, list[str]]:
        message, recipients = super()._build_mime_message(*args, **kwargs)
        message.get_payload().insert(0, MIMEText(self.plain, "plain", "utf-8"))
        return message, recipients


def _hook(message: Message) -> TwoPartSmtpHook:
    hook = TwoPartSmtpHook(smtp_conn_id="smtp_default")
    hook.plain = message.text()
    return hook


def send(message: Message, to: Sequence[str]) -> None:
    """Send a mail from a task or the DAG processor; what cannot be sent is logged, for a mail never changes a run."""
    try:
        with _hook(message) as hook:
            hook.send_email_smtp(**_as_mail(message, to))
    except Exception:
        log.exception("The mail %r could not be sent", message.subject)


def _as_mail(message: Message, to: Sequence[str]) -> dict[str, Any]:
    return {
        "to": list(to),
        "subject": message.subject,
        "html_content": message.html(),
        "mime_subtype": "alternative",
    }


@dataclass(frozen=True)
class RunFacts:
    """What both mails say of a run."""

    config: CountryConfig
    dag_id: str
    run: Run
    state: str

    @property
    def day(self) -> str:
        """The local day that the run is about."""
        return f"{self.run.interval.start.astimezone(self.config.zone):%Y-%m-%d}"

    @property
    def link(self) -> str:
        """The run's page."""
        return run_url(self.dag_id, self.run.run_id)

    def section(self) -> tuple[str, tuple[str, ...]]:
        """The lines that name the run."""
        lines = (
            f"DAG {self.dag_id}",
            f"Run {self.run.run_id} ({self.run.kind.value}), state {self.state}",
            f"Interval {self.run.interval} (the local day {self.day} in {self.config.time_zone})",
        )
        return "The run", lines

    def links(self) -> dict[str, str]:
        """The link that belongs to :meth:`section`."""
        return {self.section()[1][1]: self.link}


def run_facts(country: str, dag_run: Mapping[str, Any], dag_id: str) -> RunFacts:
    """Read a run from Airflow's plain form of it (ISO strings or datetimes)."""
    config = country_config(country)
    start, end = _instant(dag_run.get("data_interval_start")), _instant(dag_run.get("data_interval_end"))
    asked = _instant(dag_run.get("run_after")) or dt.datetime.now(dt.timezone.utc)
    interval = Interval(start, end) if start and end and start < end else latest_complete_day(asked, config.zone)
    run_id = str(dag_run.get("dag_run_id") or dag_run.get("run_id"))
    state = dag_run.get("state")
    run = Run(run_id, kind_of(dag_run.get("run_type")), interval)
    return RunFacts(config, dag_id, run, str(getattr(state, "value", state)))


def _instant(value: Any) -> dt.datetime | None:
    if value is None or isinstance(value, dt.datetime):
        return value
    return dt.datetime.fromisoformat(str(value).replace("Z", "+00:00"))


# A run that is late


async def deadline_missed(country: str, context: Mapping[str, Any]) -> None:
    """Tell that a run has not ended in time: its deadline's callback, run by the triggerer.

    Returns None: a value would be written to Airflow's database, and what cannot be ends the triggerer.
    """
    dag_run = context["dag_run"]
    facts = run_facts(country, dag_run, f"imagesys_{country}")
    if facts.run.kind is Kind.BACKFILL:
        # Queued together, they would all be late together, before they have begun.
        log.info("%s is late, but a backfill promises no time: no mail", facts.run.run_id)
        return
    try:
        progress = await asyncio.wait_for(asyncio.to_thread(_look, country, facts.run), _LOOK_SECONDS)
    except Exception as error:
        # Whatever is wrong with the database, the mail must go.
        log.warning("Cannot look the run up", exc_info=True)
        told = str(error) or f"no answer within {_LOOK_SECONDS:.0f} s"
        progress = (("What is done, and what is still to do", (f"The database does not say: {told}",)),)
    message = late_message(facts, context.get("deadline", {}).get("deadline_time", ""), progress)
    try:
        async with _hook(message) as hook:
            await hook.asend_email_smtp(**_as_mail(message, facts.config.alerts.mail_to))
    except Exception:
        log.exception("The mail about %s could not be sent", facts.run.run_id)


Sections = tuple[tuple[str, tuple[str, ...]], ...]


def _look(country: str, run: Run) -> Sections:
    ctx = open_context(country, resolver=airflow_connection)
    try:
        row = load_run(ctx.db, run.run_id)
        if row is None:
            return (("Still to do", ("Everything: the run has not begun. Is its preflight failing or waiting?",)),)
        return progress_of(summarize(ctx, run), ingested=row.ingested_at is not None)
    finally:
        ctx.close()


def progress_of(summary: Summary, *, ingested: bool) -> Sections:
    """Return what a run has done and what is still to do, from its summary."""
    done = [f"{count} images {state}" for state, count in sorted(summary.states.items())]
    done += [
        f"{sum(reasons.values())} {state}, with reason: " + ", ".join(f"{c} {r}" for r, c in sorted(reasons.items()))
        for state, reasons in sorted(summary.reasons.items())
    ]
    to_do = [] if ingested else ["The ETL's rows are not all in."]
    if summary.unfinished:
        images = sum(summary.unfinished.values())
        to_do.append(f"{images} images in {len(summary.unfinished)} of {summary.batches} batches")
    waiting = summary.states.get("thumbnailed", 0)
    to_do += [f"{waiting} images to be published"] if waiting else []
    to_do += [
        f"Node {name} is behind by {node.backlog} images" + (f": {node.fault}" if node.fault else "")
        for name, node in summary.nodes.items()
        if node.backlog or node.fault
    ]
    return (
        ("Done", tuple(done) or ("Nothing yet.",)),
        ("Still to do", tuple(to_do) or ("No image: only the checks and the report.",)),
    )


def late_message(facts: RunFacts, deadline: Any, progress: Sections) -> Message:
    """Return the mail about a run that missed its deadline."""
    minutes = f"{facts.config.alerts.deadline_minutes:g}"
    return Message(
        subject=f"[ImageSys] {facts.config.country.upper()} run of {facts.day} is late",
        intro=(
            f"The run of {facts.config.name} for {facts.day} was not done {minutes} minutes after it was queued "
            f"(deadline {deadline})."
        ),
        sections=(facts.section(), *progress, ("What to do", (HOW_TO_HURRY,))),
        links=facts.links(),
    )


# A run that failed


@dataclass(frozen=True)
class FailureMail:
    """The DAG's ``on_failure_callback``: one mail for the run, naming every failed task."""

    country: str

    def __call__(self, context: TaskContext) -> None:
        """Send the mail; runs in the DAG processor."""
        try:
            message, to = self._message(context)
            with _hook(message) as hook:
                hook.send_email_smtp(**_as_mail(message, to))
        except Exception:
            log.exception("The mail about run %s of %s could not be sent", context.get("run_id"), self.country)

    def _message(self, context: TaskContext) -> tuple[Message, Sequence[str]]:
        dag, dag_run = context["dag"], context.get("dag_run")
        plain = dag_run.model_dump() if dag_run is not None else {"run_id": context["run_id"]}
        facts = run_facts(self.country, {**plain, "state": "failed"}, dag.dag_id)
        failures = failures_of(dag.dag_id, facts.run.run_id, list(dag.task_ids), facts.config.nodes)
        return failed_message(facts, failures, str(context.get("reason") or "")), facts.config.alerts.mail_to


def failed_message(facts: RunFacts, failures: Sequence[Failure], reason: str) -> Message:
    """Return the mail about a failed run: what was lost, how to run it again, and each failed task."""
    verdicts = [failure for failure in failures if failure.kind == WorkLost.__name__]
    causes = [f for f in failures if f not in verdicts and f.kind != PreflightMissing.__name__]
    lost = [line for verdict in verdicts for line in verdict.message.splitlines()]
    told = {_told(failure): failure.log_url for failure in causes[:_SHOWN_FAILURES]}
    more = len(causes) - len(told)
    tasks = (*told, *([f"... and {more} more"] if more > 0 else []))
    reports = {f"{verdict.name}, which judges the run": verdict.log_url for verdict in verdicts}
    fallback = reason or "No task said what was lost; the report did not run."
    return Message(
        subject=f"[ImageSys] {facts.config.country.upper()} run of {facts.day} failed",
        intro=f"The run of {facts.config.name} for {facts.day} failed. What it finished is kept.",
        sections=(
            facts.section(),
            ("What was lost", tuple(lost) or (fallback,)),
            ("Failed tasks", (*tasks, *reports) or ("None: see the run.",)),
            ("How to run it again", (HOW_TO_RERUN,)),
        ),
        links={**facts.links(), **told, **reports},
    )


def _told(failure: Failure) -> str:
    tried = f", try {failure.try_number}" if failure.try_number else ""
    return f"{failure.name}{tried}: {failure.message}"
