"""The weekly full check of a country: every file of every node against the database, and repair of what differs."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, task_group
from imagesys_incidents import RunEndedWell, RunFailed
from imagesys_nodes import CheckNodeOperator, RepairNodeOperator
from imagesys_pipeline import START_DATE, Builder

from imagesys_lib.config import CountryConfig

SATURDAY_AT_FIVE = "0 5 * * 6"
_NAME = "{{ task.instance_name | default('') }}"


def build_full_check(config: CountryConfig) -> DAG:
    """Return the DAG of one country."""
    build = Builder(config)
    with DAG(
        dag_id=f"imagesys_check_{config.country}",
        description=f"Full check of {config.name}: every file of every frontend against the database",
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

        @task_group(group_id="verify", prefix_group_id=False, tooltip="Each node by itself: check, repair")
        def verify(node: Any) -> None:
            each = {"node": node, "map_index_template": _NAME, "full": True}
            CheckNodeOperator(**each, **build.task("check")) >> RepairNodeOperator(**each, **build.task("repair"))

        verify.expand(node=list(config.nodes))
    return dag
