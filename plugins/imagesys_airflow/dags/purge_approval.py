"""The DAG in which a person answers purges above the cap: ask, then carry out what was approved.

Apart from the daily DAGs, because a task that waits for a person keeps its run open, and the next day would wait.
Whatever happens here, the row of the proposal decides: a task that is cleared, or comes late, does nothing twice.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import DAG, BaseOperator, task_group
from airflow.sdk.exceptions import AirflowSkipException
from sqlalchemy import Connection

from imagesys_airflow.alerts.failures import failures_of, run_id_of, run_url
from imagesys_airflow.alerts.logged import mailing_logged
from imagesys_airflow.alerts.mail import notify_failed_run, notify_good_run, post
from imagesys_airflow.connections import airflow_connection
from imagesys_airflow.dags.common import manual_section, service_dag
from imagesys_airflow.operators.country import Progress, as_xcom
from imagesys_lib.alerts import outbox
from imagesys_lib.alerts.message import Message
from imagesys_lib.config import CountryConfig, broken_config
from imagesys_lib.context import Context, open_context
from imagesys_lib.errors import ImageSysError
from imagesys_lib.output.printable import printable
from imagesys_lib.stages.purge import carry_out, proposals
from imagesys_lib.stages.purge.rules import TOLERANCE_PERCENT, WHY, Proposal, live_of

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)

DAG_ID = "imagesys_purge_approval"
FIND, ASK, CARRY_OUT = "find", "ask", "carry_out"
_NAME = "{{ task.proposal['country'] }}, proposal {{ task.proposal['proposal_id'] }}"


class EtlHalfLoaded(ImageSysError):
    """The ETL shows too little at the moment for an approved purge to be carried out."""


def approval_text(config: CountryConfig, proposal: Proposal) -> tuple[str, str]:
    """Return the headline and the text (Markdown) that a person decides by."""
    live, settings = live_of(proposal.counts), config.purge
    share = f"{100 * live / proposal.live:.1f} %" if proposal.live else "all"
    rules = "\n".join(
        f"| {rule.value}: {WHY[rule]} | {count.due} | {count.live} |" for rule, count in sorted(proposal.counts.items())
    )
    samples = "\n".join(f"- {sample['rule']}: `{_quotable(sample['url'])}`" for sample in proposal.samples)
    body = f"""\
{live} of {proposal.live} live images ({share}) are due; unasked, a purge takes {settings.cap_percent:g} % at most.

| rule | images due | of them live |
| --- | ---: | ---: |
{rules}

Some of them:

{samples}

**Approve** takes off the site what is then still due; where that is more than these numbers and {TOLERANCE_PERCENT} %,
nothing goes and a person is asked anew. Files leave the nodes {settings.grace_hours:g} hours later; until then what is
listed again comes back by itself.

**Reject** changes nothing, and nobody is asked again for {settings.ask_again_days:g} days unless much more is due.
No answer within {settings.approval_hours:g} hours means reject.
"""
    return f"{config.name}: purge {live} of {proposal.live} live images ({share})?", body


def _quotable(url: str) -> str:
    return printable(url).replace("`", "%60")


def invitation(config: CountryConfig, proposal: Proposal, run_id: str) -> Message:
    """Return the mail that says that a question waits."""
    headline, _ = approval_text(config, proposal)
    page = "Open the run, task `ask`, Required Actions"
    due = (f"{rule.value}: {count.due} images, {count.live} of them live" for rule, count in proposal.counts.items())
    return Message(
        subject=f"[ImageSys] {headline}",
        intro=f"A purge waits for an answer; none within {config.purge.approval_hours:g} hours is a no.",
        sections=(
            ("What is due", tuple(due)),
            ("Some of them", tuple(sample["url"] for sample in proposal.samples)),
            ("Answer", (page, f"or: imagesys purge {config.country} --approve {proposal.proposal_id} (or --reject)")),
        ),
        links={page: run_url(DAG_ID, run_id)},
    )


@contextmanager
def _at_work(operator: BaseOperator, country: str, context: TaskContext) -> Iterator[Context]:
    """Open what a task needs for one country, and mail what is logged meanwhile."""
    progress = Progress(operator.task_id)
    with (
        closing(open_context(country, resolver=airflow_connection, progress=progress)) as ctx,
        mailing_logged(ctx, context, "purge approval"),
    ):
        yield ctx


class FindProposalsOperator(BaseOperator):
    """Returns ``{country, proposal_id}`` of each proposal that this run is to see through, at most one a country."""

    def __init__(self, *, countries: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.countries = list(countries)

    def execute(self, context: TaskContext) -> list[dict[str, Any]]:
        """Take the proposals for this run, with a mail that a question waits, however often the run puts it.

        A country whose database is away is named and left to the next hour. Raises its error if nothing was found
        elsewhere, as nothing else is to be said then.
        """
        run_id = context["dag_run"].run_id
        found: list[dict[str, Any]] = []
        faults: list[ImageSysError] = []
        for country in self.countries:
            try:
                with _at_work(self, country, context) as ctx:

                    def invite(connection: Connection, proposal: Proposal, config: CountryConfig = ctx.config) -> None:
                        outbox.put(connection, invitation(config, proposal, run_id))

                    proposal = proposals.take(ctx.db, run_id, ctx.config.purge.approval_hours + 1, invite)
                    if proposal is not None:
                        found.append({"country": country, "proposal_id": proposal.proposal_id})
                    post(ctx)
            except ImageSysError as fault:
                log.warning("%s: %s", country.upper(), fault)
                faults.append(fault)
        if faults and not found:
            raise faults[0]
        return found


class ProposalTask(BaseOperator):
    """A task about one proposal, ``{country, proposal_id}``."""

    proposal: Any

    @property
    def country(self) -> str:
        """The country of the proposal."""
        return str(self.proposal["country"])

    @property
    def proposal_id(self) -> int:
        """The proposal's id in its country."""
        return int(self.proposal["proposal_id"])


class AskOperator(ApprovalOperator, ProposalTask):
    """Asks a person and records the answer; no answer in time is a no.

    The answer is kept in the proposal, not in what Airflow skips: the next task reads it there.
    """

    template_fields: Sequence[str] = ("proposal", *HITLOperator.template_fields)

    def __init__(self, *, proposal: Any, **kwargs: Any) -> None:
        super().__init__(subject="Purge above the cap", defaults=self.REJECT, **kwargs)
        self.proposal = proposal

    def execute(self, context: TaskContext) -> Any:
        """Put the question; ends at once where the proposal is decided already."""
        with _at_work(self, self.country, context) as ctx:
            proposal = proposals.get(ctx.db, self.proposal_id)
        if proposal.state != "open":
            return {"state": proposal.state, "by": proposal.decided_by}
        self.subject, self.body = approval_text(ctx.config, proposal)
        self.response_timeout = dt.timedelta(hours=ctx.config.purge.approval_hours)
        return super().execute(context)

    def execute_complete(self, context: TaskContext, event: dict[str, Any]) -> Any:
        """Record the answer."""
        answer = HITLOperator.execute_complete(self, context, event)
        approve = answer["chosen_options"] == [self.APPROVE]
        user = answer["responded_by_user"] or {}
        by = str(user.get("name") or user.get("id") or proposals.NOBODY)
        with _at_work(self, self.country, context) as ctx:
            decided = proposals.decide(ctx.db, self.proposal_id, approve=approve, by=by)
        return {"state": decided.state, "by": decided.decided_by}


class CarryOutOperator(ProposalTask):
    """Purges by an approved proposal; skips, saying why, where it is not approved or what is due has outgrown it."""

    template_fields: Sequence[str] = ("proposal",)

    def __init__(self, *, proposal: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.proposal = proposal

    def execute(self, context: TaskContext) -> Any:
        """See :func:`imagesys_lib.stages.purge.carry_out`.

        Raises EtlHalfLoaded where the ETL does not let it, and ConfigError while the configuration is broken.
        """
        if broken := broken_config():
            raise broken
        with _at_work(self, self.country, context) as ctx:
            self._stop = ctx.stop
            result = carry_out(ctx, self.proposal_id)
            if result.proposal is not None:
                raise AirflowSkipException(f"{self.country}: {result.refused}")
            if proposals.get(ctx.db, self.proposal_id).fate == "approved":
                raise EtlHalfLoaded(
                    f"{self.country.upper()}: proposal {self.proposal_id} waits: {result.refused}.",
                    remedy="clear this task once the ETL is whole again.",
                )
        return as_xcom(result)

    def on_kill(self) -> None:
        """Stop between two steps."""
        stop = self.__dict__.get("_stop")
        if stop is not None:
            stop.set()


def notify_failure(context: TaskContext) -> None:
    """Notify the countries' people that a run of this DAG failed; runs in the DAG processor.

    A database that is away fails `find` each hour, and is one incident; so is each purge that is unfinished.
    """
    run_id = run_id_of(context)
    failures = failures_of(DAG_ID, run_id, [FIND, ASK, CARRY_OUT])
    intro = "An approved purge may be unfinished, or a database away. Read the failed task's log, mend it and clear it."
    incident = "" if {failure.name for failure in failures} == {FIND} else f" {run_id}"
    notify_failed_run(context, DAG_ID, "Purge approval", intro, incident)


def notify_recovery(context: TaskContext) -> None:
    """Resolve both."""
    notify_good_run(DAG_ID, "Purge approval")
    notify_good_run(DAG_ID, "Purge approval", f" {run_id_of(context)}")


def build_purge_approval(configs: Iterable[CountryConfig]) -> DAG:
    """Return the DAG, for all countries: one mapped question and one carrying out a proposal."""
    known = list(configs)
    longest = max(config.purge.approval_hours for config in known)

    with service_dag(
        DAG_ID,
        known[0].owner,
        description="A person answers purges above the cap",
        schedule="17 * * * *",
        max_active_runs=24,  # a question keeps its run open; the next hour must still find another country's
        tags=["imagesys", "purge"],
        on_failure_callback=notify_failure,
        on_success_callback=notify_recovery,
    ) as dag:
        find = FindProposalsOperator(
            task_id=FIND,
            countries=[config.country for config in known],
            execution_timeout=dt.timedelta(minutes=30),
            doc_md=manual_section("purge_approval_find"),
        )

        @task_group(group_id="decide", prefix_group_id=False, tooltip="Each proposal by itself: ask, then carry out")
        def decide(proposal: Any) -> None:
            each = {"proposal": proposal, "map_index_template": _NAME}
            ask = AskOperator(
                task_id=ASK,
                response_timeout=dt.timedelta(hours=longest),
                execution_timeout=dt.timedelta(minutes=10),
                doc_md=manual_section("purge_approval_ask"),
                **each,
            )
            apply = CarryOutOperator(
                task_id=CARRY_OUT,
                execution_timeout=dt.timedelta(hours=6),
                doc_md=manual_section("purge_approval_carry_out"),
                **each,
            )
            ask >> apply

        decide.expand(proposal=find.output)
    return dag
