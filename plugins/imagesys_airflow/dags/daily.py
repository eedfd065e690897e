"""The daily pipeline of a country, readable at the bottom of this file.

No stage waits for a better world than it needs: one failed batch, one absent node or an ETL that cannot be reached
must not hold up the rest. So the stages between ``plan`` and ``report`` run whatever happened before them
(``all_done``), the database says what there is to do, and ``report``, the only leaf, decides the run's colour.
"""

from __future__ import annotations

import datetime as dt
import re
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from airflow.sdk import DAG, AsyncCallback, DeadlineAlert, Param, TriggerRule, task_group

from imagesys_airflow.alerts.config import tell_config
from imagesys_airflow.alerts.incidents import RunEndedWell, RunFailed, run_late
from imagesys_airflow.operators.nodes import CheckNodeOperator, RepairNodeOperator, SyncNodeOperator
from imagesys_airflow.operators.stages import (
    BatchOperator,
    PlanOperator,
    PreflightOperator,
    ReportOperator,
    StageOperator,
)
from imagesys_airflow.scheduling.deadline import RunQueued
from imagesys_airflow.scheduling.retries import RETRY_POLICY
from imagesys_airflow.scheduling.timetable import LocalDayTimetable
from imagesys_lib.config import CountryConfig
from imagesys_lib.intervals import UTC, YEARS

DOWNLOAD_POOL, THUMBNAIL_POOL = "imagesys_download", "imagesys_thumbnail"
START_DATE = dt.datetime(YEARS[0], 1, 1, tzinfo=UTC)
"""Not after any day that may be asked for: a run by hand whose date lies before it has no tasks, and ends green."""

_MANUAL = Path(__file__).with_name("manual.md")
_NAME = "{{ task.instance_name | default('') }}"

_PRIORITY = {"download": 10, "thumbnail": 20, "later": 30}
"""Thumbnails before the next download, so that batches flow and originals do not pile up on the staging disk."""

_TIMEOUT_MINUTES = {
    "preflight": 10,
    "heal": 60,
    "ingest": 180,
    "plan": 60,
    "thumbnail": 180,
    "sync": 360,
    "publish": 60,
    "purge": 180,
    "purge_node": 180,
    "check": 360,
    "repair": 360,
    "db_scan": 180,
    "report": 30,
}


@cache
def _manual() -> dict[str, str]:
    """Return the operator manual by section: ``dag``, and each task by its name."""
    pieces = re.split(r"^## (\w+)\n", _MANUAL.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(pieces[1::2], (text.strip() for text in pieces[2::2]), strict=True))


def manual_section(section: str) -> str:
    """Return a section of the operator manual that speaks of no single country."""
    return _manual()[section]


def default_args(owner: str) -> dict[str, Any]:
    """Return what holds for every task of every DAG."""
    return {
        "owner": owner,
        "retries": 3,
        "retry_delay": dt.timedelta(seconds=30),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": dt.timedelta(minutes=10),
        "retry_policy": RETRY_POLICY,
        "on_execute_callback": tell_config,
    }


class Builder:
    """Gives every task what all tasks have: its manual, its time-out, its name in the UI."""

    def __init__(self, config: CountryConfig) -> None:
        self.config = config
        self.nodes = list(config.nodes)

    def manual(self, section: str) -> str:
        """Return a section of the manual with this country's names in it."""
        config = self.config
        return Template(_manual()[section]).substitute(
            country=config.country,
            name=config.name,
            time_zone=config.time_zone,
            start=config.start,
            look_back=f"{config.look_back_hours:g}",
            nodes=", ".join(config.nodes),
            quorum=config.quorum,
            warn=f"{config.alerts.warn_minutes:g}",
            deadline=f"{config.alerts.deadline_minutes:g}",
            retention=config.purge.retention_days,
            cap=f"{config.purge.cap_percent:g}",
            grace=f"{config.purge.grace_hours:g}",
            shard_above=config.check.shard_above,
            scrub_files=config.check.scrub_files,
            let_go_days=f"{config.transfer.let_go_days:g}",
        )

    def task(self, task_id: str, *, pool: str = "", rule: TriggerRule = TriggerRule.ALL_SUCCESS) -> dict[str, Any]:
        """Return the arguments of one task."""
        minutes = _TIMEOUT_MINUTES.get(task_id, self.config.batch.deadline_minutes + 30)
        return {
            "task_id": task_id,
            "country": self.config.country,
            "doc_md": self.manual(task_id),
            "execution_timeout": dt.timedelta(minutes=minutes),
            "priority_weight": _PRIORITY.get(task_id, _PRIORITY["later"]),
            "trigger_rule": rule,
            **({"pool": pool} if pool else {}),
        }

    def defaults(self) -> dict[str, Any]:
        """Return what holds for every task of a country's DAG."""
        return {**default_args(self.config.owner), "weight_rule": "imagesys_airflow.scheduling.priority.DailyFirst"}

    def _deadline(self, trouble: str, minutes: float) -> DeadlineAlert:
        return DeadlineAlert(
            name=f"{trouble} {minutes:g} minutes after it was queued",
            reference=RunQueued(),
            interval=dt.timedelta(minutes=minutes),
            callback=AsyncCallback(run_late, kwargs={"country": self.config.country, "trouble": trouble}),
        )

    def dag(self) -> DAG:
        """Return the empty DAG."""
        config = self.config
        return DAG(
            dag_id=f"imagesys_{config.country}",
            description=f"Thumbnails of {config.name}: yesterday's photos to every frontend",
            doc_md=self.manual("dag"),
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
            default_args=self.defaults(),
            on_failure_callback=RunFailed(config.country),
            on_success_callback=RunEndedWell(config.country),
            deadline=[
                self._deadline("late", config.alerts.warn_minutes),
                self._deadline("missed", config.alerts.deadline_minutes),
            ],
        )


def build_daily(config: CountryConfig) -> DAG:
    """Return the DAG of one country."""
    build = Builder(config)
    task, always, unskipped = build.task, TriggerRule.ALL_DONE, TriggerRule.NONE_SKIPPED

    with build.dag() as dag:
        preflight = PreflightOperator(**task("preflight"))
        heal = StageOperator(stage="heal", **task("heal"))
        ingest = StageOperator(stage="ingest", **task("ingest", rule=always))
        plan = PlanOperator(**task("plan", rule=always))

        @task_group(group_id="process", tooltip="Each batch flows by itself: download, then thumbnail")
        def process(batch: Any) -> None:
            each = {"batch": batch, "map_index_template": _NAME}
            download = BatchOperator(stage="download", **each, **task("download", pool=DOWNLOAD_POOL))
            thumbnail = BatchOperator(stage="thumbnail", **each, **task("thumbnail", pool=THUMBNAIL_POOL))
            download >> thumbnail

        @task_group(group_id="verify", prefix_group_id=False, tooltip="Each node by itself: delete, check, repair")
        def verify(node: Any) -> None:
            each = {"node": node, "map_index_template": _NAME}
            # A backfill skips `purge`, a node in trouble its `purge_node`: what follows then needs no process.
            purge_node = SyncNodeOperator(only_if_pending=True, **each, **task("purge_node", rule=unskipped))
            check = CheckNodeOperator(**each, **task("check", rule=unskipped))
            repair = RepairNodeOperator(**each, **task("repair"))
            purge_node >> check >> repair

        sync = SyncNodeOperator.partial(map_index_template=_NAME, **task("sync", rule=always)).expand(node=build.nodes)
        publish = StageOperator(stage="publish", **task("publish", rule=always))
        purge = StageOperator(stage="purge", **task("purge", rule=always))
        report = ReportOperator(**task("report", rule=always))

        preflight >> heal >> ingest >> plan
        process.expand(batch=plan.output) >> sync >> publish >> purge
        purge >> verify.expand(node=build.nodes) >> report
    return dag
