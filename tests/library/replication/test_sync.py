"""Nodes converge on the desired state: one that is away, one that lies about itself, one that breaks in the middle."""

from __future__ import annotations

import json
import os
import signal
import time

import psutil
import pytest
import sqlalchemy as sa

from imagesys_lib.db.engine import write
from imagesys_lib.db.locks import named_lock
from imagesys_lib.db.schema import lis_change_acks, lis_changes, lis_images, lis_node_repairs, lis_nodes
from imagesys_lib.errors import EnvironmentFault, Stopped
from imagesys_lib.images.hash_and_path import lis_hash_for_url, thumbnail_path
from imagesys_lib.nodes import NodeFault, NodeSession
from imagesys_lib.replication import change_log, node_records
from imagesys_lib.stages.check import check
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.repair.repair import repair
from imagesys_lib.stages.report import report
from imagesys_lib.stages.sync import Synced, sync
from imagesys_lib.stages.thumbnail import thumbnail
from tests.support.trees import assert_equal_nodes
from tests.support.world import NODES, World, in_threads, wait_for


def made(world: World, images: int = 20) -> list[str]:
    """Photos that have their thumbnails and wait for the nodes; returns their paths."""
    entries = world.seed(images)
    run = world.run()
    ingest(world.ctx, run)
    for batch in plan(world.ctx, run):
        download(world.ctx, batch.batch_id)
        thumbnail(world.ctx, batch.batch_id)
    assert world.count() == {"thumbnailed": images}
    return sorted(thumbnail_path("uk", lis_hash_for_url(url), n) for url in entries for n in (1, 2))


def marks(world: World) -> dict[tuple[str, str], str]:
    return {(row.node, row.image_hash): row.reason for row in world.rows(sa.select(lis_node_repairs))}


def with_connection(world: World, node: str, **extra: str) -> None:
    name = f"AIRFLOW_CONN_{node.upper()}"
    raw = json.loads(os.environ[name])
    raw["extra"].update(extra)
    world.patch.setenv(name, json.dumps(raw))


def test_a_node_that_is_away_fails_alone_and_catches_up_by_itself(world: World) -> None:
    entries = world.seed(30)
    world.sandbox.nodes.stop_node("n2")
    run = world.run()
    said: list[str] = []
    summary = world.pipeline(run, said.append)

    assert any("sync[n2] failed" in line for line in said)
    assert world.live().keys() == entries.keys()  # by quorum
    assert world.tree("n1") == world.tree("n3")
    assert len(world.tree("n1")) == 60
    assert world.tree("n2") == {}
    assert len(summary.lost) == 1
    assert "Node n2 is behind by 30 images" in summary.lost[0]
    assert "unreachable" in summary.lost[0]
    assert "start sshd on n2" in summary.lost[0]
    rows = {row.node: row for row in world.rows(sa.select(lis_nodes))}
    assert (rows["n1"].fault, rows["n2"].fault, rows["n3"].fault) == (None, "unreachable", None)
    assert len(world.staged("out")) == 60  # kept for n2

    world.sandbox.nodes.start_node("n2")
    with NodeSession(world.ctx.node("n2")) as node:
        node.prepare()
        node.set_behind("uk", False)  # as it was before it went away
    kept = len(change_log.pending(world.ctx.db, "n2"))  # one, or more where the machine was slow
    assert sync(world.ctx, "n2") == Synced(pushed=60, changes=kept)
    assert_equal_nodes(world)
    assert world.staged("out") == []
    assert (world.root("n2") / ".imagesys" / "ready").exists()
    assert all(check(world.ctx, name).clean for name in NODES)
    assert report(world.ctx, run).lost == []  # cleared and made again, it tells the truth again
    assert {row.fault for row in world.rows(sa.select(lis_nodes))} == {None}


def test_without_a_quorum_nothing_goes_live(world: World) -> None:
    made(world, 5)
    sync(world.ctx, "n1")
    assert publish(world.ctx) == 0
    assert world.live() == {}
    sync(world.ctx, "n2")
    assert publish(world.ctx) == 5
    assert publish(world.ctx) == 0


def test_a_node_without_the_files_counts_not_towards_the_quorum_and_an_old_mark_of_another_takes_nothing_away(
    world: World,
) -> None:
    made(world, 3)
    a, b, c = sorted(row.image_hash for row in world.images().values())
    sync(world.ctx, "n1")
    sync(world.ctx, "n3")
    mark = sa.insert(lis_node_repairs).values(reason="missing", since=sa.func.utc_timestamp(6))
    rows = [{"node": "n2", "image_hash": a}, {"node": "n3", "image_hash": b}]
    write(world.ctx.db, lambda connection: connection.execute(mark, rows))
    assert publish(world.ctx) == 2
    assert {row.image_hash for row in world.live().values()} == {a, c}


def test_a_host_key_that_changed_is_refused_and_nothing_is_written(world: World) -> None:
    made(world, 3)
    other = world.sandbox.nodes["n1"].host_key
    with_connection(world, "n2", host_key=other)
    with pytest.raises(NodeFault) as caught:
        sync(world.ctx, "n2")
    assert caught.value.reason == "host_key"
    assert "verify it with the node's administrator" in str(caught.value)
    assert list(world.root("n2").iterdir()) == []
    assert world.rows(sa.select(lis_nodes))[0].fault == "host_key"

    for name in ("n1", "n3"):
        sync(world.ctx, name)
    assert publish(world.ctx) == 3  # by quorum: the others do not wait
    with_connection(world, "n2", host_key=world.sandbox.nodes["n2"].host_key)  # verified, and corrected
    assert sync(world.context(), "n2").pushed == 6
    assert {row.fault for row in world.rows(sa.select(lis_nodes))} == {None}
    assert len(assert_equal_nodes(world)) == 6


def test_a_connection_without_a_host_key_is_never_used(world: World) -> None:
    with_connection(world, "n2", host_key="")
    with pytest.raises(EnvironmentFault, match=r"no host_key extra.*ssh-keyscan"):
        world.ctx.node("n2")


def test_a_key_that_the_node_does_not_know_is_an_auth_fault(world: World, tmp_path: os.PathLike[str]) -> None:
    with_connection(world, "n2", key_file="/dev/null")
    with pytest.raises(NodeFault) as caught:
        sync(world.ctx, "n2")
    assert caught.value.reason == "auth"


def test_a_private_key_in_the_connection_serves_as_well_as_a_file(world: World) -> None:
    key = world.sandbox.nodes["n2"].client_key.read_text()
    with_connection(world, "n2", key_file="", private_key=key)
    assert sync(world.ctx, "n2") == Synced()


def test_one_file_that_cannot_be_pushed_is_set_aside_and_the_rest_arrives(world: World) -> None:
    paths = made(world, 12)
    victim = paths[7]
    in_the_way = world.root("n1") / victim / "keep"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    h = lis_hash_for_url(
        next(u for u in world.images() if thumbnail_path("uk", lis_hash_for_url(u), 1)[:-6] == victim[:-6])
    )
    assert sync(world.ctx, "n1").set_aside == 1
    assert marks(world) == {("n1", h): "transfer"}
    arrived = set(world.tree("n1"))
    assert arrived >= set(paths) - {thumbnail_path("uk", h, 1), thumbnail_path("uk", h, 2)}
    sync(world.ctx, "n2")
    sync(world.ctx, "n3")
    assert publish(world.ctx) == 12

    # The check sees it, and one image that cannot be repaired holds no other one up.
    other = world.root("n1") / next(path for path in paths if h[3:] not in path)
    other.unlink()
    found = check(world.ctx, "n1")
    assert node_records.absent_files(found.findings) >= 1
    assert victim.removeprefix("uk/") in found.samples["not_a_file"]
    assert repair(world.ctx, "n1").restored == 1
    assert other.exists()
    assert marks(world).keys() == {("n1", h)}

    in_the_way.unlink()
    in_the_way.parent.rmdir()
    assert repair(world.ctx, "n1").restored == 1
    assert_equal_nodes(world)
    assert marks(world) == {}


def test_a_sync_killed_in_mid_transfer_leaves_no_half_files_and_a_second_one_completes_it(world: World) -> None:
    paths = made(world, 40)
    world.configure(transfer={"bandwidth_kbps": 40})
    child = world.spawn("sync", "uk", "--node", "n1")
    wait_for(lambda: 5 < len(world.tree("n1")) < len(paths) - 5, "a transfer under way")
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    wait_for(lambda: not transfers_of(world, "n1"), "the node's rsync to end")
    assert 0 < len(world.tree("n1")) < len(paths)
    whole = {path: (world.staging / "out" / path).read_bytes() for path in paths}
    for path in world.tree("n1"):
        assert (world.root("n1") / path).read_bytes() == whole[path]
    assert not (world.root("n1") / ".imagesys" / "ready").exists()
    world.reconfigure()
    world.sync_all()
    assert publish(world.ctx) == 40
    assert sorted(assert_equal_nodes(world)) == paths
    assert {row.node for row in world.rows(sa.select(lis_change_acks))} == set(NODES)


def transfers_of(world: World, node: str) -> list[str]:
    root = str(world.root(node))
    return [
        p.info["name"]
        for p in psutil.process_iter(["name", "cmdline"])
        if root in " ".join(p.info["cmdline"] or ()) and p.info["name"] == "rsync"
    ]


def test_leftovers_of_a_killed_transfer_are_swept_when_they_are_old(world: World) -> None:
    temp = world.root("n1") / ".imagesys" / "tmp"
    temp.mkdir(parents=True)
    for name, age in (("old", 7200), ("young", 60)):
        (temp / name).touch()
        os.utime(temp / name, (time.time() - age,) * 2)
    sync(world.ctx, "n1")
    assert [path.name for path in temp.iterdir()] == ["young"]


def test_a_change_that_commits_late_is_not_lost_behind_a_newer_one(world: World) -> None:
    """Acknowledged one by one, never by a high-water mark: ids do not commit in order."""
    made(world, 2)
    first, second = sorted(row.image_id for row in world.images().values())
    with world.ctx.db.connect() as slow:
        late = change_log.record(slow)
        slow.execute(sa.update(lis_images).where(lis_images.c.image_id == first).values(change_id=late))

        def newer(connection: sa.Connection) -> int:
            change = change_log.record(connection)
            connection.execute(sa.update(lis_images).where(lis_images.c.image_id == second).values(change_id=change))
            return change

        assert write(world.ctx.db, newer) > late
        sync(world.ctx, "n1")
        assert late not in change_log.pending(world.ctx.db, "n1")
        slow.commit()
    assert change_log.pending(world.ctx.db, "n1") == [late]
    assert sync(world.ctx, "n1").changes == 1
    assert len(world.tree("n1")) == 4


def test_an_older_change_holds_only_what_still_matters(world: World) -> None:
    made(world, 4)
    change = world.scalar(sa.select(sa.func.max(lis_changes.c.change_id)))

    def purge_two(connection: sa.Connection) -> None:
        newer = change_log.record(connection)
        ids = connection.scalars(sa.select(lis_images.c.image_id).order_by(lis_images.c.image_id).limit(2)).all()
        connection.execute(
            sa.update(lis_images)
            .where(lis_images.c.image_id.in_(ids))
            .values(change_id=newer, desired="absent", state="purged")
        )

    write(world.ctx.db, purge_two)
    assert len(change_log.group_of(world.ctx.db, [change]).images) == 2
    assert sync(world.ctx, "n1") == Synced(pushed=4, deleted=4, changes=2)
    assert len(world.tree("n1")) == 4


def test_what_is_gone_from_staging_is_marked_and_brought_by_a_peer(world: World) -> None:
    paths = made(world, 4)
    sync(world.ctx, "n1")
    (world.staging / "out" / paths[0]).unlink()
    assert sync(world.ctx, "n2").set_aside == 1
    assert set(marks(world).values()) == {"not_staged"}
    assert repair(world.ctx, "n2").restored == 1
    assert world.tree("n2") == world.tree("n1")
    assert marks(world) == {}


def test_two_syncs_of_one_node_wait_for_each_other(world: World) -> None:
    made(world, 10)
    contexts = [world.context(), world.context()]
    results = in_threads(*[lambda c=c: sync(c, "n1") for c in contexts])
    assert sorted(result.pushed for result in results) == [0, 20]


def test_waiting_for_a_node_has_an_end_and_obeys_a_stop(world: World) -> None:
    ctx = world.reconfigure(transfer={"lock_timeout": 0.5})
    with named_lock(ctx.db, "imagesys.uk.n1", timeout=1), pytest.raises(NodeFault, match=r"busy.*another worker"):
        sync(ctx, "n1")
    assert world.rows(sa.select(lis_nodes)) == []  # no fault of the node's, for which others would pass it over
    ctx = world.reconfigure(transfer={"lock_timeout": 60})
    ctx.stop.set()
    with named_lock(ctx.db, "imagesys.uk.n1", timeout=1), pytest.raises(Stopped):
        sync(ctx, "n1")


def test_changes_are_taken_in_their_order_and_at_most_a_thousand_images_at_once(world: World) -> None:
    urls = world.new_images(1300)
    hashes = [lis_hash_for_url(url) for url in urls]
    sizes = [0, 1, 400, 0, 500, 300, 99, 0]
    ids = []

    def work(connection: sa.Connection) -> None:
        first = 0
        for size in sizes:
            ids.append(change_log.record(connection))
            own = lis_images.c.image_hash.in_(hashes[first : first + size])
            connection.execute(sa.update(lis_images).where(own).values(change_id=ids[-1]))
            first += size

    write(world.ctx.db, work)
    taken = []
    for group in change_log.groups(world.ctx.db, "n1"):
        taken.append((len(group.change_ids), len(group.images)))
        assert [image.image_hash for image in group.images] == sorted(image.image_hash for image in group.images)
        change_log.acknowledge(world.ctx.db, "n1", group.change_ids)
    assert taken == [(5, 901), (3, 399)]
    assert list(change_log.groups(world.ctx.db, "n1")) == []
    world.sql("UPDATE lis_images SET change_id = :c LIMIT 1000", c=ids[1])
    group = next(change_log.groups(world.ctx.db, "n2"))
    assert (group.change_ids, len(group.images)) == (ids[:2], 1000)
