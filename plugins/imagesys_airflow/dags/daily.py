"""The daily DAG of a country: its tasks in their order.

No stage waits for a better world than it needs: one failed batch, one absent node or an ETL that cannot be reached
must not hold up the rest. So the stages between ``plan`` and ``report`` run whatever happened before them
(``all_done``), the database says what there is to do, and ``report``, the only leaf, decides the run's colour.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from airflow.sdk import DAG, AsyncCallback, DeadlineAlert, Param, TriggerRule, task_group  # type: ignore[attr-defined]  # missing in its stub (3.3.2)

from imagesys_airflow.alerts.incidents import RunEndedWell, RunFailed, run_late
from imagesys_airflow.dags.common import INSTANCE_NAME, START_DATE, Builder
from imagesys_airflow.operators.nodes import CheckNodeOperator, RepairNodeOperator, SyncNodeOperator
from imagesys_airflow.operators.preflight import PreflightOperator
from imagesys_airflow.operators.stages import (
    DownloadOperator,
    HealOperator,
    IngestOperator,
    PlanOperator,
    PublishOperator,
    PurgeOperator,
    ReportOperator,
    ThumbnailOperator,
)
from imagesys_airflow.scheduling.deadline import RunQueued
from imagesys_airflow.scheduling.timetable import LocalDayTimetable
from imagesys_lib.config import CountryConfig
from imagesys_lib.config.connections import DOWNLOAD_POOL, THUMBNAIL_POOL


def build_daily(config: CountryConfig) -> DAG:
    """Return the DAG of one country."""
    build = Builder(config)
    task, always, unskipped = build.task, TriggerRule.ALL_DONE, TriggerRule.NONE_SKIPPED

    with _dag(build) as dag:
        preflight = PreflightOperator(**task("preflight"))
        heal = HealOperator(**task("heal"))
        ingest = IngestOperator(**task("ingest", rule=always))
        plan = PlanOperator(**task("plan", rule=always))

        @task_group(group_id="process", tooltip="Each batch flows by itself: download, then thumbnail")
        def process(batch: Any) -> None:
            each = {"batch": batch, "map_index_template": INSTANCE_NAME}
            download = DownloadOperator(**each, **task("download", pool=DOWNLOAD_POOL))
            thumbnail = ThumbnailOperator(**each, **task("thumbnail", pool=THUMBNAIL_POOL))
            download >> thumbnail

        @task_group(group_id="verify", prefix_group_id=False, tooltip="Each node by itself: delete, check, repair")
        def verify(node: Any) -> None:
            each = {"node": node, "map_index_template": INSTANCE_NAME}
            # A backfill skips `purge`, a node in trouble its `purge_node`: what follows then needs no process.
            purge_node = SyncNodeOperator(only_if_pending=True, **each, **task("purge_node", rule=unskipped))
            check = CheckNodeOperator(**each, **task("check", rule=unskipped))
            repair = RepairNodeOperator(**each, **task("repair"))
            purge_node >> check >> repair

        sync = SyncNodeOperator.partial(map_index_template=INSTANCE_NAME, **task("sync", rule=always))
        publish = PublishOperator(**task("publish", rule=always))
        purge = PurgeOperator(**task("purge", rule=always))
        report = ReportOperator(**task("report", rule=always))

        preflight >> heal >> ingest >> plan
        process.expand(batch=plan.output) >> sync.expand(node=build.nodes) >> publish >> purge
        purge >> verify.expand(node=build.nodes) >> report
    return dag


def _deadline(country: str, trouble: str, minutes: float) -> DeadlineAlert:
    return DeadlineAlert(
        name=f"{trouble} {minutes:g} minutes after it was queued",
        reference=RunQueued(),
        interval=dt.timedelta(minutes=minutes),
        callback=AsyncCallback(run_late, kwargs={"country": country, "trouble": trouble}),
    )


def _dag(build: Builder) -> DAG:
    """Return the empty DAG."""
    config = build.config
    return DAG(
        dag_id=f"imagesys_{config.country}",
        description=f"Thumbnails of {config.name}: yesterday's photos to every frontend",
        doc_md=build.manual("dag"),
        schedule=LocalDayTimetable(config.time_zone, config.start),
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        tags=["imagesys", "daily", config.country],
        params={
            "force": Param(
                False,
                type="boolean",
                title="Make live images again",
                description="Fetch every image of the interval anew and make its thumbnails again.",
            )
        },
        default_args=build.defaults(),
        on_failure_callback=RunFailed(config.country),
        on_success_callback=RunEndedWell(config.country),
        deadline=[
            _deadline(config.country, "late", config.alerts.warn_minutes),
            _deadline(config.country, "missed", config.alerts.deadline_minutes),
        ],
    )
