"""The hourly DAG that takes a known photo of each country through the whole path and reads it back from every node."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException

from imagesys_airflow.alerts.failures import failures_of, run_id_of, run_url
from imagesys_airflow.alerts.logged import mail_heard
from imagesys_airflow.alerts.mail import SERVICE_LAPSES_HOURS, post, send_once, take_back
from imagesys_airflow.dags.common import INSTANCE_NAME, START_DATE, default_args, manual_section
from imagesys_airflow.operators.country import CountryOperator, Job
from imagesys_lib.alerts.gathered import Heard
from imagesys_lib.alerts.message import Message
from imagesys_lib.config import CountryConfig, load_config
from imagesys_lib.context import Context
from imagesys_lib.errors import CanaryFailed, CanaryWaits

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

DAG_ID = "imagesys_canary"
_HOURLY = "41 * * * *"
_CANNOT_FLY = "canaries cannot fly"


class CanaryOperator(CountryOperator):
    """Flies one country's canary."""

    needs_preflight = False

    @property
    def instance_name(self) -> str:
        """``uk``."""
        return str(self.country)

    def work(self, job: Job) -> Any:
        """See :func:`imagesys_lib.canary.fly`. Raises CanaryFailed naming node, step and remedy.

        A canary that waits for its host is neither told as failed nor as well: what was told stands.
        """
        from imagesys_lib import canary

        try:
            flight = canary.fly(job.ctx)
            flight.check()
        except CanaryWaits as waits:
            raise AirflowSkipException(str(waits)) from None
        except CanaryFailed as failed:
            canary.tell_failed(job.ctx, str(failed), run_url(DAG_ID, job.run.run_id))
            post(job.ctx)
            raise
        canary.tell_well(job.ctx)
        post(job.ctx)
        return {"seconds": flight.seconds} | {leg.place: leg.seconds for leg in flight.legs}

    def tell(self, ctx: Context, context: TaskContext, heard: Heard) -> None:
        """Mail what was logged at once: no other task of the run is this country's."""
        mail_heard(ctx, context, "canary", heard)


def tell_failed(context: TaskContext) -> None:
    """Mail, once until they fly again, that canaries could not fly for want of a database, say.

    Runs in the DAG processor, as does :func:`tell_flown`.
    """
    run_id = run_id_of(context)
    failures = [each for each in failures_of(DAG_ID, run_id, ["fly"]) if each.kind != CanaryFailed.__name__]
    if not failures:
        tell_flown(context)  # each canary that has flown has told of itself
        return
    told = {failure.message: failure.log_url for failure in failures}
    message = Message(
        subject="[ImageSys] Canaries cannot fly",
        intro=(
            "Whether photos come through the whole path is not known: the ground gave way. They are tried again each "
            "hour; a mail tells when they fly."
        ),
        sections=(("What was seen", tuple(told)), ("Run", (run_id,))),
        links={**told, run_id: run_url(DAG_ID, run_id)},
    )
    send_once(_CANNOT_FLY, message, _with_canary(), lapses_hours=SERVICE_LAPSES_HOURS)


def tell_flown(context: TaskContext) -> None:
    """Take that back: all canaries have flown, whether they came through or not."""
    run_id = run_id_of(context)

    def message(since: str) -> Message:
        return Message(
            subject="[ImageSys] Canaries fly again",
            intro=f"They could not since {since}. Of one that has not come through a mail of its own tells.",
            sections=(("Run", (run_id,)),),
            links={run_id: run_url(DAG_ID, run_id)},
        )

    take_back(_CANNOT_FLY, message, _with_canary())


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
        on_success_callback=tell_flown,
    ) as dag:
        CanaryOperator.partial(
            task_id="fly",
            map_index_template=INSTANCE_NAME,
            # A flight may wait for as long as another may take, and its last step ends a little after its limit.
            execution_timeout=dt.timedelta(seconds=2 * max(limits.values(), default=0) + 120),
            doc_md=manual_section("canary_fly"),
        ).expand(country=list(limits))
    return dag
