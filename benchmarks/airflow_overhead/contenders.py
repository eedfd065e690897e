"""The two contenders, each measured on one day: the DAG through a real scheduler, and `imagesys run`."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from include.sandbox.services.airflow import AirflowServices
from include.sandbox.services.airflow_api import AirflowApi

from .figures import Measured, Task
from .testbed import COUNTRY, DAG_ID, BenchmarkError, Day, Testbed, foreign_load, settle

_LIMIT = timedelta(hours=3)
_POLL_SECONDS = 2.0
_USUAL = {  # Airflow's own, where the sandbox has shorter ones, and how often docker-compose.yml reads DAG files
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "5",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "5",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "300",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "5",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "5",
}
_LINE = re.compile(r"^(?:batch \d+ )?([a-z_]+)(?: n\d+)?: ")


@dataclass(frozen=True)
class Library:
    """`imagesys run` in the foreground. Airflow should be stopped meanwhile: it is never quite idle."""

    testbed: Testbed
    name: ClassVar[str] = "imagesys run"

    def measure(self, day: Day) -> Measured:
        """Run one day on a clean slate; raises BenchmarkError if not all of it is live afterwards."""
        testbed = self.testbed
        testbed.reset()
        interval = "/".join(instant.isoformat() for instant in day.interval)
        busy, before, began = settle(testbed.patience), testbed.meter(), time.monotonic()
        stages = _time_stages(testbed.command("run", COUNTRY, "--interval", interval), testbed.environment())
        seconds, used = time.monotonic() - began, testbed.meter() - before
        busy = max(busy, foreign_load())
        testbed.require_all_live(day.images, "imagesys run")
        return Measured(day.images, seconds, used.machine, used.site, busy, stages)


def _time_stages(command: list[str], environment: Mapping[str, str]) -> dict[str, float]:
    """Run it and give the seconds before each line to the stage that the line tells of.

    The first stage has the process's start with it; a node's line comes when it has ended, and all nodes add up.
    """
    stages: dict[str, float] = {}
    last = time.monotonic()
    lines: list[str] = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            now = time.monotonic()
            lines.append(line)
            if match := _LINE.match(line):
                stages[match[1]] = stages.get(match[1], 0.0) + now - last
                last = now
    stages["report"] = time.monotonic() - last
    if process.returncode:
        raise BenchmarkError(f"imagesys run ended with {process.returncode}:\n{''.join(lines[-20:])}")
    return stages


@dataclass
class Airflow:
    """The DAG of the country, through scheduler, executor and API server, set up as `make demo` has them.

    But for how often they look for work: a demo's haste would cost a tenth of two processors here.
    """

    testbed: Testbed
    name: ClassVar[str] = "Airflow"
    services: AirflowServices = field(init=False)
    api: AirflowApi = field(init=False)
    _runs: int = 0

    def __post_init__(self) -> None:
        self.services = replace(self.testbed.sandbox.airflow, extra_environment=_USUAL)
        self.api = self.services.api()

    def start(self) -> None:
        """Bring it up and warm it: its first run after a start has imports and connections to make."""
        self.services.start()
        self.api.wait_for_dag(DAG_ID, 120)
        self.api.unpause(DAG_ID)  # its schedule's own run of yesterday, which has no listings, comes first
        self._wait_until_quiet()
        self.measure(self.testbed.empty_day())

    def stop(self) -> None:
        """End its processes; its metadata stay."""
        self.services.stop()

    def measure(self, day: Day) -> Measured:
        """Run one day on a clean slate; raises BenchmarkError if not all of it is live afterwards."""
        testbed = self.testbed
        testbed.reset()
        busy, before = settle(testbed.patience), testbed.meter()
        run = self._run(self._trigger(day))
        used = testbed.meter() - before
        busy = max(busy, foreign_load())
        instances = self.api.task_instances(DAG_ID, run["dag_run_id"])
        self._require_success(run, instances)
        testbed.require_all_live(day.images, "Airflow")
        queued, ended = _instant(run["queued_at"]), _instant(run["end_date"])
        tasks = tuple(_task(one) for one in instances if one["start_date"] and one["queued_when"])
        return Measured(
            day.images,
            ended - queued,
            used.machine,
            used.site,
            busy,
            queued_at=queued,
            ended_at=ended,
            tasks=tasks,
        )

    def _trigger(self, day: Day) -> str:
        """Start a run of the day's interval. Logical dates must differ, so each run's is a second later."""
        start, end = day.interval
        self._runs += 1
        body = {
            "logical_date": (start + timedelta(seconds=self._runs)).isoformat(),
            "data_interval_start": start.isoformat(),
            "data_interval_end": end.isoformat(),
            "dag_run_id": f"bench__{day.images}__{self._runs}",
        }
        return str(self.api.call("POST", f"dags/{DAG_ID}/dagRuns", body)["dag_run_id"])

    def _run(self, run_id: str) -> dict[str, Any]:
        give_up = time.monotonic() + _LIMIT.total_seconds()
        while time.monotonic() < give_up:
            run = self.api.run(DAG_ID, run_id)
            if run["state"] in ("success", "failed"):
                return run
            time.sleep(_POLL_SECONDS)
        raise BenchmarkError(f"run {run_id} has not ended after {_LIMIT}")

    def _wait_until_quiet(self) -> None:
        """Wait for the scheduled run that un-pausing brings."""
        give_up = time.monotonic() + 120
        while time.monotonic() < give_up:
            states = [run["state"] for run in self.api.runs(DAG_ID) if run["run_type"] == "scheduled"]
            if states and all(state in ("success", "failed") for state in states):
                return
            time.sleep(1)
        raise BenchmarkError("the scheduled run of yesterday has not ended two minutes after it was due")

    def _require_success(self, run: Mapping[str, Any], instances: list[dict[str, Any]]) -> None:
        unwell = [one for one in instances if one["state"] not in ("success", "skipped") or one["try_number"] > 1]
        if run["state"] == "success" and not unwell:
            return
        reported = "; ".join(f"{one['task_id']}[{one['map_index']}] {one['state']}" for one in unwell)
        log = ""
        if unwell:
            first = unwell[0]
            which = {"map_index": first["map_index"], "try_number": 1}
            log = self.api.log(DAG_ID, run["dag_run_id"], first["task_id"], **which)[-3000:]
        raise BenchmarkError(f"run {run['dag_run_id']} ended {run['state']}: {reported}\n{log}")


def _task(instance: Mapping[str, Any]) -> Task:
    keys = ("scheduled_when", "queued_when", "start_date", "end_date")
    stage = str(instance["task_id"]).rpartition(".")[2]
    return Task(stage, int(instance["map_index"]), *(_instant(instance[key]) for key in keys))


def _instant(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
