"""A purge and a push at once, each held in the middle while the other one works: the newest intent wins everywhere."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import psutil
import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_change_acks, lis_images
from imagesys_lib.replication import change_log
from imagesys_lib.runs.runs import RunKind
from imagesys_lib.stages.check import db_scan
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.purge import purge
from imagesys_lib.stages.sync import sync
from imagesys_lib.stages.thumbnail import thumbnail
from include.sandbox import ManifestEntry
from tests.library.nodes.test_node_faults import receivers
from tests.library.stages.test_purge import first_listings, paths_of
from tests.support.trees import assert_equal_nodes
from tests.support.world import NODES, World, wait_for

Entries = dict[str, ManifestEntry]
AT_ONCE = {"cap_percent": 100, "max_unlisted_percent": 100, "retention_days": 0, "grace_hours": 0}


class Beside:
    """Something that works in a thread of its own once it is started, and has ended when the block has."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.result: object = None
        self.error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            self.error = error

    def __enter__(self) -> Beside:
        return self

    def start(self) -> None:
        self._thread.start()

    @property
    def is_at_work(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> None:
        """Wait for it; it must have ended well."""
        self._thread.join(60)
        assert not self.is_at_work
        assert self.error is None

    def __exit__(self, *_: object) -> None:
        if self.is_at_work:
            self._thread.join(60)


@contextlib.contextmanager
def stopped(processes: list[psutil.Process]) -> Iterator[None]:
    """Hold processes where they are."""
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def locked(world: World, statement: sa.Executable) -> Iterator[None]:
    """Keep what a statement locks, and undo it at the end."""
    with world.context().db.connect() as connection:
        connection.execute(statement)
        try:
            yield
        finally:
            connection.rollback()


def make(world: World) -> None:
    """Make what is due, as far as staging."""
    run = world.run(RunKind.MANUAL)
    ingest(world.ctx, run)
    for batch in plan(world.ctx, run):
        download(world.ctx, batch.batch_id)
        thumbnail(world.ctx, batch.batch_id)


def assert_published(world: World, urls: set[str]) -> None:
    """The independent comparison: three trees, what should be there, and what the website is given."""
    assert world.live().keys() == urls
    assert assert_equal_nodes(world).keys() == paths_of(urls)
    assert db_scan(world.ctx).clean
    assert world.staged("out") == []


@pytest.fixture
def half_gone(world: World) -> tuple[Entries, set[str]]:
    """Photos that are live on n1 and n2 and still to come to n3; every other listing has left the ETL since."""
    world.reconfigure(purge=AT_ONCE)
    entries = world.seed(40)
    make(world)
    for name in ("n1", "n2"):
        sync(world.ctx, name)
    publish(world.ctx)
    assert world.live().keys() == entries.keys()
    listings = sorted({listing for entry in entries.values() for listing in entry.listing_ids})[::2]
    world.sandbox.etl.remove("uk", listings)
    gone = {url for url, entry in entries.items() if set(entry.listing_ids) <= set(listings)}
    assert 0 < len(gone) < len(entries)
    return entries, gone


@pytest.mark.long  # a slow push
def test_images_are_purged_while_a_push_of_them_and_of_others_is_on_its_way(
    world: World, half_gone: tuple[Entries, set[str]]
) -> None:
    entries, gone = half_gone
    slow = world.reconfigure(purge=AT_ONCE, transfer={"bandwidth_kbps": 30})
    with Beside(lambda: sync(slow, "n3")) as push:
        push.start()
        at_work = wait_for(lambda: len(world.tree("n3")) > 5 and receivers(world, "n3"), "a transfer under way")
        with stopped(at_work):
            assert 0 < len(world.tree("n3")) < 2 * len(entries)
            found = purge(world.context())
            assert (found.unpublished, found.deleted) == (len(gone), len(gone))
            assert world.live().keys() == entries.keys() - gone
            assert push.is_at_work
        push.end()
    world.reconfigure(purge=AT_ONCE)
    world.sync_all()
    assert_published(world, entries.keys() - gone)


def test_a_push_comes_through_while_a_purge_of_its_images_waits_in_the_middle(
    world: World, half_gone: tuple[Entries, set[str]]
) -> None:
    entries, gone = half_gone
    last = max(row.image_id for url, row in world.images().items() if url in gone)
    someone = sa.select(lis_images.c.image_id).where(lis_images.c.image_id == last).with_for_update()
    with Beside(lambda: purge(world.context())) as purging:
        with locked(world, someone):
            purging.start()
            marked = sa.text("SELECT COUNT(*) FROM lis_listing_images WHERE missing_since IS NOT NULL")
            wait_for(lambda: world.scalar(marked) > 0, "a purge under way")
            assert sync(world.ctx, "n3").pushed == 2 * len(entries)
            assert world.tree("n3").keys() == paths_of(set(entries))
            assert world.live().keys() == entries.keys()
            assert purging.is_at_work
        purging.end()
    assert world.live().keys() == entries.keys() - gone
    world.sync_all()
    assert_published(world, entries.keys() - gone)


def test_images_are_listed_again_and_made_while_a_node_is_deleting_them(world: World, live: Entries) -> None:
    world.reconfigure(purge=AT_ONCE)
    listings, urls = first_listings(live, 3)
    world.sandbox.etl.remove("uk", listings)
    assert purge(world.ctx).deleted == len(urls)
    (deletion,) = change_log.pending(world.ctx.db, "n1")
    ack = {"change_id": deletion, "node": "n1", "acked_at": sa.func.utc_timestamp(6)}
    with Beside(lambda: sync(world.context(), "n1")) as deleting:
        with locked(world, sa.insert(lis_change_acks).values(ack)):  # n1 deletes, and cannot say so yet
            deleting.start()
            wait_for(lambda: world.tree("n1").keys() == paths_of(set(live) - urls), "the deletion on n1")
            world.seed(40)
            make(world)
            for name in ("n2", "n3"):
                sync(world.ctx, name)
            publish(world.ctx)
            assert world.live().keys() == live.keys()
            assert deleting.is_at_work
            assert not world.tree("n1").keys() & paths_of(urls)
        deleting.end()
    world.sync_all()
    assert_published(world, set(live))


@pytest.mark.long
def test_a_run_that_purges_beside_a_sync_of_every_node_ends_as_the_etl_says(
    world: World, half_gone: tuple[Entries, set[str]]
) -> None:
    entries, gone = half_gone
    ended = threading.Event()

    def syncs(name: str) -> int:
        ctx, rounds = world.context(), 0
        while not ended.is_set():
            sync(ctx, name)
            rounds += 1
        return rounds

    workers = [Beside(lambda name=name: syncs(name)) for name in NODES]  # type: ignore[misc]
    with contextlib.ExitStack() as stack:
        for worker in workers:
            stack.enter_context(worker).start()
        stack.callback(ended.set)
        summary = world.pipeline()
    for worker in workers:
        worker.end()
    assert summary.lost == []
    assert all(worker.result for worker in workers)
    world.sync_all()
    assert_published(world, entries.keys() - gone)
