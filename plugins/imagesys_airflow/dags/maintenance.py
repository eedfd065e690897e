"""Maintenance: Airflow's log files, and each country's old rows and staging disk.

One DAG for all countries rather than a task of each daily run: logs belong to no country, a country whose runs are
paused or red is pruned all the same, and a large pruning makes no day's photos late.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.sdk import DAG, Param
from airflow.sdk.exceptions import AirflowException

from imagesys_airflow.alerts.logged import mailing_logged
from imagesys_airflow.alerts.mail import notify_failed_run, notify_good_run
from imagesys_airflow.dags.common import INSTANCE_NAME, manual_section, service_dag
from imagesys_airflow.operators.country import CountryJob, CountryOperator, StoppableOperator, as_xcom, one_line
from imagesys_lib.config import CountryConfig, load_config
from imagesys_lib.errors import Stopped

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)

DAG_ID = "imagesys_maintenance"


class PruneLogsOperator(StoppableOperator):
    """Prunes Airflow's log files on the machine, or the shared disk, of the worker that runs it."""

    def execute(self, context: TaskContext) -> Any:
        """See :func:`imagesys_lib.ops.maintenance.prune_logs`."""
        from imagesys_lib.ops import maintenance
        from imagesys_lib.ops.maintenance.disk import check_logs

        base, parsing = (Path(conf.get_mandatory_value("logging", option)) for option in maintenance.LOG_OPTIONS)
        retentions = [config.retention for config in load_config().values()]
        dry_run = bool(context["params"]["dry_run"])
        try:
            with mailing_logged(None, context, "Maintenance"):
                folders = maintenance.log_folders(base, parsing)
                done = maintenance.prune_logs(folders, retentions, dry_run=dry_run, check_stop=self._check_stop)
                check_logs(base)
        except Stopped:
            raise AirflowException("Stopped on request; the next run prunes the rest.") from None
        log.info("%s", one_line(as_xcom(done)))
        return as_xcom(done)

    def _check_stop(self) -> None:
        if self.stop_event.is_set():
            raise Stopped


class MaintainOperator(CountryOperator):
    """Prunes the old rows of one country and checks its staging disk."""

    needs_preflight = False
    logs_as = "maintenance"

    @property
    def instance_name(self) -> str:
        """``UK``."""
        return str(self.country).upper()

    def work(self, job: CountryJob) -> Any:
        """See :func:`imagesys_lib.ops.maintenance.maintain`."""
        from imagesys_lib.ops.maintenance import maintain

        return maintain(job.ctx, dry_run=bool(job.context["params"]["dry_run"]))


def notify_failure(context: TaskContext) -> None:
    """Notify the countries' people, once until it works again, that maintenance failed; runs in the DAG processor."""
    intro = "Rows or log files are kept for longer than configured; nothing else waits. Read the failed task's log."
    notify_failed_run(context, DAG_ID, "Maintenance", intro)


def notify_recovery(context: TaskContext) -> None:  # noqa: ARG001 - what Airflow gives
    """Resolve the incident of a maintenance that failed, once one ends well; runs in the DAG processor."""
    notify_good_run(DAG_ID, "Maintenance")


def build_maintenance(configs: Iterable[CountryConfig]) -> DAG:
    """Return the DAG, for all countries."""
    known = list(configs)
    with service_dag(
        DAG_ID,
        known[0].owner,
        description="Log files, old rows and the staging disk",
        schedule="40 1 * * *",
        tags=["imagesys", "maintenance"],
        params={
            "dry_run": Param(
                False, type="boolean", title="Dry run", description="Say what would be pruned and prune nothing."
            )
        },
        on_failure_callback=notify_failure,
        on_success_callback=notify_recovery,
    ) as dag:
        PruneLogsOperator(
            task_id="prune_logs",
            execution_timeout=dt.timedelta(hours=2),
            doc_md=manual_section("maintenance_prune_logs"),
        )
        MaintainOperator.partial(
            task_id="maintain",
            map_index_template=INSTANCE_NAME,
            execution_timeout=dt.timedelta(hours=2),
            doc_md=manual_section("maintenance_maintain"),
        ).expand(country=[config.country for config in known])
    return dag
