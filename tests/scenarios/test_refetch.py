"""Images fetched again by a forced run: only what has changed travels, and it is replaced on every node at once."""

from __future__ import annotations

import pytest

from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.heal import heal
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.thumbnail import thumbnail
from tests.support.images import encoded, quarters
from tests.support.photo_host import PhotoHost, photo_host
from tests.support.world import DAY, World

PHOTO = encoded(quarters(320, 200), "JPEG")
OTHER = encoded(quarters(200, 320), "JPEG")


def live_photo(world: World, host: PhotoHost) -> str:
    """The URL of a photo with a tag that is live."""
    url = host.put("/a.jpg", PHOTO, etag='"1"')
    world.put("a", url)
    world.pipeline()
    return url


def force(world: World) -> None:
    """Make the day's live images again, as a forced backfill does."""
    summary = world.pipeline(world.run(RunKind.BACKFILL, DAY, force=True))
    assert summary.lost == []


def test_an_unchanged_photo_is_not_sent_again_and_stays_as_it_is(world: World) -> None:
    with photo_host() as host:
        url = live_photo(world, host)
        tree, live = world.equal_trees(), world.live()[url]
        force(world)
        assert [asked.headers.get("if-none-match") for asked in host.asked] == [None, '"1"']
        assert world.equal_trees() == tree
        assert world.live()[url] == live
        assert world.states() == {url: "live"}


def test_a_photo_with_new_bytes_is_replaced_on_every_node_while_it_stays_live(world: World) -> None:
    with photo_host() as host:
        url = live_photo(world, host)
        tree, before = world.equal_trees(), world.live()[url].image_data
        host.put("/a.jpg", OTHER, etag='"2"')
        force(world)
        after = world.equal_trees()
        assert after.keys() == tree.keys()
        assert all(after[path] != tree[path] for path in tree if path.endswith(".2.jpg"))
        shown = world.live()[url].image_data
        assert (before["2"]["width"], before["2"]["height"]) == (160, 100)
        assert (shown["2"]["width"], shown["2"]["height"]) == (75, 120)
        assert world.images()[url].etag == '"2"'


def test_new_settings_make_thumbnails_anew_although_the_photo_is_unchanged(world: World) -> None:
    with photo_host() as host:
        live_photo(world, host)
        tree = world.equal_trees()
        world.reconfigure(process={"quality": 40})
        force(world)
        assert [asked.headers.get("if-none-match") for asked in host.asked] == [None, None]
        assert all(world.equal_trees()[path] != tree[path] for path in tree)
        force(world)
        assert host.asked[-1].headers["if-none-match"] == '"1"'


@pytest.mark.long
def test_a_host_that_knows_dates_only_is_asked_by_date(world: World) -> None:
    date = "Sat, 28 Mar 2026 12:00:00 GMT"
    with photo_host() as host:
        world.put("a", host.put("/a.jpg", PHOTO, headers={"Last-Modified": date}))
        world.pipeline()
        force(world)
        assert [asked.headers.get("if-modified-since") for asked in host.asked] == [None, date]


def test_an_image_whose_files_are_gone_is_fetched_whole(world: World) -> None:
    with photo_host() as host:
        url = live_photo(world, host)
        world.sql("UPDATE lis_images SET state = 'new', desired = 'none'")
        world.sql("DELETE FROM lis_live_images")
        world.pipeline()
        assert [asked.headers.get("if-none-match") for asked in host.asked] == [None, None]
        assert set(world.live()) == {url}


def fetched_again(world: World) -> tuple[Run, int]:
    """A forced run as far as the download of its one batch."""
    run = world.run(RunKind.BACKFILL, DAY, force=True)
    runs.begin(world.ctx.db, run)
    ingest(world.ctx, run)
    (batch,) = plan(world.ctx, run)
    assert download(world.ctx, batch.batch_id).fetched == 1
    return run, batch.batch_id


def shown_size(world: World, url: str) -> tuple[int, int]:
    """Width and height of the larger thumbnail that the website shows."""
    shown = world.live()[url].image_data["2"]
    return shown["width"], shown["height"]


@pytest.mark.parametrize("spoilt", [pytest.param(True, marks=pytest.mark.long), False])
def test_new_bytes_that_are_lost_before_they_are_made_into_thumbnails_are_fetched_again(
    world: World, spoilt: bool
) -> None:
    with photo_host() as host:
        url = host.put("/a.jpg", PHOTO, etag='"1"')
        (image_hash,) = world.put("a", url)
        world.pipeline()
        host.put("/a.jpg", OTHER, etag='"2"')
        _, batch = fetched_again(world)
        if spoilt:
            world.ctx.staging.original(image_hash).write_bytes(b"")  # by a power cut
        else:
            world.ctx.staging.drop_original(image_hash)
        assert thumbnail(world.ctx, batch).given_back == 1
        force(world)
        assert [asked.headers.get("if-none-match") for asked in host.asked] == [None, '"1"', None]
        assert shown_size(world, url) == (75, 120)


def test_a_remake_that_is_given_up_is_made_by_the_next_run_from_what_the_host_has_then(world: World) -> None:
    with photo_host() as host:
        url = live_photo(world, host)
        host.put("/a.jpg", b"<html>soon</html>", etag='"2"')
        run, _ = fetched_again(world)
        runs.finish(world.ctx.db, run, "failed", {})
        heal(world.ctx)
        host.put("/a.jpg", OTHER, etag='"3"')
        world.pipeline()
        assert [asked.headers.get("if-none-match") for asked in host.asked] == [None, '"1"', None]
        assert shown_size(world, url) == (75, 120)


def test_a_killed_download_of_a_remake_adopts_what_it_had_fetched(world: World) -> None:
    with photo_host() as host:
        live_photo(world, host)
        host.put("/a.jpg", OTHER, etag='"2"')
        _, batch = fetched_again(world)
        world.sql("UPDATE lis_images SET state = 'reserved'")  # it was killed before it wrote that down
        assert download(world.ctx, batch).adopted == 1
        assert len(host.asked) == 2


def test_a_photo_that_could_not_be_made_again_is_not_called_unchanged(world: World) -> None:
    with photo_host() as host:
        url = live_photo(world, host)
        host.put("/a.jpg", b"<html>gone</html>", etag='"2"')
        force(world)
        force(world)
        assert host.asked[-1].headers.get("if-none-match") is None
        assert world.states() == {url: "live:not_an_image"}
        host.put("/a.jpg", PHOTO, etag='"1"')
        force(world)
        assert world.states() == {url: "live"}


def test_bytes_that_could_not_be_made_again_lend_nobody_the_old_thumbnails(world: World) -> None:
    tiny = encoded(quarters(8, 8), "GIF")
    with photo_host() as host:
        house = host.put("/a.jpg", PHOTO)
        world.put("a", house)
        world.sandbox.nodes["n3"].stop()  # the thumbnails stay in staging
        world.pipeline()
        host.put("/a.jpg", tiny)
        world.pipeline(world.run(RunKind.BACKFILL, DAY, force=True))
        other = host.put("/b.jpg", tiny)
        world.put("b", other)
        world.pipeline()
        assert world.states() == {house: "live:too_small", other: "rejected:too_small"}
