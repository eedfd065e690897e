"""The maintenance DAG by ``dag.test()``, over logs that Airflow has written, and `airflow db clean` as installed."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.db import engine as engine_module
from include.sandbox.settings import PROJECT
from tests.airflow.conftest import HOME
from tests.support.system_files import command_of
from tests.support.world import World, set_connection

pytestmark = [pytest.mark.usefixtures("airflow_database"), pytest.mark.filterwarnings("default")]  # Airflow's own
LOGS = HOME / "logs"


@pytest.fixture
def maintenance(world: World) -> Any:
    """The DAG, for uk alone, which is the country that the world has."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    from imagesys_airflow.dags.maintenance import build_maintenance

    bag = DagBag(str(PROJECT / "dags"))
    assert bag.import_errors == {}
    dag = build_maintenance([world.ctx.config])
    original = bag.dags[dag.dag_id]
    dag.fileloc, dag.relative_fileloc = original.fileloc, original.relative_fileloc
    bag.dags[dag.dag_id] = dag
    sync_bag_to_db(bag, "dags-folder", None)
    return dag


def make_past(world: World) -> Path:
    """Something to prune of each kind, each long past."""
    world.sql("INSERT INTO lis_metrics VALUES ('r', 'live', 1, '2020-01-01')")
    old = LOGS / "dag_id=imagesys_uk" / "run_id=long_ago" / "task_id=heal" / "attempt=1.log"
    old.parent.mkdir(parents=True, exist_ok=True)
    old.write_text("{}")
    os.utime(old, (0, 0))
    return old


def test_a_run_prunes_logs_and_rows_and_a_dry_one_only_says_so(world: World, maintenance: Any) -> None:
    old = make_past(world)

    run = maintenance.test(run_conf={"dry_run": True})
    assert run.state == "success"
    assert old.exists()
    assert results(run.run_id)["maintain"]["rows"]["metrics"] == 1

    run = maintenance.test(run_conf={"dry_run": False})
    assert run.state == "success"
    assert not old.exists()
    found = results(run.run_id)
    assert (found["prune_logs"]["files"], found["prune_logs"]["faults"]) == (1, 0)
    assert found["maintain"]["rows"]["metrics"] == 1
    assert found["maintain"]["staging"]["floor_mb"] == 64
    assert world.rows(sa.text("SELECT * FROM lis_metrics")) == []


def results(run_id: str) -> dict[str, Any]:
    """What the run's tasks returned, by task."""
    from airflow.utils.session import create_session

    query = sa.text("SELECT task_id, value FROM xcom WHERE run_id = :run AND key = 'return_value'")
    with create_session() as session:
        return {task: json.loads(value) for task, value in session.execute(query, {"run": run_id})}


@pytest.fixture
def subjects(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[str]]:
    """Subjects of the mails since the test began; stamps of direct mails are its own."""
    from imagesys_airflow.alerts import mail as imagesys_mail

    monkeypatch.setattr(imagesys_mail, "_HERE", tmp_path)
    since = len(world.sandbox.mail.files())
    return lambda: [str(mail["subject"]) for mail in world.sandbox.mail.mails(since)]


def test_a_country_that_fails_is_named_mailed_once_and_resolved(
    world: World, subjects: Callable[[], list[str]]
) -> None:
    from imagesys_airflow.dags.maintenance import MaintainOperator, notify_failure, notify_recovery
    from imagesys_lib.errors import EnvironmentFault
    from tests.airflow.test_runs import context_of

    task = MaintainOperator(task_id="maintain", country="mx")  # a schema that nobody has made
    context = {**context_of(task), "params": {"dry_run": False}}
    with pytest.raises(EnvironmentFault, match="imagesys_mx"):
        task.execute(context)
    assert task.instance_name == "MX"

    since = len(world.sandbox.mail.files())
    for _ in range(2):  # the next day it fails again
        notify_failure({"dag_run": context["dag_run"]})
    mail = world.sandbox.mail.wait_for(lambda mail: "Maintenance failed" in str(mail["subject"]), since=since)
    assert "/dags/imagesys_maintenance/runs/manual__1" in mail.get_body(("plain",)).get_content()
    for _ in range(2):
        notify_recovery({})
    assert subjects() == ["[ImageSys] Maintenance failed", "[ImageSys] Maintenance works again"]
    notify_failure({"dag_run": context["dag_run"]})
    assert subjects()[2:] == ["[ImageSys] Maintenance failed"]


def test_a_staging_disk_below_its_floor_is_mailed(
    world: World, maintenance: Any, subjects: Callable[[], list[str]]
) -> None:
    from imagesys_airflow.dags.maintenance import MaintainOperator
    from tests.airflow.test_runs import context_of

    world.configure(staging={"min_free_mb": 10**9})
    task = MaintainOperator(task_id="maintain", country="uk")
    task.execute({**context_of(task), "params": {"dry_run": True}})
    assert subjects() == ["[ImageSys] UK maintenance logged messages"]
    (mail,) = world.sandbox.mail.mails(len(world.sandbox.mail.files()) - 1)
    assert "ERROR: UK: staging " in mail.get_body(("plain",)).get_content()
    assert "no work is begun" in mail.get_body(("plain",)).get_content()


def test_a_log_disk_below_its_floor_is_mailed(world: World, subjects: Callable[[], list[str]]) -> None:
    from imagesys_airflow.dags.maintenance import PruneLogsOperator
    from tests.airflow.test_runs import context_of

    world.patch.setattr("imagesys_lib.ops.maintenance.disk.AIRFLOW_FLOOR_MB", 10**9)
    task = PruneLogsOperator(task_id="prune_logs")
    task.execute({**context_of(task), "params": {"dry_run": True}})
    assert subjects() == ["[ImageSys] Maintenance logged messages"]
    (mail,) = world.sandbox.mail.mails(len(world.sandbox.mail.files()) - 1)
    assert "Airflow ends each task whose log it cannot write" in mail.get_body(("plain",)).get_content()


def test_a_logged_message_is_mailed_though_the_database_keeps_none(
    world: World, subjects: Callable[[], list[str]]
) -> None:
    from imagesys_airflow.alerts.logged import mailing_logged
    from tests.airflow.test_runs import context_of

    world.patch.setattr(engine_module, "_PATIENCE", 0.2)
    set_connection(world, "IMAGESYS_DB", port=9)
    task = SimpleNamespace(task_id="carry_out")
    with mailing_logged(world.context(), context_of(task), "purge approval"):  # type: ignore[arg-type]
        logging.getLogger("imagesys_lib.stages.purge").error("the ETL is half loaded")
    assert subjects() == ["[ImageSys] UK purge approval logged messages"]


@pytest.mark.long  # starts of Airflow; tests/library/ops/test_maintenance_logs.py prunes such logs
def test_the_logs_that_airflow_writes_are_those_that_are_pruned(world: World, maintenance: Any) -> None:
    from airflow.configuration import conf

    assert conf.get("logging", "log_filename_template").startswith("dag_id={{ ti.dag_id }}/")
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "dag-processor", "--num-runs", "1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    parsed = [path for path in LOGS.rglob("*.py.log") if "latest" not in path.parts]
    assert parsed
    for path in parsed:
        os.utime(path, (time.time() - 40 * 86_400,) * 2)
    maintenance.test()
    assert not any(path.exists() for path in parsed)


# airflow db clean


def old_log_row(age_days: int) -> int:
    """A row of Airflow's audit log, so old; returns its id."""
    from airflow.models.log import Log  # noqa: TID251 - tests stand where the scheduler stands
    from airflow.utils.session import create_session

    with create_session() as session:
        row = Log(event="imagesys_test")
        row.dttm = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=age_days)
        session.add(row)
        session.flush()
        return int(row.id)


def rows_and_archives() -> tuple[set[int], list[str]]:
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = session.execute(sa.text("SELECT id FROM log WHERE event = 'imagesys_test'")).scalars().all()
        tables = sa.inspect(session.get_bind()).get_table_names()
    return {int(row) for row in rows}, [name for name in tables if name.startswith("_airflow_deleted")]


def clean(*more: str) -> None:
    """Run what systemd would run."""
    command, environment = command_of("airflow-db-clean.service")
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command[-1] = " ".join((command[-1], *more))
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.long  # starts of Airflow; tests/test_system_files.py reads the command
def test_the_service_cleans_a_real_metadata_database_and_leaves_no_archives(world: World) -> None:
    old, young = old_log_row(91), old_log_row(89)
    clean("--dry-run", "--tables", "log")
    assert rows_and_archives() == ({old, young}, [])
    clean()
    assert rows_and_archives() == ({young}, [])
