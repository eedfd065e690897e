"""The hourly DAG that takes a known photo of each country through the whole path and reads it back from every node."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException

from imagesys_airflow.alerts.failures import failures_of, run_id_of, run_url
from imagesys_airflow.alerts.mail import notify, notify_all, notify_service
from imagesys_airflow.dags.common import INSTANCE_NAME, manual_section, service_dag
from imagesys_airflow.operators.country import CountryJob, CountryOperator
from imagesys_lib.alerts.incidents import IncidentKind, Resolved, open_incident, resolve
from imagesys_lib.alerts.message import Message
from imagesys_lib.config import CountryConfig, load_config
from imagesys_lib.errors import CanaryFailed, CanaryWaits

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

DAG_ID = "imagesys_canary"
_HOURLY = "41 * * * *"
_ONE, _ALL = "the canary", "canaries"


class CanaryOperator(CountryOperator):
    """Runs one country's canary."""

    needs_preflight = False
    logs_as = "canary"

    @property
    def instance_name(self) -> str:
        """``uk``."""
        return str(self.country)

    def work(self, job: CountryJob) -> Any:
        """See :func:`imagesys_lib.ops.canary.run_canary`. Raises CanaryFailed naming node, step and remedy.

        A canary that waits for its host has neither failed nor come through: its incident stays as it is.
        """
        from imagesys_lib.ops import canary

        try:
            done = canary.run_canary(job.ctx)
            done.check()
        except CanaryWaits as waits:
            raise AirflowSkipException(str(waits)) from None
        except CanaryFailed as failed:
            message = _failed(job, failed)
            notify(job.ctx, partial(open_incident, kind=IncidentKind.CANARY, subject=_ONE, message=message), message)
            raise
        notify(
            job.ctx,
            partial(resolve, kind=IncidentKind.CANARY, subject=_ONE, message=partial(_recovered, job.ctx.country)),
        )
        return {"seconds": done.seconds} | {place.name: place.seconds for place in done.places}


def _failed(job: CountryJob, failed: CanaryFailed) -> Message:
    run = "The run"
    return Message(
        subject=f"[ImageSys] {job.ctx.country.upper()} canary failed",
        intro=(
            "A known photo did not come through the whole path, or took too long. Images of the website may be next. "
            "It is tried again each hour; a mail follows when it comes through."
        ),
        sections=(("What was seen", tuple(str(failed).splitlines())), ("Where", (run,))),
        links={run: run_url(DAG_ID, job.run.run_id)},
    )


def _recovered(country: str, over: Resolved) -> Message:
    intro = f"The known photo has come through the whole path to every node. It had failed since {over.since}."
    return Message(f"[ImageSys] {country.upper()} canary comes through again", intro, ())


def notify_failure(context: TaskContext) -> None:
    """Notify people, once until canaries run again, that they could not: a database is away, say.

    Runs in the DAG processor, as does :func:`notify_recovery`.
    """
    run_id = run_id_of(context)
    failures = [each for each in failures_of(DAG_ID, run_id, ["run"]) if each.kind != CanaryFailed.__name__]
    if not failures:
        notify_recovery(context)  # each canary that was run has an incident of its own
        return
    seen = {failure.message: failure.log_url for failure in failures}
    message = Message(
        subject="[ImageSys] Canaries cannot run",
        intro=(
            "Whether photos come through the whole path is not known: a database or a worker is away. They are tried "
            "again each hour; a mail follows when they run."
        ),
        sections=(("What was seen", tuple(seen)), ("Run", (run_id,))),
        links={**seen, run_id: run_url(DAG_ID, run_id)},
    )
    notify_service(_ALL, message, _with_canary())


def notify_recovery(context: TaskContext) -> None:
    """Resolve the incident of canaries that could not run: all were run, whether they came through or not."""
    run_id = run_id_of(context)

    def message(over: Resolved) -> Message:
        return Message(
            subject="[ImageSys] Canaries run again",
            intro=f"They could not since {over.since}. One that has not come through has a mail of its own.",
            sections=(("Run", (run_id,)),),
            links={run_id: run_url(DAG_ID, run_id)},
        )

    notify_all(lambda connection: resolve(connection, IncidentKind.SERVICE, _ALL, message, _with_canary()))


def _with_canary() -> list[str]:
    return [country for country, config in load_config().items() if config.canary]


def build_canary(configs: Iterable[CountryConfig]) -> DAG:
    """Return the DAG, for all countries that have a canary: one mapped task."""
    known = list(configs)
    limits = {config.country: config.canary.seconds for config in known if config.canary}

    with service_dag(
        DAG_ID,
        known[0].owner,
        description="A known photo through the whole path to every frontend, and back",
        schedule=_HOURLY if limits else None,
        tags=["imagesys", "canary"],
        on_failure_callback=notify_failure,
        on_success_callback=notify_recovery,
    ) as dag:
        CanaryOperator.partial(
            task_id="run",
            map_index_template=INSTANCE_NAME,
            # A run may wait for as long as another may take, and its last step ends a little after its limit.
            execution_timeout=dt.timedelta(seconds=2 * max(limits.values(), default=0) + 120),
            doc_md=manual_section("canary_run"),
        ).expand(country=list(limits))
    return dag
