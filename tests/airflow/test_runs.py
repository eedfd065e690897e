"""A whole DAG run over the sandbox by ``dag.test()``, and the node operators against real sshd."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock
from zoneinfo import ZoneInfo

import pytest

from imagesys_lib.context import Context
from imagesys_lib.db.engine import read
from imagesys_lib.db.schema import lis_nodes
from imagesys_lib.nodes import NodeFault
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run
from imagesys_lib.stages.check.parts import of_day
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.thumbnail import thumbnail
from include.sandbox.settings import PROJECT
from tests.library.nodes.test_node_answers import shell
from tests.support.world import DAY, World, drop_connection

pytestmark = pytest.mark.usefixtures("airflow_database")
LONDON = ZoneInfo("Europe/London")


@pytest.fixture
def uk(world: World) -> Any:
    """The DAG of uk, read with the world's configuration."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    bag = DagBag(str(PROJECT / "dags"))
    assert bag.import_errors == {}
    dag = bag.dags["imagesys_uk"]
    # Airflow 3.3.2's dag.test() looks a deadline up by an id that a scheduler's DAG alone has: see tests/scheduler.
    dag.deadline = None
    sync_bag_to_db(bag, "dags-folder", None)
    return dag


@pytest.mark.filterwarnings("default")  # Airflow warns of its own
def test_the_daily_run_makes_every_good_photo_live(world: World, uk: Any) -> None:
    entries = world.seed(60, broken_share=0.1)

    run = uk.test(logical_date=dt.datetime.combine(DAY + dt.timedelta(days=1), dt.time(3), tzinfo=LONDON))

    assert run.state == "success"
    live = {url for url, entry in entries.items() if entry.expects_live}
    assert set(world.live()) == live
    trees = world.trees()
    assert trees["n1"] == trees["n2"] == trees["n3"]
    assert len(trees["n1"]) == 2 * len(live)


@pytest.mark.filterwarnings("default")
def test_a_failed_task_is_named_by_its_node_though_the_configuration_lists_others_by_now(
    world: World, uk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import imagesys_lib.stages.report as stages

    world.seed(5)
    named: list[str] = []
    report = stages.report

    def listening(ctx: Context, run: Run, failures: Sequence[str]) -> object:
        named.extend(failures)
        return report(ctx, run, failures)

    def edited(ctx: Context, run: Run) -> int:
        world.configure(nodes=["n2", "n3", "n1"])
        return publish(ctx, run)

    monkeypatch.setattr(stages, "report", listening)
    monkeypatch.setattr("imagesys_lib.stages.publish.publish", edited)
    world.sandbox.nodes.stop_node("n2")
    run = uk.test(logical_date=dt.datetime.combine(DAY + dt.timedelta(days=1), dt.time(3), tzinfo=LONDON))

    assert run.state == "failed"
    assert named == ["sync[n2]"]


def make_thumbnails(world: World) -> None:
    """Bring the seeded photos as far as staging."""
    run = world.run()
    ingest(world.ctx, run)
    for batch in plan(world.ctx, run):
        download(world.ctx, batch.batch_id)
        thumbnail(world.ctx, batch.batch_id)


def context_of(task: Any) -> dict[str, Any]:
    """As much of Airflow's context as an operator asks for."""
    ti = MagicMock(dag_id="imagesys_uk", run_id="manual__1", task_id=task.task_id, map_index=0, try_number=1)
    ti.xcom_pull.return_value = {"kind": "manual"}
    ti.get_dr_count.side_effect = lambda dag_id, run_ids, states: 0 if states else len(run_ids)  # none has ended well
    start = dt.datetime.combine(DAY, dt.time(), tzinfo=LONDON)
    dag_run = MagicMock(
        run_id="manual__1",
        run_type="manual",
        data_interval_start=start,
        data_interval_end=start + dt.timedelta(days=1),
    )
    return {"ti": ti, "task_instance": ti, "dag_run": dag_run, "params": {}, "dag": MagicMock()}


def sync_operator(node: str) -> Any:
    from imagesys_airflow.operators.nodes import SyncNodeOperator

    return SyncNodeOperator(task_id="sync", country="uk", node=node)


@pytest.mark.filterwarnings("default")
def test_the_sync_operator_readies_a_node_once_and_fills_it_over_its_ssh_connection(
    world: World, tmp_path: Path
) -> None:
    entries = world.seed(10)
    make_thumbnails(world)
    task = sync_operator("n1")

    said = tmp_path / "said"
    with shell(world, "n1", f'printf "%s\\n" "${{SSH_ORIGINAL_COMMAND##* }}" >>{said}; run'):
        result = task.execute(context_of(task))

    assert said.read_text().split().count("prepare") == 1
    assert result["pushed"] == 2 * len(entries)
    assert (world.root("n1") / ".imagesys" / "ready").exists()
    assert len(world.trees()["n1"]) == 2 * len(entries)


@pytest.mark.filterwarnings("default")
def test_a_wrong_host_key_is_refused_before_anything_is_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.seed(5)
    make_thumbnails(world)
    connection = json.loads(os.environ["AIRFLOW_CONN_N2"])
    connection["extra"]["host_key"] = world.sandbox.nodes["n1"].host_key
    monkeypatch.setenv("AIRFLOW_CONN_N2", json.dumps(connection))
    task = sync_operator("n2")

    with pytest.raises(NodeFault) as fault:
        task.execute(context_of(task))

    assert fault.value.reason == "host_key"
    assert "update host_key of connection n2" in str(fault.value)
    assert world.trees()["n2"] == {}
    assert remembered_fault(world.ctx, "n2") == "host_key"


@pytest.mark.filterwarnings("default")
def test_a_banner_in_the_place_of_an_answer_is_named_and_around_it_does_no_harm(world: World) -> None:
    world.seed(5)
    make_thumbnails(world)
    task = sync_operator("n1")
    task.execute(context_of(task))
    ready = world.root("n1") / ".imagesys" / "ready"
    with shell(world, "n1", "echo Welcome"), pytest.raises(NodeFault, match="Welcome") as fault:
        sync_operator("n1").execute(context_of(task))
    assert (fault.value.reason, remembered_fault(world.ctx, "n1")) == ("shell_output", "shell_output")
    assert ready.exists()
    with shell(world, "n1", "echo Welcome; run; echo Bye"):
        assert sync_operator("n1").execute(context_of(task))["pushed"] == 0
    assert ready.exists()


@pytest.mark.filterwarnings("default")
def test_a_node_that_is_down_fails_at_once_and_its_later_tasks_skip_and_name_it(world: World) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from imagesys_airflow.operators.nodes import CheckNodeOperator

    world.seed(5)
    make_thumbnails(world)
    world.sandbox.nodes.stop_node("n2")
    task = sync_operator("n2")

    with pytest.raises(NodeFault, match="n2: unreachable"):
        task.execute(context_of(task))

    assert remembered_fault(world.ctx, "n2") == "unreachable"
    check = CheckNodeOperator(task_id="check", country="uk", node="n2")
    with pytest.raises(AirflowSkipException, match="n2 is behind"):
        check.execute(context_of(check))


@pytest.mark.filterwarnings("default")
def test_the_weekly_check_needs_no_preflight_and_sees_and_repairs_the_whole_tree(world: World) -> None:
    from imagesys_airflow.operators.nodes import CheckNodeOperator, RepairNodeOperator

    world.with_live_photos()
    world.reconfigure(check={"shard_above": 0})
    good = world.equal_trees()
    for path in good:
        (world.root("n2") / path).unlink()
    check = CheckNodeOperator(task_id="check", country="uk", node="n2", full=True)
    context = context_of(check)
    context["ti"].xcom_pull.return_value = None
    assert check.execute(context) == {"part": "all", "files": 0, "bytes": 0, "findings": {"acked_absent": 80}}
    RepairNodeOperator(task_id="repair", country="uk", node="n2", full=True).execute(context)
    assert world.equal_trees() == good

    daily = CheckNodeOperator(task_id="check", country="uk", node="n2").execute(context_of(check))
    assert daily["part"] == of_day(DAY).name
    assert 0 < daily["files"] < 80


@pytest.mark.filterwarnings("default")
def test_a_run_whose_preflight_failed_ends_in_the_database_too(world: World, uk: Any) -> None:
    from imagesys_lib.stages.report.digest import newest_run

    world.seed(5)
    world.pipeline()  # yesterday all was well
    drop_connection(world, "N3")
    run = uk.test(logical_date=dt.datetime.combine(DAY + dt.timedelta(days=1), dt.time(3), tzinfo=LONDON))
    assert run.state == "failed"
    row = runs.load(world.ctx.db, run.run_id)
    assert row is not None
    assert (row.kind, row.state) == ("manual", "failed")
    assert row.finished_at is not None
    reported = newest_run(world.ctx)
    assert reported is not None
    assert reported.run_id == run.run_id
    assert reported.lost[0].startswith(f"run {run.run_id} broke off: Nothing was done, preflight failed: ")
    assert "AIRFLOW_CONN_N3" in reported.lost[0]


def remembered_fault(ctx: Context, node: str) -> str:
    """What lis_nodes says of a node."""
    return str(read(ctx.db, lis_nodes.select().where(lis_nodes.c.node == node))[0].fault)


def test_preflight_names_every_missing_connection_and_its_remedy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from imagesys_airflow.operators.preflight import PreflightOperator
    from imagesys_lib.errors import ConnectionMissing

    monkeypatch.delenv("AIRFLOW_CONN_ETL")
    monkeypatch.delenv("AIRFLOW_CONN_N3")
    task = PreflightOperator(task_id="preflight", country="uk")

    with pytest.raises(ConnectionMissing) as fault:
        task.execute(context_of(task))

    assert "'etl_uk' or 'etl'" in str(fault.value)
    assert "'n3'" in str(fault.value)
    assert "AIRFLOW_CONN_N3" in str(fault.value)
