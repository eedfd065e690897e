"""Backfills yield to the daily run, also those that clear a day's own scheduled run."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from imagesys_lib.config.intervals import local_day
from include.sandbox.settings import PROJECT
from tests.support.world import DAY

DAG_ID = "imagesys_de"
NOW = dt.datetime(2026, 3, 30, 12, tzinfo=dt.timezone.utc)


@pytest.mark.parametrize(
    ("run_id", "is_daily"),
    [
        ("scheduled__2026-03-30T02:00:00+00:00", True),
        ("scheduled__2026-03-29T02:00:00+00:00", True),  # late, and nothing has come after it
        ("scheduled__2026-03-28T03:00:00+00:00", False),  # a backfill or a person has cleared it
        ("backfill__2026-03-30T02:00:00+00:00", False),
        ("manual__2026-03-01T12:00:00+00:00_Ab1", True),  # somebody waits for it
        ("scheduled__someday", True),
        ("mine", True),
    ],
)
def test_the_newest_days_run_goes_before_backfills_and_days_that_are_done_again(run_id: str, is_daily: bool) -> None:
    from imagesys_airflow.scheduling.priority import DAILY_BEFORE_BACKFILL, weight

    assert weight(30, run_id, NOW) == 30 + DAILY_BEFORE_BACKFILL * is_daily


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("airflow_database", "world")
def test_a_forced_backfill_weighs_less_although_the_run_that_it_clears_keeps_its_id() -> None:
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.backfill import ReprocessBehavior, _create_backfill  # noqa: TID251 - tests stand where the scheduler does
    from airflow.models.dagrun import DagRun  # noqa: TID251
    from airflow.models.serialized_dag import SerializedDagModel  # noqa: TID251
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    bag = DagBag(str(PROJECT / "dags"))
    sync_bag_to_db(bag, "dags-folder", None)
    interval = local_day(DAY, ZoneInfo("Europe/Berlin"))
    run_after = interval.end + dt.timedelta(hours=3)
    run_id = f"scheduled__{run_after.astimezone(dt.timezone.utc).isoformat()}"
    with create_session() as session:
        row = session.scalar(SerializedDagModel.latest_item_select_object(DAG_ID))
        row.dag.create_dagrun(
            run_id=run_id,
            logical_date=interval.start,
            data_interval=(interval.start, interval.end),
            run_after=run_after,
            run_type=DagRunType.SCHEDULED,
            triggered_by=DagRunTriggeredByType.TIMETABLE,
            state="success",
            session=session,
        )
    _create_backfill(
        dag_id=DAG_ID,
        from_date=interval.start,
        to_date=interval.start,
        max_active_runs=1,
        reverse=False,
        dag_run_conf={"force": True},
        triggering_user_name="ops",
        reprocess_behavior=ReprocessBehavior.COMPLETED,
    )
    with create_session() as session:
        (run,) = session.query(DagRun).filter(DagRun.dag_id == DAG_ID).all()
        weights = {ti.task_id: ti.priority_weight for ti in run.get_task_instances(session=session)}
        assert (run.run_id, run.run_type) == (run_id, "backfill")
    own = {task_id: task.priority_weight for task_id, task in bag.dags[DAG_ID].task_dict.items()}
    assert weights == own
