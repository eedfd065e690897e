"""The hourly DAG that takes a known photo of each country through the whole path and reads it back from every node."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG
from imagesys_failures import failures_of, run_id_of, run_url
from imagesys_incidents import told_directly
from imagesys_mail import everybody, post, send
from imagesys_operators import CountryOperator, Job
from imagesys_pipeline import START_DATE, default_args, manual_section

from imagesys_lib.alerts.incidents import Kind as Trouble
from imagesys_lib.alerts.message import Message
from imagesys_lib.config import CountryConfig, load_config
from imagesys_lib.errors import CanaryFailed

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

DAG_ID = "imagesys_canary"
_HOURLY = "41 * * * *"


class CanaryOperator(CountryOperator):
    """Flies one country's canary."""

    needs_preflight = False

    @property
    def instance_name(self) -> str:
        """``uk``."""
        return str(self.country)

    def work(self, job: Job) -> Any:
        """See :func:`imagesys_lib.canary.fly`. Raises CanaryFailed naming node, step and remedy."""
        canary = import_module("imagesys_lib.canary")
        try:
            flight = canary.fly(job.ctx)
            flight.check()
        except CanaryFailed as failed:
            canary.tell_failed(job.ctx, str(failed), run_url(DAG_ID, job.run.run_id))
            post(job.ctx)
            raise
        canary.tell_well(job.ctx)
        post(job.ctx)
        return {"seconds": flight.seconds} | {leg.place: leg.seconds for leg in flight.legs}


def mail_failure(context: TaskContext) -> None:
    """Mail, once a day, that canaries could not fly for want of a database, say; runs in the DAG processor."""
    run_id = run_id_of(context)
    failures = [each for each in failures_of(DAG_ID, run_id, ["fly"], ()) if each.kind != CanaryFailed.__name__]
    if not failures or told_directly(Trouble.CANARY, DAG_ID):
        return  # each canary that has flown has told of itself
    told = {failure.message: failure.log_url for failure in failures}
    message = Message(
        subject="[ImageSys] Canaries cannot fly",
        intro="Whether photos come through the whole path is not known: the ground gave way.",
        sections=(("What was seen", tuple(told)), ("Run", (run_id,))),
        links={**told, run_id: run_url(DAG_ID, run_id)},
    )
    send(message, everybody(config for config in load_config().values() if config.canary))


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
        on_failure_callback=mail_failure,
    ) as dag:
        CanaryOperator.partial(
            task_id="fly",
            map_index_template="{{ task.instance_name | default('') }}",
            # A flight may wait for as long as another may take, and its last step ends a little after its limit.
            execution_timeout=dt.timedelta(seconds=2 * max(limits.values(), default=0) + 120),
            doc_md=manual_section("canary_fly"),
        ).expand(country=list(limits))
    return dag
