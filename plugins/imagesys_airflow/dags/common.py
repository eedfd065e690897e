"""What the DAGs share: their countries, what every task has (time-out, priority, retries), and the operator manual."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import re
import sys
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from airflow.sdk import DAG, TriggerRule

from imagesys_airflow.alerts.broken_config import notify_config_faults
from imagesys_airflow.scheduling.retries import RETRY_POLICY
from imagesys_lib.config import CountryConfig, keep_good, load_config
from imagesys_lib.config.intervals import UTC, YEARS
from imagesys_lib.errors import ConfigError, DiskFull

log = logging.getLogger(__name__)

START_DATE = dt.datetime(YEARS[0], 1, 1, tzinfo=UTC)
"""Not after any day that may be asked for: a run by hand whose date lies before it has no tasks, and ends green."""

INSTANCE_NAME = "{{ task.instance_name | default('') }}"
"""What the UI calls an instance of a mapped task."""

_MANUAL = Path(__file__).with_name("manual.md")

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
        "on_execute_callback": notify_config_faults,
    }


def service_dag(dag_id: str, owner: str, *, schedule: Any, max_active_runs: int = 1, **more: Any) -> DAG:
    """Return an empty DAG that serves all countries and never catches up; ``more`` are further arguments of `DAG`."""
    return DAG(
        dag_id=dag_id,
        doc_md=manual_section(dag_id.removeprefix("imagesys_")),
        start_date=START_DATE,
        catchup=False,
        schedule=schedule,
        max_active_runs=max_active_runs,
        default_args=default_args(owner),
        **more,
    )


def configured() -> list[CountryConfig]:
    """Return the countries that DAGs are built for.

    The DAG processor keeps the file that it reads them from, if that is good. It forks the processes that read DAG
    files, which Airflow (seen with 3.3) marks by nothing else that tasks do not have, too.
    """
    if "dag-processor" in sys.argv[1:2]:
        try:
            with contextlib.suppress(ConfigError):  # which tasks report, going on with the copy
                keep_good()
        except (OSError, DiskFull) as error:
            log.warning("The configuration cannot be kept for when it breaks: %s", error)
    return list(load_config().values())


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
            keep_days=f"{config.staging.keep_days:g}",
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
