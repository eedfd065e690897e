"""What the mails about runs say."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from imagesys_airflow.alerts.failures import Failure, run_url
from imagesys_airflow.dag_run import kind_of
from imagesys_airflow.scheduling.retries import PreflightMissing
from imagesys_lib.alerts.incidents import IncidentKind, Resolved
from imagesys_lib.alerts.message import Message, Sections
from imagesys_lib.config import CountryConfig, country_config
from imagesys_lib.config.intervals import Interval, latest_complete_day
from imagesys_lib.errors import WorkLost
from imagesys_lib.images.states import outcome
from imagesys_lib.runs.runs import Run, RunKind

if TYPE_CHECKING:
    from imagesys_lib.stages.report import Summary

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
HOW_TO_END_WAITING = (
    "Mark it failed: open the run, press Mark Run as..., and choose failed. A daily run that is due then starts by "
    "itself within some minutes, once Airflow has read the DAG's file again. To do what this one was meant to do, "
    "trigger a run with an empty date, or backfill the day."
)
ONE_WHILE_AWAY = (
    "Further daily runs that fail for this alone get no mail of their own. The next one that ends well takes "
    "up what is left undone, and a mail says so."
)
ONE_FOR_ALL_DAYS = (
    "Other days of this backfill that fare alike get no mail of their own. A mail follows when all of them "
    "have ended well."
)


@dataclass(frozen=True)
class RunFacts:
    """What all mails say of a run.

    ``away``: the nodes that a failed daily run is red for, each with its reason, where it is for nothing else.
    ``waits_until``: the date in the future for which Airflow lets it wait.
    """

    config: CountryConfig
    dag_id: str
    run: Run
    state: str
    away: tuple[str, ...] = ()
    waits_until: dt.datetime | None = None

    @property
    def is_check(self) -> bool:
        """Whether the run is a weekly full check."""
        return self.dag_id.startswith("imagesys_check_")

    @property
    def day(self) -> str:
        """The local day that the run is about; a check is about the day on which it is made."""
        instant = self.run.interval.end if self.is_check else self.run.interval.start
        return f"{instant.astimezone(self.config.zone):%Y-%m-%d}"

    @property
    def what(self) -> str:
        """What people call the run."""
        return "weekly check" if self.is_check else "run"

    @property
    def key(self) -> str:
        """The run's name among all DAGs."""
        return f"{self.dag_id} {self.run.run_id}"

    @property
    def is_backfill(self) -> bool:
        """Whether the run is one of a backfill, whose runs share their mails."""
        return self.run.kind is RunKind.BACKFILL

    @property
    def subject(self) -> str:
        """What an incident is about: this run, its backfill as a whole, or the nodes that are away day after day."""
        if self.is_backfill:
            return f"{self.dag_id} backfill"
        return f"{self.dag_id} without {', '.join(self.away)}" if self.away else self.key

    def title(self, what: str) -> str:
        """Return a mail's subject."""
        about = "backfill" if self.is_backfill else f"{self.what} of {self.day}"
        return f"[ImageSys] {self.config.country.upper()} {about} {what}"

    def section(self) -> tuple[str, tuple[str, ...]]:
        """The lines that name the run."""
        lines = (
            f"DAG {self.dag_id}",
            f"Run {self.run.run_id} ({self.run.kind.value}), state {self.state}",
            *(() if self.is_check else (self._interval,)),
        )
        return "The run", lines

    @property
    def _interval(self) -> str:
        return f"Interval {self.run.interval} (the local day {self.day} in {self.config.time_zone})"

    def links(self) -> dict[str, str]:
        """The link that belongs to :meth:`section`."""
        return {self.section()[1][1]: run_url(self.dag_id, self.run.run_id)}

    def other_days(self) -> Sections:
        """The lines about other days, where no mail of their own follows."""
        if self.is_backfill:
            return (("The backfill", (ONE_FOR_ALL_DAYS,)),)
        return (("The next days", (ONE_WHILE_AWAY,)),) if self.away else ()


def run_facts(country: str, dag_run: Mapping[str, Any], dag_id: str) -> RunFacts:
    """Read a run from Airflow's plain form of it (ISO strings or datetimes)."""
    config = country_config(country)
    start, end = _instant(dag_run.get("data_interval_start")), _instant(dag_run.get("data_interval_end"))
    asked = _instant(dag_run.get("run_after")) or dt.datetime.now(dt.timezone.utc)
    interval = latest_complete_day(asked, config.zone)
    if start and end:
        with contextlib.suppress(ValueError):  # one that cannot be, for which its preflight has failed
            interval = Interval(start, end)
    run_id = str(dag_run.get("dag_run_id") or dag_run.get("run_id"))
    state = dag_run.get("state")
    run = Run(run_id, kind_of(dag_run.get("run_type")), interval)
    dates = [date for date in (_instant(dag_run.get("logical_date")), _instant(dag_run.get("run_after"))) if date]
    waits_until = max((date for date in dates if date > dt.datetime.now(dt.timezone.utc)), default=None)
    return RunFacts(config, dag_id, run, str(getattr(state, "value", state)), waits_until=waits_until)


def _instant(value: Any) -> dt.datetime | None:
    if value is None or isinstance(value, dt.datetime):
        return value
    return dt.datetime.fromisoformat(str(value).replace("Z", "+00:00"))


def progress_of(summary: Summary, *, ingested: bool) -> Sections:
    """Return what a run has done and what is still to do, from its summary."""
    done = [f"{count} images {state}" for state, count in sorted(summary.states.items())]
    done += [
        f"{sum(reasons.values())} {outcome(state)}, with reason: "
        + ", ".join(f"{c} {r}" for r, c in sorted(reasons.items()))
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


def late_message(facts: RunFacts, trouble: IncidentKind, deadline: Any, progress: Sections) -> Message:
    """Return the mail about a run that was not done in time: a warning, or the missed deadline."""
    alerts = facts.config.alerts
    missed = trouble is IncidentKind.MISSED
    minutes = alerts.deadline_minutes if missed else alerts.warn_minutes
    limit = f"deadline {deadline}" if missed else f"the deadline comes after {alerts.deadline_minutes:g}"
    return Message(
        subject=facts.title("missed its deadline" if missed else "is late"),
        intro=(
            f"The run of {facts.config.name} for {facts.day} was not done {minutes:g} minutes after it was queued "
            f"({limit})."
        ),
        sections=(facts.section(), *progress, *facts.other_days(), ("What to do", (HOW_TO_HURRY,))),
        links=facts.links(),
    )


def waits_message(facts: RunFacts) -> Message:
    """Return the mail about a run that Airflow lets wait for its date."""
    until = facts.waits_until
    return Message(
        subject=facts.title("waits for a date in the future"),
        intro=(
            f"This run's logical date lies in the future: it waits until {until:%Y-%m-%d %H:%M} UTC and holds the only "
            f"slot of {facts.config.name}. Until it is marked failed, no other run of the DAG starts but backfills."
        ),
        sections=(facts.section(), ("What to do", (HOW_TO_END_WAITING,))),
        links=facts.links(),
    )


def failed_message(facts: RunFacts, failures: Sequence[Failure], reason: str) -> Message:
    """Return the mail about a failed run: what was lost, how to run it again, and each failed task."""
    verdicts = [failure for failure in failures if failure.kind == WorkLost.__name__]
    causes = [f for f in failures if f not in verdicts and f.kind != PreflightMissing.__name__]
    lost = [line for verdict in verdicts for line in verdict.message.splitlines()]
    tasks = {_line(failure): failure.log_url for failure in causes[:_SHOWN_FAILURES]}
    more = [f"... and {len(causes) - len(tasks)} more"] if len(causes) > len(tasks) else []
    reports = {f"{verdict.name}, which judges the run": verdict.log_url for verdict in verdicts}
    fallback = reason or "No task said what was lost; the report did not run."
    return Message(
        subject=facts.title("failed"),
        intro=f"The {facts.what} of {facts.config.name} for {facts.day} failed. What it finished is kept.",
        sections=(
            facts.section(),
            ("What was lost", tuple(lost) or (fallback,)),
            ("Failed tasks", (*tasks, *more, *reports) or ("None: see the run.",)),
            *facts.other_days(),
            ("How to run it again", (HOW_TO_RERUN,)),
        ),
        links={**facts.links(), **tasks, **reports},
    )


def _line(failure: Failure) -> str:
    tried = f", try {failure.try_number}" if failure.try_number else ""
    return f"{failure.name}{tried}: {failure.message}"


def logged_message(facts: RunFacts, logged: Sections) -> Message:
    """Return the mail with what a run's tasks have logged from the level on that is mailed."""
    return Message(
        subject=f"[ImageSys] {facts.config.country.upper()} {facts.what} of {facts.day} logged messages",
        intro="What the run's tasks logged from `alerts.mail_level` on. The run's colour does not depend on it.",
        sections=(facts.section(), *logged),
        links=facts.links(),
    )


_WAS = {
    IncidentKind.LATE: "late",
    IncidentKind.MISSED: "past its deadline",
    IncidentKind.WAITS: "waiting for its date",
    IncidentKind.FAILED: "failed",
}


def over_message(facts: RunFacts, over: Sequence[Resolved], days: Mapping[str, str] = MappingProxyType({})) -> Message:
    """Return the mail about resolved incidents of a run, a backfill or earlier days, once it has ended well.

    ``days`` has the day of each run that it has brought to an end.
    """
    incidents = tuple(
        f"{_which(facts, incident, days)} {_WAS[incident.kind]}, reported {incident.since}." for incident in over
    )
    earlier = sorted({days[key] for incident in over for key in incident.runs if key != facts.key})
    more = f" With it, nothing is left of what was reported of {', '.join(earlier)}." if earlier else ""
    last = " All its days that were reported have." if facts.is_backfill else ""
    return Message(
        subject=facts.title("has ended well"),
        intro=f"The {facts.what} of {facts.config.name} for {facts.day} has ended well.{last}{more}",
        sections=(facts.section(), ("What was reported before", incidents), ("What to do", ("Nothing.",))),
        links=facts.links(),
    )


def _which(facts: RunFacts, incident: Resolved, days: Mapping[str, str]) -> str:
    if set(incident.runs) <= {facts.key}:
        return "It was"
    return f"{', '.join(sorted(days[key] for key in incident.runs))}:"
