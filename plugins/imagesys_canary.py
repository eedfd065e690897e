"""The hourly DAG that takes a known photo of each country through the whole path and reads it back from every node."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException
from imagesys_failures import failures_of, run_id_of, run_url
from imagesys_logged import mail_heard
from imagesys_mail import SERVICE_LAPSES_HOURS, post, send_once, take_back
from imagesys_operators import CountryOperator, Job
from imagesys_pipeline import START_DATE, default_args, manual_section

from imagesys_lib.alerts.gathered import Heard
from imagesys_lib.alerts.message import Message
from imagesys_lib.config import CountryConfig, load_config
from imagesys_lib.context import Context
from imagesys_lib.errors import CanaryFailed, CanaryWaits

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

DAG_ID = "imagesys_canary"
_HOURLY = "41 * * * *"
_CANNOT_RUN = "canaries cannot run"


class CanaryOperator(CountryOperator):
    """Runs one country's canary."""

    needs_preflight = False

    @property
    def instance_name(self) -> str:
        """``uk``."""
        return str(self.country)

    def work(self, job: Job) -> Any:
        """See :func:`imagesys_lib.canary.run_canary`. Raises CanaryFailed naming node, step and remedy.

        A canary that waits for its host has neither failed nor come through: an open incident stays open.
        """
        canary = import_module("imagesys_lib.canary")
        try:
            done = canary.run_canary(job.ctx)
            done.check()
        except CanaryWaits as waits:
            raise AirflowSkipException(str(waits)) from None
        except CanaryFailed as failed:
            canary.notify_failed(job.ctx, str(failed), run_url(DAG_ID, job.run.run_id))
            post(job.ctx)
            raise
        canary.notify_recovered(job.ctx)
        post(job.ctx)
        return {"seconds": done.seconds} | {place.name: place.seconds for place in done.places}

    def tell(self, ctx: Context, context: TaskContext, heard: Heard) -> None:
        """Mail what was logged at once: no other task of the run is this country's."""
        mail_heard(ctx, context, "canary", heard)


def tell_failed(context: TaskContext) -> None:
    """Mail, once until they run again, that canaries could not run for want of a database, say.

    Runs in the DAG processor, as does :func:`tell_ran`.
    """
    run_id = run_id_of(context)
    failures = [each for each in failures_of(DAG_ID, run_id, ["run"]) if each.kind != CanaryFailed.__name__]
    if not failures:
        tell_ran(context)  # each canary that was run has mailed for itself
        return
    told = {failure.message: failure.log_url for failure in failures}
    message = Message(
        subject="[ImageSys] Canaries cannot run",
        intro=(
            "Whether photos come through the whole path is not known: a database or a worker is away. They are tried "
            "again each hour; a mail tells when they run."
        ),
        sections=(("What was seen", tuple(told)), ("Run", (run_id,))),
        links={**told, run_id: run_url(DAG_ID, run_id)},
    )
    send_once(_CANNOT_RUN, message, _with_canary(), lapses_hours=SERVICE_LAPSES_HOURS)


def tell_ran(context: TaskContext) -> None:
    """Mail that canaries run again, whether they come through or not, if it was mailed that they could not."""
    run_id = run_id_of(context)

    def message(since: str) -> Message:
        return Message(
            subject="[ImageSys] Canaries run again",
            intro=f"They could not since {since}. Of one that has not come through a mail of its own tells.",
            sections=(("Run", (run_id,)),),
            links={run_id: run_url(DAG_ID, run_id)},
        )

    take_back(_CANNOT_RUN, message, _with_canary())


def _with_canary() -> list[str]:
    return [country for country, config in load_config().items() if config.canary]


def build_canary(configs: Iterable[CountryConfig]) -> DAG:
    """Return the DAG, for all countries that have a canary: one mapped task."""
    known = list(configs)
    limits = {config.country: config.canary.seconds for config in known if config.canary}

    with DAG(
        dag_id=DAG_ID,
        description="A known photo through the whole path to every frontend, and back",
        doc_md=manual_section("canary"),
        schedule=_HOURLY if limits else None,
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        tags=["imagesys", "canary"],
        default_args=default_args(known[0].owner),
        on_failure_callback=tell_failed,
        on_success_callback=tell_ran,
    ) as dag:
        CanaryOperator.partial(
            task_id="run",
            map_index_template="{{ task.instance_name | default('') }}",
            # A run may wait for as long as another may take, and its last step ends a little after its limit.
            execution_timeout=dt.timedelta(seconds=2 * max(limits.values(), default=0) + 120),
            doc_md=manual_section("canary_run"),
        ).expand(country=list(limits))
    return dag
