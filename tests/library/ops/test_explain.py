"""Explain: why is this image not live, why is it not on n2? In one screen, for a URL, a hash or a listing."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from imagesys_lib.fetch.politeness.host_records import pause
from imagesys_lib.images.hash_and_path import lis_hash_for_url, thumbnail_path
from imagesys_lib.images.states import Desired, State
from imagesys_lib.ops.explain import Explanation, explain
from imagesys_lib.ops.explain.screen import several
from imagesys_lib.ops.explain.verdicts import (
    MARKS,
    Closed,
    ImageFacts,
    NodeVerdict,
    OnNode,
    Work,
    judge_image,
    judge_node,
)
from imagesys_lib.replication import node_records
from imagesys_lib.runs import leases, runs
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.sync import sync
from imagesys_lib.stages.thumbnail import thumbnail
from include.sandbox import ManifestEntry
from tests.support.world import NODES, World

Entries = dict[str, ManifestEntry]
WANTED = {"uk/a/b/c/d.1.jpg": 10, "uk/a/b/c/d.2.jpg": 20}
HOLDS = OnNode("n2", Desired.PRESENT, WANTED, files=WANTED)


@pytest.mark.parametrize(
    ("changes", "ok", "text"),
    [
        ({}, True, "holds it"),
        ({"files": None}, True, "acknowledged"),
        ({"files": None, "unseen": "no route"}, False, "no route"),
        (
            {"files": {}, "waits_since": "noon"},
            False,
            "lacks thumbnail 1, lacks thumbnail 2: the change of noon UTC is not acknowledged; its next sync brings it",
        ),
        (
            {"files": None, "waits_since": "noon", "sync_fault": "disk_full"},
            False,
            "the change of noon UTC is not acknowledged, and its last sync failed: disk_full",
        ),
        (
            {"files": {"uk/a/b/c/d.1.jpg": 10}, "mark": "not_staged", "marked_since": "noon"},
            False,
            f"lacks thumbnail 2: marked for repair since noon UTC: {MARKS['not_staged']}",
        ),
        (
            {"files": {**WANTED, "uk/a/b/c/d.2.jpg": 19}},
            False,
            "thumbnail 2 has other bytes: it has acknowledged it; the next check finds it, its repair brings it",
        ),
        (
            {"mark": "damaged", "marked_since": "noon"},
            False,
            f"holds it, but marked for repair since noon UTC: {MARKS['damaged']}",
        ),
        ({"desired": Desired.ABSENT, "wanted": {}, "files": {}}, True, "no files, as it should be"),
        (
            {"desired": Desired.ABSENT, "wanted": {}, "waits_since": "noon"},
            False,
            "2 files that should not be there: the change of noon UTC is not acknowledged; its next sync brings it",
        ),
    ],
)
def test_a_node_is_judged_by_what_it_holds_and_what_keeps_it_from_it(
    changes: dict[str, Any], ok: bool, text: str
) -> None:
    verdict = judge_node(dataclasses.replace(HOLDS, **changes))
    assert (verdict.ok, verdict.text) == (ok, text)


WORK = Work(17, "r", "running", "w", "12:00")


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (ImageFacts(State.LIVE, True), "Live."),
        (
            ImageFacts(State.LIVE, True, reason="http_404"),
            "Live as it was made before: to make it again failed (http_404); `imagesys retry` queues it.",
        ),
        (ImageFacts(State.LIVE, False), "State live without a live row: run `imagesys db-scan`."),
        (
            ImageFacts(State.RESERVED, True, work=WORK),
            "Live as it was made before; being made again. In batch 17 of r, to be fetched: held by w until 12:00 UTC.",
        ),
        (ImageFacts(State.NEW, False), "Not fetched yet: the next run takes it."),
        (
            ImageFacts(State.NEW, False, due=False, next_attempt_at="noon", closed=(Closed("data source 7", 600),)),
            f"Not fetched yet: given back, taken again from noon UTC. {Closed('data source 7', 600)}.",
        ),
        (
            ImageFacts(State.RESERVED, False, work=dataclasses.replace(WORK, holder=None)),
            "In batch 17 of r, to be fetched: nobody is at it now. Clear its task if it has failed.",
        ),
        (
            ImageFacts(State.RESERVED, False, work=Work(17, "r", None)),
            "In batch 17 of r, to be fetched: nobody is at it and the run is gone; the next heal frees it.",
        ),
        (ImageFacts(State.RESERVED, False), "In no batch, to be fetched: the next heal frees it."),
        (
            ImageFacts(State.THUMBNAILED, False, nodes=1, quorum=2),
            "Made; waits for a quorum: 1 of the 2 nodes hold it that must.",
        ),
        (
            ImageFacts(State.THUMBNAILED, False, nodes=2, quorum=2),
            "Made, and 2 nodes hold it: the next publish makes it live.",
        ),
        (
            ImageFacts(
                State.FAILED, False, reason="dns", next_attempt_at="noon", closed=(Closed("host h", 60, False),)
            ),
            "Not live: dns; tried again from noon UTC. host h is left alone for another 1 min: it asked for a pause.",
        ),
        (
            ImageFacts(State.QUARANTINED, False, reason="poison"),
            "Not live: poison; set aside until somebody releases it.",
        ),
        (
            ImageFacts(State.PURGED, False, desired=Desired.PRESENT, detail="unlisted", next_attempt_at="noon"),
            "Off the site (unlisted); its files leave the nodes from noon UTC, unless it is listed again.",
        ),
        (ImageFacts(State.PURGED, False), "Purged: comes back when a listing shows it again."),
    ],
)
def test_an_image_is_judged_by_what_it_waits_for(image: ImageFacts, text: str) -> None:
    assert judge_image(image) == text


def explained(world: World, url: str) -> Explanation:
    (found,) = explain(world.ctx, [lis_hash_for_url(url)])
    return found


def test_an_image_on_its_way_says_at_each_step_what_it_waits_for(world: World) -> None:
    entries = world.seed(3)
    url = next(iter(entries))
    world.cli("ingest", "uk", "--interval", "2026-03-28")
    assert explained(world, url).verdict == "Not fetched yet: the next run takes it."
    run = world.run()
    runs.begin(world.ctx.db, run)
    batch = plan(world.ctx, run)[0].batch_id
    lease = leases.acquire(world.ctx.db, batch, "worker-a", 60)
    assert "held by worker-a until" in explained(world, url).verdict
    leases.release(world.ctx.db, lease)
    assert "nobody is at it now" in explained(world, url).verdict
    download(world.ctx, batch)
    thumbnail(world.ctx, batch)
    sync(world.ctx, "n1")
    world.sandbox.nodes.stop_node("n2")
    world.cli("sync", "uk", "--node", "n2")
    found = explained(world, url)
    assert found.verdict == "Made; waits for a quorum: 1 of the 2 nodes hold it that must."
    assert found.nodes["n1"].text == "holds it"
    assert "is not acknowledged, and its last sync failed: Node n2: unreachable" in found.nodes["n2"].text
    assert "Remedy: start sshd on n2" in found.nodes["n2"].text
    assert found.nodes["n3"].text.startswith("lacks thumbnail 1, lacks thumbnail 2: the change of ")
    sync(world.ctx, "n3")
    assert "the next publish makes it live" in explained(world, url).verdict
    publish(world.ctx)
    assert explained(world, url).verdict == "Live."


def test_why_is_this_image_not_on_n2(world: World, live: Entries) -> None:
    url = next(iter(live))
    h = lis_hash_for_url(url)
    (world.root("n2") / thumbnail_path("uk", h, 2)).unlink()
    (world.root("n3") / thumbnail_path("uk", h, 1)).write_bytes(b"x")
    found = explained(world, url)
    assert {name: node.ok for name, node in found.nodes.items()} == {"n1": True, "n2": False, "n3": False}
    assert found.nodes["n2"].text.startswith("lacks thumbnail 2: it has acknowledged it")
    assert found.nodes["n3"].text.startswith("thumbnail 1 has other bytes")
    node_records.mark(world.ctx.db, "n2", {h: "not_staged"})
    assert "its files were not staged any more" in explained(world, url).nodes["n2"].text
    world.sql("UPDATE lis_listing_images SET missing_since = '2020-01-01' WHERE image_hash = :h", h=h)
    assert world.purge_now([h]) == 1
    gone = explained(world, url)
    assert gone.nodes["n1"].text.startswith("2 files that should not be there: the change of")
    assert gone.verdict.startswith("Purged")


def test_a_host_and_a_data_source_that_are_left_alone_are_named(world: World) -> None:
    (url,) = world.new_images(1)
    world.sql(
        "INSERT INTO lis_datasources (datasource_id, openings, not_before) VALUES "
        "(1, 2, TIMESTAMPADD(HOUR, 1, UTC_TIMESTAMP(6)))"
    )
    pause(world.ctx.shared, "127.0.0.11:1", 1800, "http_429")
    (found,) = explain(world.ctx, [lis_hash_for_url(url)], ask_nodes=False)
    assert "data source 1 is left alone for another 60 min: its breaker is open." in found.verdict
    assert "host 127.0.0.11:1 is left alone for another 30 min: it asked for a pause." in found.verdict


def test_each_answer_fits_one_screen(world: World, live: Entries) -> None:
    url, entry = next(iter(live.items()))
    listing = entry.listing_ids[0]
    h = lis_hash_for_url(url)
    for number in range(20):  # one photo on many listings
        world.sql(
            "INSERT INTO lis_listing_images SELECT CONCAT(:n, listing_id), datasource_id, image_hash, position, "
            "etl_time, seen_at, missing_since FROM lis_listing_images WHERE image_hash = :h LIMIT 1",
            n=f"more-{number}-",
            h=h,
        )
    (world.root("n2") / thumbnail_path("uk", h, 2)).unlink()
    world.patch.setenv("COLUMNS", "200")
    one = script_lines(world, url)
    assert len(one) <= 40
    whole = script_lines(world, listing)
    assert len(whole) <= 40
    assert sum("Live." in line for line in whole) == len(
        {lis_hash_for_url(other) for other, e in live.items() if listing in e.listing_ids}
    )
    assert [line for line in whole if "n2: lacks thumbnail 2" in line]
    assert not [line for line in whole if "n1:" in line or "n3:" in line]


def script_lines(world: World, what: str) -> list[str]:
    ran = world.cli("explain", what, "uk")
    assert ran.code == 0, ran.err
    return ran.out.splitlines()


def test_the_nodes_are_asked_once_for_a_whole_listing(world: World, live: Entries) -> None:
    hashes = [lis_hash_for_url(url) for url in live]
    found = explain(world.ctx, hashes)
    assert [one.image_hash for one in found] == hashes
    assert all(one.nodes[name].ok for one in found for name in NODES)
    # sshd writes a line for each connection that is let in
    log = (world.sandbox.settings.log_dir / "n1.log").read_text(errors="replace")
    before = log.count("Accepted publickey")
    explain(world.ctx, hashes)
    log = (world.sandbox.settings.log_dir / "n1.log").read_text(errors="replace")
    assert log.count("Accepted publickey") == before + 1


def test_a_listing_of_fifty_photos_with_a_node_down_fits_one_screen(world: World, live: Entries) -> None:
    world.new_images(10)
    world.sql(
        "INSERT INTO lis_listing_images (listing_id, datasource_id, image_hash, position, etl_time, seen_at) "
        "SELECT 'big', 101, image_hash, ROW_NUMBER() OVER (ORDER BY image_id), UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) "
        "FROM lis_images"
    )
    h = lis_hash_for_url(min(live))
    (world.root("n1") / thumbnail_path("uk", h, 2)).unlink()
    world.sandbox.nodes.stop_node("n2")
    world.patch.setenv("COLUMNS", "80")
    reported = script_lines(world, "big")
    assert 24 <= len(reported) <= 40
    assert all(len(line) <= 80 for line in reported)
    shown = {line.split()[1] for line in reported if line.startswith("UK ") and len(line.split()[1]) == 40}
    assert {row.image_hash for row in world.images().values() if row.state == "new"} <= shown
    assert h in shown  # those of which something is to be said come first
    assert [line for line in reported if "n1: lacks thumbnail 2" in line]
    assert f"and {50 - len(shown)} more images, {50 - len(shown)} of them live: --json tells all" in reported
    assert len([line for line in reported if "n2, 50 images: Node n2: unreachable" in line]) == 1
    assert "Remedy: start sshd on n2" in " ".join(line.strip() for line in reported)
    assert len(world.cli("explain", "big", "uk", "--json").json) == 50
    assert len(script_lines(world, min(live))) <= 40


def test_what_has_no_room_on_a_screen_is_counted() -> None:
    def one(number: int, verdict: str = "Live.", **nodes: str) -> Explanation:
        bad = {name: NodeVerdict(False, text) for name, text in nodes.items()}
        return Explanation("uk", f"{number:040x}", verdict, (), bad)

    few = [one(n) for n in range(20)]
    assert several(few, 80, 25) == [f"UK {n:040x} Live." for n in range(20)]
    many = [one(n) for n in range(60)] + [one(99, "Not live: dns.", n1="lacks thumbnail 1")]
    reported = several(many, 80, 25)
    assert len(reported) == 24
    assert reported[:2] == [f"UK {99:040x} Not live: dns.", "   n1: lacks thumbnail 1"]
    assert reported[-1] == "and 39 more images, 39 of them live: --json tells all"
    assert len(several(many, 80, 200)) == 39  # no screen is that high for the eye
    long = [one(n, "x " * 2000, n1="y " * 2000, n2="z" * 2000) for n in range(60)]
    reported = several(long, 80, 25)
    assert len(reported) <= 24
    assert all(len(line) <= 80 for line in reported)
