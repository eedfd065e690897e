"""What an image shows: the system says it when thumbnails are made, and a person's word outlives whatever comes."""

from __future__ import annotations

from typing import Any

import pytest

from imagesys_lib.errors import ConfigError
from imagesys_lib.images.hash_and_path import lis_hash_for_url
from imagesys_lib.interface import Interface
from imagesys_lib.ops.classify import classify
from imagesys_lib.ops.explain import explain
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import RunKind
from imagesys_lib.stages.ingest import ingest
from include.sandbox import ManifestEntry
from tests.support.world import World

Entries = dict[str, ManifestEntry]


def shown(world: World, url: str) -> tuple[int, str] | None:
    row = world.live().get(url)
    return row and (row.human_classified, row.image_class)


def kept(world: World, url: str) -> tuple[Any, ...]:
    row = world.images()[url]
    return row.human_classified, row.image_class, row.system_class


def test_a_persons_word_outlives_a_remake_a_purge_and_a_new_listing(world: World) -> None:
    (url,), h = (seeded := world.seed(1)), lis_hash_for_url(next(iter(seeded)))
    world.pipeline()
    assert (shown(world, url), kept(world, url)) == ((0, "photo"), (0, "photo", "photo"))
    assert classify(world.ctx, [h], "map", by="a test").images == 1
    world.reconfigure(process={"quality": 40})
    world.pipeline(world.run(RunKind.BACKFILL, force=True))
    assert (shown(world, url), kept(world, url)) == ((1, "map"), (1, "map", "photo"))
    assert dict(explain(world.ctx, [h], ask_nodes=False)[0].facts)["class"] == (
        "map, by a person's word; the system sees photo"
    )
    world.sql("DELETE FROM lis_listing_images")
    assert world.purge_now([h]) == 1
    assert (shown(world, url), kept(world, url)) == (None, (1, "map", "photo"))
    world.sandbox.etl.empty("uk")
    world.put("again", url)
    world.pipeline()
    assert (shown(world, url), kept(world, url)) == ((1, "map"), (1, "map", "photo"))
    classify(world.ctx, [h], None, by="a test")
    assert (shown(world, url), kept(world, url)) == ((0, "photo"), (0, "photo", "photo"))
    assert dict(explain(world.ctx, [h], ask_nodes=False)[0].facts)["class"] == "photo, as the system sees it"


def test_a_word_said_before_an_image_is_live_is_published_with_it(world: World) -> None:
    (url,) = world.seed(1)
    run = world.run()
    runs.begin(world.ctx.db, run)
    ingest(world.ctx, run)
    classify(world.ctx, [lis_hash_for_url(url)], "kitchen", by="a test")
    world.pipeline(run)
    assert (shown(world, url), kept(world, url)) == ((1, "kitchen"), (1, "kitchen", "photo"))


def test_a_listings_first_photo_can_come_before_its_plan(world: World, live: Entries) -> None:
    urls = list(live)[:4]
    plan, second, third, fourth = hashes = [lis_hash_for_url(url) for url in urls]
    classify(world.ctx, [plan, second], "floor_plan", by="a test")
    classify(world.ctx, [third], "kitchen", by="a test")
    with Interface(world.ctx.country) as images:
        asked = "|".join(urls)
        assert images.lis_images_for_si_build(asked).split(",") == hashes
        assert images.lis_images_for_si_build(asked, photo_first=True).split(",") == [third, plan, second, fourth]
        only_plans = "|".join(urls[:2])
        assert images.lis_images_for_si_builds([only_plans, asked], photo_first=True) == [
            f"{plan},{second}",
            f"{third},{plan},{second},{fourth}",
        ]


@pytest.mark.parametrize("classes", [{"photo": "graphic"}, {"Kitchen": "photo"}, {"kitchen": "room"}])
def test_classes_are_validated(world: World, classes: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="classes"):
        world.reconfigure(classes=classes)
