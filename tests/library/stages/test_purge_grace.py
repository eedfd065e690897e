"""The grace period of a purge: off the site at once, off the nodes later, and back without a download until then."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
import sqlalchemy as sa

from imagesys_lib.db.engine import write
from imagesys_lib.db.schema import lis_change_acks, lis_changes, lis_images
from imagesys_lib.images.hash_and_path import lis_hash_for_url
from imagesys_lib.ops.explain import explain
from imagesys_lib.replication import node_records
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.check import check
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.purge import RuleResult, purge
from imagesys_lib.stages.purge.rules import Cutoffs, PurgeRule
from imagesys_lib.stages.purge.unpublish import restore_relisted, unpublish
from imagesys_lib.stages.repair.repair import repair
from imagesys_lib.stages.sync import sync
from imagesys_lib.stages.thumbnail import thumbnail
from include.sandbox import ManifestEntry
from tests.library.stages.test_purge import first_listings, ingested, paths_of
from tests.support.trees import assert_equal_nodes
from tests.support.world import DAY, NODES, World

Entries = dict[str, ManifestEntry]
GRACE = {"cap_percent": 100, "max_unlisted_percent": 60, "retention_days": 0, "grace_hours": 24}


def let_pass(world: World, *, hours: float) -> None:
    """Bring the end of every grace period nearer."""
    world.sql(
        "UPDATE lis_images SET next_attempt_at = TIMESTAMPADD(SECOND, :s, next_attempt_at) "
        "WHERE state = 'purged' AND next_attempt_at < '9999-01-01'",
        s=round(-hours * 3600),
    )


@pytest.fixture
def gone(world: World, live: Entries) -> set[str]:
    """URLs that two listings alone showed, now off the site; their files wait."""
    world.reconfigure(purge=GRACE)
    listings, urls = first_listings(live, 2)
    world.sandbox.etl.remove("uk", listings)
    found = purge(world.ctx)
    assert (found.unpublished, found.deleted, found.in_grace) == (len(urls), 0, len(urls))
    return urls


def test_files_stay_until_the_grace_period_has_passed_and_go_then(world: World, live: Entries, gone: set[str]) -> None:
    assert world.live().keys() == live.keys() - gone
    let_pass(world, hours=23.9)
    assert purge(world.ctx).deleted == 0
    assert world.equal_trees().keys() == paths_of(set(live))
    assert check(world.ctx, "n1").clean
    assert (
        "its files leave the nodes from"
        in explain(world.ctx, [lis_hash_for_url(min(gone))], ask_nodes=False)[0].verdict
    )

    let_pass(world, hours=0.2)
    run = ingested(world, world.run())
    found = purge(world.ctx, run=run)
    assert (found.unpublished, found.deleted, found.in_grace) == (0, len(gone), 0)
    world.sync_all()
    assert world.equal_trees().keys() == paths_of(set(live) - gone)
    assert check(world.ctx, "n1").clean
    assert purge(world.ctx, run=run).deleted == 0
    assert explain(world.ctx, [lis_hash_for_url(min(gone))], ask_nodes=False)[0].verdict.startswith(
        "Purged (no listing shows it any more)"
    )


def test_listed_again_within_the_grace_it_is_live_again_without_a_download(
    world: World, live: Entries, gone: set[str]
) -> None:
    world.seed(40)
    summary = world.pipeline()
    assert summary.lost == []
    assert world.live().keys() == live.keys()
    assert sum(world.requests().values()) == 0
    assert world.equal_trees().keys() == paths_of(set(live))
    let_pass(world, hours=99)
    assert purge(world.ctx).deleted == 0


def test_a_listing_that_is_back_without_a_new_date_is_seen_by_the_look_up(
    world: World, live: Entries, gone: set[str]
) -> None:
    """No ingest reads it: its date is that of a day long past."""
    world.seed(40)
    let_pass(world, hours=25)
    found = purge(world.ctx)
    assert (found.returned, found.deleted) == (len(gone), 0)
    assert publish(world.ctx) == len(gone)
    assert world.live().keys() == live.keys()


def test_it_comes_back_though_the_acknowledgements_are_long_pruned(world: World, live: Entries, gone: set[str]) -> None:
    world.write_all(world.ctx.db, [sa.delete(lis_change_acks), sa.delete(lis_changes)])
    world.seed(40)
    ingest(world.ctx, world.run())
    h = lis_hash_for_url(min(gone))
    made = "Made, and {} nodes hold it: the next publish makes it live."
    assert explain(world.ctx, [h], ask_nodes=False)[0].verdict == made.format(3)
    node_records.mark(world.ctx.db, "n1", {h: "missing"})
    assert explain(world.ctx, [h], ask_nodes=False)[0].verdict == made.format(2)
    assert publish(world.ctx) == len(gone)


@pytest.mark.parametrize(("nodes", "published"), [(("n1",), True), (("n1", "n2"), False)])
def test_whether_enough_nodes_still_hold_it_is_asked_when_it_comes_back(
    world: World, live: Entries, gone: set[str], nodes: tuple[str, ...], published: bool
) -> None:
    for name in nodes:
        (world.root(name) / min(paths_of({min(gone)}))).unlink()
        assert check(world.ctx, name).findings == {"acked_absent": 1}
    world.seed(40)
    ingest(world.ctx, world.run())
    publish(world.ctx)
    assert (min(gone) in world.live()) is published
    for name in nodes:
        assert repair(world.ctx, name).restored == 1
    publish(world.ctx)
    assert min(gone) in world.live()
    assert sum(world.requests().values()) == 0
    world.equal_trees()


def test_files_lost_everywhere_or_made_by_another_recipe_are_made_again(
    world: World, live: Entries, gone: set[str]
) -> None:
    lost, other = sorted(gone)[:2]
    for name in NODES:
        for path in paths_of({lost}):
            (world.root(name) / path).unlink()
    world.sql("INSERT INTO lis_node_repairs VALUES ('n1', :h, 'missing', NOW())", h=lis_hash_for_url(lost))
    repair(world.ctx, "n1")
    row = world.images()[lost]
    assert (row.state, row.desired, row.thumbs) == ("purged", "none", None)
    world.write_all(world.ctx.db, [sa.update(lis_images).where(lis_images.c.image_url == other).values(recipe="old")])
    world.seed(40)
    assert ingest(world.ctx, world.run()).released == len(gone)
    assert publish(world.ctx) == len(gone) - 2
    images = world.images()
    assert {(images[url].state, images[url].desired, images[url].thumbs) for url in (lost, other)} == {
        ("new", "none", None)
    }


def test_what_was_off_the_site_before_this_version_has_no_grace_and_leaves_the_queue(
    world: World, live: Entries
) -> None:
    world.reconfigure(purge=GRACE)
    world.sql("UPDATE lis_images SET state = 'purged', desired = 'absent', next_attempt_at = '2026-01-01'")
    world.sql("DELETE FROM lis_listing_images")
    found = purge(world.ctx)
    assert (found.deleted, found.in_grace) == (0, 0)
    assert {str(row.next_attempt_at) for row in world.images().values()} == {"9999-12-31 00:00:00"}


def test_a_half_loaded_etl_deletes_nothing_that_waits(world: World, live: Entries, gone: set[str]) -> None:
    let_pass(world, hours=25)
    world.sandbox.etl.empty("uk")
    before = world.dump()
    found = purge(world.ctx)
    assert "looks half loaded" in found.refused
    assert world.dump() == before


def test_a_dry_run_tells_what_is_due_what_waits_and_what_would_be_deleted_and_changes_nothing(
    world: World, live: Entries, gone: set[str]
) -> None:
    listings, urls = first_listings(live, 3)
    world.sandbox.etl.remove("uk", listings)
    world.sql("UPDATE lis_listing_images SET missing_since = '2026-01-01' WHERE listing_id = :l", l=listings[2])
    over = lis_hash_for_url(min(gone))
    world.sql("UPDATE lis_images SET next_attempt_at = '2026-01-01' WHERE image_hash = :h", h=over)
    before = world.dump()
    due = len(urls - gone)
    found = purge(world.ctx, dry_run=True)
    assert found.rules == {"unlisted": RuleResult(due, due, unpublished=due, in_grace=len(gone) - 1, deleted=1)}
    assert (found.looked_up, found.unlisted, found.refused) == (10, 0, "")
    assert world.dump() == before
    did = purge(world.ctx)
    assert (did.unpublished, did.deleted, did.in_grace) == (due, 1, len(gone) - 1 + due)


# Purge and upload of the same image (fault 35): the newest intent wins


def bring_live(world: World) -> None:
    """Make what is due and bring it to n1 and n2; n3 is not asked."""
    run = world.run(RunKind.MANUAL)
    ingest(world.ctx, run)
    for batch in plan(world.ctx, run):
        download(world.ctx, batch.batch_id)
        thumbnail(world.ctx, batch.batch_id)
    for name in ("n1", "n2"):
        sync(world.ctx, name)
    publish(world.ctx)


def test_a_purge_overtakes_a_push_that_a_node_has_not_seen(world: World) -> None:
    entries = world.seed(6)
    world.reconfigure(purge={**GRACE, "max_unlisted_percent": 100, "grace_hours": 0})
    bring_live(world)
    assert world.live().keys() == entries.keys()
    world.sandbox.etl.empty("uk")
    assert purge(world.ctx).deleted == len(entries)
    world.sync_all()
    assert world.equal_trees() == {}
    assert world.live() == {}
    assert assert_equal_nodes(world) == {}


def test_a_push_overtakes_a_purge_that_a_node_has_not_seen(world: World, live: Entries) -> None:
    world.reconfigure(purge={**GRACE, "grace_hours": 0})
    listings, urls = first_listings(live, 2)
    world.sandbox.etl.remove("uk", listings)
    assert purge(world.ctx).deleted == len(urls)
    sync(world.ctx, "n1")  # has deleted; n2 and n3 have not heard of it
    world.seed(40)
    bring_live(world)
    assert world.live().keys() == live.keys()
    sync(world.ctx, "n3")
    assert world.equal_trees().keys() == paths_of(set(live))
    assert assert_equal_nodes(world).keys() == paths_of(set(live))


def test_an_image_listed_again_while_it_is_being_purged_is_brought_back(world: World, live: Entries) -> None:
    """Ingest looks at images without locks: it may look just before a purge ends."""
    world.reconfigure(purge=GRACE)
    url = min(live)
    h = lis_hash_for_url(url)
    cut = Cutoffs(world.scalar(sa.select(sa.func.utc_timestamp(6))))
    world.sql("UPDATE lis_listing_images SET missing_since = '2026-01-01' WHERE image_hash = :h", h=h)
    locked, looked = threading.Event(), threading.Event()

    def purging(connection: sa.Connection) -> None:
        assert unpublish(connection, [h], PurgeRule.UNLISTED, cut, grace_hours=24) == 1
        locked.set()
        assert looked.wait(20)

    thread = threading.Thread(target=lambda: write(world.ctx.db, purging))
    thread.start()
    assert locked.wait(20)
    ctx = world.context()
    ingest(ctx, world.run())  # sees it live still, and so lets it be
    looked.set()
    thread.join(20)
    assert world.images()[url].state == "purged"
    assert restore_relisted(world.ctx, [h], cut) == 1
    assert publish(world.ctx) == 1
    assert url in world.live()


def test_a_purge_and_an_ingest_at_once_end_as_the_etl_says(world: World, live: Entries) -> None:
    world.reconfigure(purge={**GRACE, "grace_hours": 0, "max_unlisted_percent": 100})
    listings = world.sandbox.etl.listings("uk")
    half = listings[::2]
    stop = threading.Event()
    faults: list[BaseException] = []

    def purges() -> None:
        ctx = world.context()
        try:
            while not stop.is_set():
                purge(ctx)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            faults.append(error)

    thread = threading.Thread(target=purges)
    thread.start()
    ctx = world.context()
    for _ in range(2):
        world.sandbox.etl.remove("uk", [one.listing_id for one in half])
        ingest(ctx, world.run())
        for one in half:
            world.put(one.listing_id, *one.photo_urls, at=one.updated_at, datasource=one.datasource_id)
        ingest(ctx, world.run())
    stop.set()
    thread.join(60)
    assert not faults
    assert world.pipeline(world.run(RunKind.MANUAL)).lost == []
    assert world.live().keys() == live.keys()
    assert world.equal_trees().keys() == paths_of(set(live))
    assert assert_equal_nodes(world).keys() == paths_of(set(live))
    world.reconfigure(purge={**GRACE, "grace_hours": 0})
    assert purge(world.ctx).unpublished == 0


class Killed(BaseException):
    """Stands for kill -9: the connection goes and its transaction with it."""


def killed_at(world: World, run: Run, number: int) -> bool:
    """Purge, and die before the statement of that number; says whether it died."""
    ctx = world.context()
    left = [number]

    def count(*_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    sa.event.listen(ctx.db, "before_cursor_execute", count)
    try:
        purge(ctx, run=run)
    except Killed:
        return True
    finally:
        ctx.close()
    return False


def test_a_purge_killed_at_every_one_of_its_statements_loses_and_repeats_nothing(world: World, live: Entries) -> None:
    world.reconfigure(purge={**GRACE, "grace_hours": 0})
    listings, urls = first_listings(live, 3)
    run = ingested(world, world.run())
    changes_before = world.scalar(sa.select(sa.func.count()).select_from(lis_changes))
    world.sandbox.etl.remove("uk", listings)
    number = 1
    while killed_at(world, run, number):
        number += 1
    assert number > 15  # each try leaves less to do for the next
    assert world.live().keys() == live.keys() - urls
    assert {url for url, row in world.images().items() if row.desired == "absent"} == urls
    assert world.scalar(sa.select(sa.func.count()).select_from(lis_changes)) == changes_before + 1
    assert runs.figures(world.ctx.db, run.run_id, "purge.") == {"unpublished": len(urls), "deleted": len(urls)}


# Age


def test_images_grow_old_unless_their_listing_is_updated(world: World, live: Entries) -> None:
    world.reconfigure(purge={**GRACE, "max_age_days": 30, "grace_hours": 0})
    assert purge(world.ctx).unpublished == 0
    world.sql("UPDATE lis_listing_images SET etl_time = '2020-01-01', seen_at = '2020-01-02'")
    young = min(live)
    world.sql("UPDATE lis_listing_images SET etl_time = NOW() WHERE image_hash = :h", h=lis_hash_for_url(young))
    seen = max(live)
    world.sql("UPDATE lis_listing_images SET seen_at = NOW() WHERE image_hash = :h", h=lis_hash_for_url(seen))
    # In the ETL all were updated in 2026, which no ingest has noticed: they are as young as it says.
    world.reconfigure(purge={**GRACE, "max_age_days": age_of_the_etl() + 30, "grace_hours": 0})
    assert purge(world.ctx).unpublished == 0
    world.sql("UPDATE lis_listing_images SET seen_at = '2020-01-02' WHERE image_hash <> :h", h=lis_hash_for_url(seen))
    world.reconfigure(purge={**GRACE, "max_age_days": 30, "grace_hours": 0})
    found = purge(world.ctx)
    assert (found.rules["age"].unpublished, found.rules["unlisted"].unpublished) == (38, 0)
    assert found.deleted == 38
    assert world.live().keys() == {young, seen}
    # The ETL updates them: they are young again.
    for one in world.sandbox.etl.listings("uk"):
        world.sandbox.etl.touch("uk", one.listing_id, dt.datetime.combine(DAY, dt.time(12)))
    assert ingest(world.ctx, world.run()).released == 38


def age_of_the_etl() -> int:
    """Days since the sandbox's listings were updated."""
    return (dt.datetime.now(dt.timezone.utc).date() - DAY).days


def test_an_image_due_by_both_rules_counts_as_unlisted_once(world: World, live: Entries) -> None:
    world.reconfigure(purge={**GRACE, "max_age_days": 30})
    listings, urls = first_listings(live, 2)
    world.sandbox.etl.remove("uk", listings)
    world.sql("UPDATE lis_listing_images SET etl_time = '2020-01-01', seen_at = '2020-01-02'")
    found = purge(world.ctx, dry_run=True)
    assert (found.rules["unlisted"].due, found.rules["age"].due) == (0, 40)
    world.reconfigure(purge={**GRACE, "max_age_days": 30, "cap_percent": 0.1})
    purge(world.ctx)  # marks what is gone, and leaves the rest to a person
    found = purge(world.ctx, dry_run=True)
    assert (found.rules["unlisted"].due, found.rules["age"].due) == (len(urls), 40 - len(urls))
    found = purge(world.ctx, dry_run=True, rule=PurgeRule.UNLISTED)
    assert list(found.rules) == ["unlisted"]
