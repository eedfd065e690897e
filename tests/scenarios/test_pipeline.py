"""The whole pipeline on every kind of photo and fault, and what a second run must not do."""

from __future__ import annotations

import io
import json

import pytest
import sqlalchemy as sa
from PIL import Image

from imagesys_lib.db.schema import lis_batches, lis_metrics, lis_runs
from imagesys_lib.images.hash_and_path import lis_hash_for_url, thumbnail_path
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.report import render
from include.sandbox import ManifestEntry
from tests.support.world import NODES, World


def fitted(entry: ManifestEntry) -> tuple[float, float]:
    scale = min(160 / entry.width, 120 / entry.height, 1)
    return entry.width * scale, entry.height * scale


def assert_right_thumbnails(world: World, entry: ManifestEntry) -> None:
    h = lis_hash_for_url(entry.url)
    for number in (1, 2):
        path = thumbnail_path("uk", h, number)
        contents = {name: (world.root(name) / path).read_bytes() for name in NODES}
        assert contents["n1"] == contents["n2"] == contents["n3"], path
        image = Image.open(io.BytesIO(contents["n1"]))
        assert (image.format, image.mode in ("RGB", "L")) == ("JPEG", True)
        if number == 1:
            assert image.size == (60, 60)
        else:
            width, height = fitted(entry)
            assert abs(image.width - width) <= 1, (entry, image.size)
            assert abs(image.height - height) <= 1, (entry, image.size)


def test_every_good_photo_ends_live_on_three_nodes_and_every_other_url_has_its_reason(world: World) -> None:
    entries = world.seed(120, broken_share=0.06)
    run = world.run()
    summary = world.pipeline(run)

    assert summary.lost == []
    assert (summary.images, summary.batches) == (120, 3)
    images, live = world.images(), world.live()
    assert images.keys() == entries.keys()
    expected = {url for url, entry in entries.items() if entry.expects_live}
    assert live.keys() == expected
    for url, entry in entries.items():
        row = images[url]
        outcome = "live" if row.state == "live" else row.reason
        assert entry.accepts(outcome), (entry.kind, row.state, row.reason, row.detail)
        assert row.image_hash == lis_hash_for_url(url)
        if entry.expects_live:
            assert_right_thumbnails(world, entry)
    kinds = {entry.kind for entry in entries.values()}
    assert len(kinds) == 14  # every fault took part

    files = world.equal_trees()
    assert files.keys() == {thumbnail_path("uk", lis_hash_for_url(url), n) for url in expected for n in (1, 2)}
    assert (world.staged("originals"), world.staged("out")) == ([], [])
    for name in NODES:
        assert (world.root(name) / ".imagesys" / "ready").exists()
        assert list((world.root(name) / ".imagesys" / "tmp").iterdir()) == []

    for url, row in live.items():
        assert row.image_hash == lis_hash_for_url(url)
        assert row.image_data.keys() == {"1", "2"}
        for number, data in row.image_data.items():
            raw = (world.root("n1") / data["path"]).read_bytes()
            assert data["path"] == thumbnail_path("uk", row.image_hash, int(number))
            assert data["bytes"] == len(raw)
            assert (data["width"], data["height"]) == Image.open(io.BytesIO(raw)).size
        assert row.human_classified == 0
        assert row.datasource_id in entries[url].datasource_ids

    assert [row.image_class for row in live.values()].count("photo") >= 0.9 * len(live)

    row = world.rows(sa.select(lis_runs))[0]
    assert (row.state, row.kind) == ("success", "scheduled")
    assert row.summary["states"]["live"] == len(expected)
    assert world.scalar(sa.select(lis_metrics.c.value).where(lis_metrics.c.name == "state.live")) == len(expected)
    text = render(summary)
    assert "Nothing was lost." in text
    assert f"{len(expected)} live" in text
    assert json.loads(json.dumps(summary.as_json())) == row.summary

    # A second run of the same interval asks nothing of the web site and changes nothing on the nodes.
    world.forget_requests()
    again = world.pipeline()
    assert (again.images, again.lost) == (0, [])
    assert world.requests() == {}
    assert world.equal_trees() == files
    # Nor does the same run, cleared and run again from its beginning.
    assert world.pipeline(run).states == summary.states
    assert world.requests() == {}

    batches = plan(world.ctx, run)
    assert [(b.seq, b.size) for b in batches] == [(0, 50), (1, 50), (2, 20)]
    assert plan(world.ctx, run) == batches
    assert world.scalar(sa.select(sa.func.count()).select_from(lis_batches)) == 3


def test_a_photo_is_requested_once_and_a_flaky_one_only_until_it_comes(world: World) -> None:
    world.seed(40)
    world.pipeline()
    counts = world.requests()
    assert len(counts) == 40
    assert set(counts.values()) == {1}


def test_a_cleared_plan_returns_the_same_batches_in_the_same_order_then_new_ones(world: World) -> None:
    world.new_images(120)
    run = world.run()
    first = plan(world.ctx, run)
    assert [batch.size for batch in first] == [50, 50, 20]
    world.new_images(30, "http://127.0.0.11:1/later/")
    again = plan(world.ctx, run)
    assert again[:3] == first
    assert [(batch.seq, batch.size) for batch in again[3:]] == [(3, 30)]


def test_a_run_with_nothing_due_has_no_batches_and_loses_nothing(world: World) -> None:
    summary = world.pipeline()
    assert (summary.images, summary.batches, summary.lost) == (0, 0, [])


def test_a_run_that_breaks_off_does_not_count_as_under_way(world: World) -> None:
    world.patch.setattr("imagesys_lib.stages.pipeline.ingest", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.pipeline()
    assert world.rows(sa.select(lis_runs))[0].state == "failed"
