"""The weekly full check as a DAG run over the sandbox: red where the live table is wrong, as nothing repairs that."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from imagesys_lib.images.hash_and_path import lis_hash_for_url
from imagesys_lib.replication.node_records import latest_check
from imagesys_lib.stages.check.db_scan import LIVE_TABLE
from include.sandbox import ManifestEntry
from include.sandbox.settings import PROJECT
from tests.support.world import NODES, World

Entries = dict[str, ManifestEntry]
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("airflow_database")]


@pytest.fixture
def dag(world: World) -> Any:
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    bag = DagBag(str(PROJECT / "dags"))
    assert bag.import_errors == {}
    sync_bag_to_db(bag, "dags-folder", None)
    return bag.dags["imagesys_check_uk"]


def states(run: Any) -> dict[tuple[str, int], tuple[str, int]]:
    return {(ti.task_id, ti.map_index): (str(ti.state), ti.try_number) for ti in run.get_task_instances()}


def test_a_live_table_that_is_wrong_turns_the_weekly_check_red_at_once_and_keeps_no_node_from_its_check(
    world: World, live: Entries, dag: Any
) -> None:
    h = lis_hash_for_url(min(live))
    world.sql("DELETE FROM lis_live_images WHERE image_hash = :h", h=h)
    run = dag.test(logical_date=dt.datetime.now(dt.timezone.utc))
    assert run.state == "failed"
    checked = {(task_id, n): ("success", 1) for task_id in ("check", "repair") for n in range(len(NODES))}
    assert states(run) == {("db_scan", -1): ("failed", 1), **checked}
    row = latest_check(world.ctx.db, LIVE_TABLE, run.run_id)
    assert row is not None
    assert (row.kind, row.files, row.findings, row.samples) == (
        "db_scan",
        39,
        {"not_published": 1},
        {"not_published": [h]},
    )

    world.sql("UPDATE lis_images SET state = 'thumbnailed' WHERE image_hash = :h", h=h)
    assert world.cli("publish", "uk", "--json").json == {"published": 1}
    run = dag.test(logical_date=dt.datetime.now(dt.timezone.utc))
    assert run.state == "success"
    assert latest_check(world.ctx.db, LIVE_TABLE, run.run_id).findings == {}


def test_its_message_names_what_was_found_and_how_to_go_on(world: World, live: Entries) -> None:
    from imagesys_airflow.dags.full_check import ScanLiveTableOperator
    from imagesys_lib.errors import WorkLost
    from tests.airflow.test_runs import context_of

    a, b, c, d, e = sorted(map(lis_hash_for_url, live))[:5]
    task = ScanLiveTableOperator(task_id="db_scan", country="uk")
    assert task.execute(context_of(task)) == {"rows": 40}
    for h in (a, b, c, d):
        world.sql("UPDATE lis_images SET state = 'rejected' WHERE image_hash = :h", h=h)
    world.sql("DELETE FROM lis_live_images WHERE image_hash = :h", h=e)
    with pytest.raises(WorkLost) as caught:
        task.execute(context_of(task))
    text = str(caught.value)
    assert f"UK differ: 4 live_unknown ({a}, {b}, {c}); 1 not_published ({e})." in text
    assert "`imagesys explain`" in text
