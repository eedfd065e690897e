"""The weekly full check of a country: every file of every node against the database, and repair of what differs;
beside it the live table against the work state."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, task_group

from imagesys_airflow.alerts.incidents import RunEndedWell, RunFailed
from imagesys_airflow.dags.common import INSTANCE_NAME, START_DATE, Builder
from imagesys_airflow.operators.country import CountryJob, CountryOperator
from imagesys_airflow.operators.nodes import CheckNodeOperator, RepairNodeOperator
from imagesys_lib.config import CountryConfig
from imagesys_lib.errors import WorkLost

SATURDAY_AT_FIVE = "0 5 * * 6"


class ScanLiveTableOperator(CountryOperator):
    """Compares the live table with the work state. Nothing repairs what differs there, so it fails and names it."""

    needs_preflight = False

    def work(self, job: CountryJob) -> Any:
        """See :func:`imagesys_lib.stages.check.db_scan`. Raises WorkLost naming what was found."""
        from imagesys_lib.stages.check import db_scan

        found = db_scan(job.ctx, job.run.run_id)
        if not found.clean:
            described = (
                f"{count} {kind} ({', '.join(found.samples[kind][:3])})" for kind, count in found.findings.items()
            )
            raise WorkLost(
                f"Live table and work state of {job.ctx.country.upper()} differ: {'; '.join(described)}.",
                remedy="see this task's manual; `imagesys explain` says what is known of each of these hashes.",
            )
        return {"rows": found.files}


def build_full_check(config: CountryConfig) -> DAG:
    """Return the DAG of one country."""
    build = Builder(config)
    with DAG(
        dag_id=f"imagesys_check_{config.country}",
        description=f"Full check of {config.name}: every file of every frontend, and the live table",
        doc_md=build.manual("full_check"),
        schedule=CronTriggerTimetable(SATURDAY_AT_FIVE, timezone=config.time_zone),
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        tags=["imagesys", "weekly", config.country],
        default_args=build.defaults(),
        on_failure_callback=RunFailed(config.country),
        on_success_callback=RunEndedWell(config.country),
    ) as dag:
        ScanLiveTableOperator(**build.task("db_scan"))

        @task_group(group_id="verify", prefix_group_id=False, tooltip="Each node by itself: check, repair")
        def verify(node: Any) -> None:
            each = {"node": node, "map_index_template": INSTANCE_NAME, "full": True}
            CheckNodeOperator(**each, **build.task("check")) >> RepairNodeOperator(**each, **build.task("repair"))

        verify.expand(node=list(config.nodes))
    return dag
