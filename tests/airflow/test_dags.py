"""The DAGs as Airflow reads them: complete, without errors, quickly parsed, and each task by the house's rules."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from imagesys_lib.config import load_config
from include.sandbox.settings import PROJECT

COUNTRIES = tuple(load_config())
APPROVAL, CANARY, MAINTENANCE = "imagesys_purge_approval", "imagesys_canary", "imagesys_maintenance"
DAILY_REPORT = "imagesys_daily_report"
TASKS = {
    "preflight",
    "heal",
    "ingest",
    "plan",
    "process.download",
    "process.thumbnail",
    "sync",
    "publish",
    "purge",
    "purge_node",
    "check",
    "repair",
    "report",
}


@pytest.fixture(scope="module")
def every(airflow_database: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All there may be: the daily report, which the shipped configuration does not ask for, is on."""
    from airflow.dag_processing.dagbag import DagBag

    shipped = (PROJECT / "include" / "countries.yaml").read_text(encoding="utf-8")
    assert "daily_report: false" in shipped
    config = tmp_path_factory.mktemp("config") / "countries.yaml"
    config.write_text(shipped.replace("daily_report: false", "daily_report: true"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMAGESYS_CONFIG", str(config))
        bag = DagBag(str(PROJECT / "dags"))
    assert bag.import_errors == {}
    return dict(bag.dags)


@pytest.fixture(scope="module")
def dags(every: dict[str, Any]) -> dict[str, Any]:
    """The daily ones."""
    return {dag_id: dag for dag_id, dag in every.items() if dag_id.removeprefix("imagesys_") in COUNTRIES}


@pytest.fixture(scope="module")
def full_checks(every: dict[str, Any]) -> dict[str, Any]:
    return {dag_id: dag for dag_id, dag in every.items() if dag_id.startswith("imagesys_check_")}


def test_each_country_has_a_daily_dag_and_a_full_check_and_four_dags_serve_all(
    every: dict[str, Any], dags: dict[str, Any], full_checks: dict[str, Any]
) -> None:
    assert set(dags) == {f"imagesys_{country}" for country in COUNTRIES}
    assert set(full_checks) == {f"imagesys_check_{country}" for country in COUNTRIES}
    assert len(dags) == 9
    assert set(every) == {*dags, *full_checks, APPROVAL, CANARY, MAINTENANCE, DAILY_REPORT}


def test_the_full_check_looks_at_every_node_each_saturday_at_five_local_time(full_checks: dict[str, Any]) -> None:
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    for country, config in load_config().items():
        dag = full_checks[f"imagesys_check_{country}"]
        assert set(dag.task_dict) == {"check", "repair", "db_scan"}
        assert all(dag.task_dict[task_id].full for task_id in ("check", "repair"))
        assert not any(task.needs_preflight for task in dag.task_dict.values())
        assert {task.task_id for task in dag.leaves} == {"repair", "db_scan"}  # each of them may turn it red
        assert {task.task_id for task in dag.roots} == {"check", "db_scan"}
        assert (dag.catchup, dag.max_active_runs, "$" in dag.doc_md) == (False, 1, False)
        asked = dt.datetime(2026, 3, 26, tzinfo=dt.timezone.utc)  # the clocks change in Europe that Sunday
        for _ in range(2):
            info = coerce_to_core_timetable(dag.timetable).next_dagrun_info(
                last_automated_data_interval=None, restriction=TimeRestriction(asked, None, catchup=True)
            )
            local = info.run_after.astimezone(config.zone)
            assert (local.weekday(), local.hour, local.minute) == (5, 5, 0)
            asked = info.run_after + dt.timedelta(minutes=1)


def test_every_dag_has_exactly_the_tasks_of_the_contract(dags: dict[str, Any]) -> None:
    assert {dag_id: set(dag.task_dict) for dag_id, dag in dags.items()} == dict.fromkeys(dags, TASKS)


def test_report_is_the_only_leaf(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert [task.task_id for task in dag.leaves] == ["report"]


def test_dags_keep_the_rules(every: dict[str, Any], dags: dict[str, Any]) -> None:
    for dag in every.values():
        assert dag.catchup is False
        assert dag.max_active_runs == 1 or dag.dag_id == APPROVAL  # which waits for a person with its run open
        assert "imagesys" in dag.tags
        assert len(dag.doc_md) > 500
        assert "$" not in dag.doc_md
        assert dag.has_on_failure_callback or dag.on_failure_callback
        assert dag.has_on_success_callback or dag.on_success_callback  # which takes it back
    assert {len(dag.deadline) for dag in dags.values()} == {2}


def test_every_task_has_owner_retries_timeout_manual_and_backoff(every: dict[str, Any]) -> None:
    for dag in every.values():
        for task in dag.task_dict.values():
            arguments = getattr(task, "partial_kwargs", {}) or {}

            def of(name: str, task: Any = task, arguments: dict[str, Any] = arguments) -> Any:
                return arguments.get(name, getattr(task, name, None))

            assert of("owner") == "imagesys", task.task_id
            assert of("retries") == 3, task.task_id
            assert of("retry_exponential_backoff"), task.task_id
            assert dt.timedelta(0) < of("execution_timeout") <= dt.timedelta(hours=6), task.task_id
            assert len(of("doc_md")) > 100, task.task_id
            assert "$" not in of("doc_md"), task.task_id


def test_batches_run_in_their_pools_thumbnails_first(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        download, thumbnail = dag.task_dict["process.download"], dag.task_dict["process.thumbnail"]
        assert (download.pool, thumbnail.pool) == ("imagesys_download", "imagesys_thumbnail")
        assert thumbnail.priority_weight > download.priority_weight


def test_mapped_instances_are_named(dags: dict[str, Any]) -> None:
    dag = dags["imagesys_uk"]
    for task_id in ("process.download", "process.thumbnail", "purge_node", "check", "repair"):
        assert "instance_name" in dag.task_dict[task_id].map_index_template
    assert "instance_name" in dag.task_dict["sync"].partial_kwargs["map_index_template"]


@pytest.mark.long  # it compares times
def test_parsing_all_dags_takes_less_time_than_importing_airflow(airflow_database: None) -> None:
    program = f"""
import time
began = time.process_time()
import airflow.dag_processing.dagbag, airflow.sdk, airflow.models.dagrun
imported = time.process_time() - began
from airflow.dag_processing.dagbag import DagBag
from airflow.plugins_manager import get_timetables_plugins
get_timetables_plugins()  # plugins are Airflow's own start-up, as in the DAG processor
began = time.process_time()
bag = DagBag({str(PROJECT / "dags")!r})
print(len(bag.dags), imported, time.process_time() - began)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=dict(os.environ), capture_output=True, text=True, timeout=120, check=True
    )
    found = re.search(r"^21 ([\d.]+) ([\d.]+)$", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    assert float(found[2]) < float(found[1])


def test_parsing_asks_neither_database_nor_network() -> None:
    program = f"""
import socket, sys
sys.path[:0] = [{str(PROJECT / "plugins")!r}, {str(PROJECT / "dags")!r}]
def refuse(*_args, **_kwargs): raise AssertionError('a socket was opened at parse time')
import imagesys_airflow.dags.daily
socket.socket.connect = refuse
import imagesys_dags
print(len([name for name in vars(imagesys_dags) if name.startswith('imagesys_')]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=dict(os.environ), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip().endswith("21"), done.stderr


def test_airflow_reads_one_plugin_and_no_file_of_ours_under_two_names(airflow_database: None) -> None:
    program = f"""
import sys
from airflow.dag_processing.dagbag import DagBag
from airflow import plugins_manager
stored = plugins_manager.get_timetables_plugins() | plugins_manager.get_deadline_references_plugins()
stored |= plugins_manager.get_priority_weight_strategy_plugins()
names = {{"timetable.LocalDayTimetable", "deadline.RunQueued", "priority.DailyFirst"}}  # each version of a DAG has them
assert {{f"imagesys_airflow.scheduling.{{name}}" for name in names}} <= set(stored), set(stored)
plugins = {{name for name in sys.modules if name.startswith("imagesys") and "." not in name}}
assert plugins == {{"imagesys_plugin", "imagesys_airflow", "imagesys_lib"}}, plugins
assert not DagBag({str(PROJECT / "dags")!r}).import_errors
files = [str(getattr(module, "__file__", "")) for module in sys.modules.values()]
files = [file for file in files if file.startswith({str(PROJECT / "plugins")!r})]
assert len(files) == len(set(files)) > 20, sorted(files)
"""
    subprocess.run([sys.executable, "-c", program], env=dict(os.environ), timeout=120, check=True)
