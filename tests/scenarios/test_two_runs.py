"""Two runs of one country at once, and tasks of both cleared on the way: leases stay disjoint, nothing is repeated."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import pytest
import sqlalchemy as sa

from imagesys_lib.context import Context
from imagesys_lib.db.schema import lis_batches, lis_images
from imagesys_lib.errors import Stopped
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.check import check
from imagesys_lib.stages.download.download import Downloaded, download
from imagesys_lib.stages.heal import heal
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.purge import purge
from imagesys_lib.stages.repair.repair import repair
from imagesys_lib.stages.report import report
from imagesys_lib.stages.sync import sync
from imagesys_lib.stages.thumbnail import thumbnail
from tests.support.world import NODES, World, wait_for

Tasks = Mapping[str, Callable[[], object]]


def tasks(ctx: Context, run: Run, batches: list[int]) -> Tasks:
    """The tasks of a run as Airflow would start them, in order; the holder of a lease is the task."""
    found: dict[str, Callable[[], object]] = {
        "heal": lambda: heal(ctx, run),
        "ingest": lambda: ingest(ctx, run),
        "plan": lambda: plan(ctx, run),
    }
    for number, batch in enumerate(batches):
        name = f"{run.run_id}.{number}"
        found[f"download {number}"] = lambda batch=batch, name=name: download(ctx, batch, f"{name} download")
        found[f"thumbnail {number}"] = lambda batch=batch, name=name: thumbnail(ctx, batch, f"{name} thumbnail")
    for node in NODES:
        found[f"sync {node}"] = lambda node=node: sync(ctx, node)
    found["publish"] = lambda: publish(ctx)
    if run.kind is RunKind.SCHEDULED:
        found["purge"] = lambda: purge(ctx, run=run)
        for node in NODES:
            found[f"check {node}"] = lambda node=node: check(ctx, node, run.run_id)
            found[f"repair {node}"] = lambda node=node: repair(ctx, node)
    return found


class Two:
    """A daily run, and another that began when 20 more photos had been loaded: two batches of ten each."""

    def __init__(self, world: World) -> None:
        world.reconfigure(batch={"size": 10}, fetch={"per_host": 2, "in_flight": 2})
        self.world, self.entries = world, {}
        self.daily, self.other = world.run(run_id="daily"), world.run(RunKind.MANUAL, run_id="other")
        self.batches = {}
        for number, run in enumerate((self.daily, self.other)):
            self.entries |= world.seed(20, seed=number)
            runs.begin(world.ctx.db, run)
            ingest(world.ctx, run)
            self.batches[run.run_id] = [batch.batch_id for batch in plan(world.ctx, run)]
            assert len(self.batches[run.run_id]) == 2
        self.owners = self.images_by_batch()

    def images_by_batch(self) -> dict[int, frozenset[str]]:
        rows = self.world.images().values()
        return {
            batch: frozenset(row.image_url for row in rows if row.batch_id == batch)
            for batch in (row.batch_id for row in self.world.rows(sa.select(lis_batches.c.batch_id)))
        }

    def tasks(self, run: Run) -> Tasks:
        return tasks(self.world.context(), run, self.batches[run.run_id])

    def urls(self, run: Run) -> set[str]:
        return set().union(*(self.owners[batch] for batch in self.batches[run.run_id]))

    def asked(self, run: Run) -> dict[str, int]:
        """How often the web site was asked for each photo of a run."""
        counts = self.world.requests()
        return {url: counts[self.entries[url].target] for url in self.urls(run)}

    def require_all_live(self) -> None:
        report_of = report(self.world.ctx, self.other, [])
        assert report_of.lost == []
        assert set(self.world.count()) == {"live"}
        assert self.world.live().keys() == self.entries.keys()
        assert len(self.world.equal_trees()) == 80
        assert self.images_by_batch() == self.owners  # each image in the batch that first took it
        assert [len(images) for images in self.owners.values()] == [10] * 4


@pytest.fixture
def two(world: World) -> Two:
    return Two(world)


@pytest.mark.long  # every task of a run, many times
def test_every_finished_task_of_a_run_is_cleared_alone_and_with_downstream_while_another_is_at_work(
    world: World, two: Two
) -> None:
    for work in two.tasks(two.daily).values():
        work()
    report(world.ctx, two.daily, [])
    daily = two.tasks(two.daily)
    published = {url: row.insert_time for url, row in world.live().items()}
    assert published.keys() == two.urls(two.daily)
    failed: list[BaseException] = []

    def other_run() -> None:
        try:
            for work in two.tasks(two.other).values():
                work()
        except BaseException as error:  # noqa: BLE001 - shown below
            failed.append(error)

    world.sandbox.website.set_delay(300)  # ten photos, two at once: over a second a batch
    thread = threading.Thread(target=other_run)
    thread.start()
    wait_for(lambda: sum(two.asked(two.other).values()) > 2, "the other run's downloads")
    names = list(daily)
    for position, name in enumerate(names):
        daily[name]()  # alone
        for later in names[position + 1 :: 5]:  # and with what comes after it, in strides
            daily[later]()
    world.sandbox.website.set_delay(0)
    thread.join(60)
    assert failed == []
    for node in NODES:
        sync(world.ctx, node)
    publish(world.ctx)
    two.require_all_live()
    assert set(two.asked(two.daily).values()) == {1}
    assert set(two.asked(two.other).values()) == {1}
    assert {url: row.insert_time for url, row in world.live().items() if url in published} == published


def test_a_running_download_is_cleared_while_another_run_is_at_work(world: World, two: Two) -> None:
    world.sandbox.website.set_delay(800)
    first, second = (two.batches[run.run_id][0] for run in (two.daily, two.other))
    cleared = world.context(stop=threading.Event())
    other = world.context()
    ended: list[object] = []

    def attempt(ctx: Context, batch: int, holder: str) -> None:
        try:
            ended.append(download(ctx, batch, holder))
        except Stopped as stopped:
            ended.append(stopped)

    threads = [
        threading.Thread(target=attempt, args=(cleared, first, "daily download")),
        threading.Thread(target=attempt, args=(other, second, "other download")),
    ]
    for thread in threads:
        thread.start()
    done = sa.select(lis_images.c.image_url).where(lis_images.c.batch_id == first, lis_images.c.state == "downloaded")
    wait_for(lambda: len(world.rows(done)) > 0, "photos of the daily run")
    cleared.stop.set()  # Airflow ends the task that is cleared, and starts its next try
    threads[0].join(30)
    kept = {row.image_url for row in world.rows(done)}
    again = download(world.ctx, first, "daily download")
    threads[1].join(30)
    assert isinstance(ended[0], Stopped)
    assert isinstance(ended[1], Downloaded)
    assert ended[1].fetched == 10
    assert again.fetched + again.adopted == 10 - len(kept)
    asked = two.asked(two.daily)
    assert {asked[url] for url in kept} == {1}
    assert sum(asked.values()) <= 10 + 2  # the two that were in flight
    assert {count for url, count in two.asked(two.other).items() if url in two.owners[second]} == {1}
    world.sandbox.website.set_delay(0)
    for run in (two.daily, two.other):
        for work in two.tasks(run).values():
            work()
    two.require_all_live()
