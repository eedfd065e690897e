"""What `publish` tells of: an event for each run that has published anything, also when it is run again."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from imagesys_lib.stages.publish import published_by
from include.sandbox.settings import PROJECT
from tests.support.images import encoded, quarters
from tests.support.photo_host import photo_host
from tests.support.world import DAY, World

pytestmark = [pytest.mark.usefixtures("airflow_database"), pytest.mark.filterwarnings("default")]
LONDON = ZoneInfo("Europe/London")
ASSET = "imagesys_uk_live"


@pytest.fixture
def uk(world: World) -> Any:
    """The DAG of uk, read with the world's configuration."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    bag = DagBag(str(PROJECT / "dags"))
    assert bag.import_errors == {}
    dag = bag.dags["imagesys_uk"]
    dag.deadline = None  # dag.test() looks it up by an id that a scheduler's DAG alone has
    sync_bag_to_db(bag, "dags-folder", None)
    return dag


def ran(dag: Any, day: dt.date) -> Any:
    run = dag.test(logical_date=dt.datetime.combine(day + dt.timedelta(days=1), dt.time(3), tzinfo=LONDON))
    assert run.state == "success"
    return run


def told(run_id: str) -> list[dict[str, Any]]:
    """The extras of a run's events, in order."""
    from airflow.models.asset import AssetEvent, AssetModel  # noqa: TID251 - tests stand where the scheduler stands
    from airflow.utils.session import create_session

    query = sa.select(AssetEvent.extra).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
    query = query.where(AssetModel.name == ASSET, AssetEvent.source_run_id == run_id).order_by(AssetEvent.id)
    with create_session() as session:
        return list(session.scalars(query))


def test_a_run_tells_what_it_has_published_and_nothing_if_that_is_nothing(world: World, uk: Any) -> None:
    world.seed(8, spread_days=1)
    first = ran(uk, DAY)
    extra = {"country": "uk", "day": DAY.isoformat(), "run_id": first.run_id, "new": 8, "replaced": 0}
    assert told(first.run_id) == [extra]
    second = ran(uk, DAY + dt.timedelta(days=1))
    assert told(second.run_id) == []


def test_a_publish_that_is_run_again_tells_what_its_run_had_published(world: World, uk: Any) -> None:
    """Killed after its work, before its event: the counts are the database's."""
    from airflow.sdk import Asset, AssetAlias

    from imagesys_airflow.operators.country import CountryJob

    world.seed(3)
    run = world.run()
    world.pipeline(run)
    assert published_by(world.ctx, run) == {"new": 3, "replaced": 0}
    events: list[tuple[Any, Any]] = []

    class Accessor:
        def add(self, asset: Asset, extra: Any) -> None:
            events.append((asset.name, extra))

    operator = uk.get_task("publish")
    assert operator.outlets == [AssetAlias(ASSET)]
    job = CountryJob(world.ctx, run, {"outlet_events": {AssetAlias(ASSET): Accessor()}})  # type: ignore[typeddict-item]
    assert operator.work(job) == {"published": 0}
    extra = {"country": "uk", "day": DAY.isoformat(), "run_id": run.run_id, "new": 3, "replaced": 0}
    assert events == [(ASSET, extra)]


def test_photos_that_took_the_place_of_others_are_counted_apart(world: World) -> None:
    with photo_host() as host:
        photo, other = (encoded(quarters(*size), "JPEG") for size in ((320, 200), (200, 320)))
        for name in ("a", "b"):
            world.put(name, host.put(f"/{name}.jpg", photo))
        world.pipeline()
        host.put("/a.jpg", other)
        world.put("c", host.put("/c.jpg", photo))
        world.reconfigure(recheck={"percent": 100})
        world.sql("UPDATE lis_images SET checked_at = checked_at - INTERVAL 2 DAY")
        run = world.run()
        world.pipeline(run)
    assert published_by(world.ctx, run) == {"new": 1, "replaced": 1}
