"""The stage: siblings from settings to website, the same bytes made once, and what each image was made with."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image

from imagesys_lib.db.schema import lis_images
from imagesys_lib.images.recipe import recipe
from imagesys_lib.interface import Interface
from imagesys_lib.runs import runs
from imagesys_lib.stages import thumbnail as stage
from imagesys_lib.stages.check import check
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.repair.repair import repair
from imagesys_lib.thumbnail.processes.pool import Decoders
from tests.support.images import encoded, quarters
from tests.support.photo_host import PhotoHost, photo_host
from tests.support.world import NODES, World

SIBLINGS = ("webp", "avif")


@pytest.fixture
def host(world: World) -> Iterator[PhotoHost]:
    with photo_host() as server:
        yield server


@pytest.fixture
def decoded(world: World) -> list[int]:
    """The images that were handed to decoders."""
    seen: list[int] = []

    class Counted(Decoders):
        def submit(self, jobs: Any) -> Any:
            seen.extend(job.key for job in jobs)
            return super().submit(jobs)

    world.patch.setattr(stage, "Decoders", Counted)
    return seen


def test_siblings_go_beside_each_jpeg_to_every_node_and_to_the_website(world: World, host: PhotoHost) -> None:
    world.reconfigure(thumbnail={"siblings": list(SIBLINGS)})
    url = host.put("/a.jpg", encoded(quarters(), "JPEG"))
    (image_hash,) = world.put("a", url)
    assert world.pipeline().lost == []
    files = world.equal_trees()
    assert {path.rpartition(".")[2] for path in files} == {"jpg", *SIBLINGS}
    assert len(files) == 6
    data = world.live()[url].image_data
    assert data.keys() == {"1", "2", "1.webp", "2.webp", "1.avif", "2.avif"}
    for key, shown in data.items():
        raw = (world.root("n1") / shown["path"]).read_bytes()
        assert (len(raw), Image.open(io.BytesIO(raw)).size) == (shown["bytes"], (shown["width"], shown["height"]))
        assert Image.open(io.BytesIO(raw)).format == {"webp": "WEBP", "avif": "AVIF"}.get(key[2:], "JPEG")
    for name in NODES:
        assert check(world.ctx, name).clean
    with Interface(world.country) as images:
        shown = images.lis_get_searchapi_data_for_hash(image_hash)
    assert shown is not None
    assert shown.renditions.keys() == {1, 2}

    # A sibling that is lost on a node is missed, and brought back from another.
    lost = world.root("n2") / data["2.webp"]["path"]
    lost.unlink()
    assert check(world.ctx, "n2").findings == {"acked_absent": 1}
    assert repair(world.ctx, "n2").restored == 1
    assert lost.is_file()
    assert check(world.ctx, "n2").clean


@pytest.mark.parametrize(
    "left",
    [
        encoded(quarters(), "BMP"),  # decodes well, as what is whole at its top does
        (photo := encoded(quarters(), "JPEG"))[:-500] + bytes(500),
        *(pytest.param(d, marks=pytest.mark.long) for d in (photo[:-500], bytes(5000), b"", b"\xff\xd8\xff")),
    ],
    ids=len,
)
def test_an_original_that_a_power_cut_has_spoilt_is_downloaded_again(
    world: World, host: PhotoHost, left: bytes
) -> None:
    url = host.put("/a.jpg", encoded(quarters(), "JPEG"))
    (image_hash,) = world.put("a", url)
    run = world.run()
    runs.begin(world.ctx.db, run)
    ingest(world.ctx, run)
    (batch,) = plan(world.ctx, run)
    download(world.ctx, batch.batch_id)
    world.ctx.staging.original(image_hash).write_bytes(left)
    done = stage.thumbnail(world.ctx, batch.batch_id)
    assert (done.made, done.failed, done.given_back) == (0, {}, 1)
    assert world.pipeline().lost == []
    assert url in world.live()


def test_turning_siblings_on_later_changes_the_recipe_and_nothing_that_is_live(world: World, host: PhotoHost) -> None:
    url = host.put("/a.jpg", encoded(quarters(), "JPEG"))
    world.put("a", url)
    world.pipeline()
    before, files = world.images()[url].recipe, world.equal_trees()
    assert before == recipe(world.ctx.config, 101)
    world.reconfigure(thumbnail={"siblings": ["webp"]})
    assert world.pipeline().images == 0
    assert world.equal_trees() == files
    assert world.images()[url].recipe == before != recipe(world.ctx.config, 101)


def test_the_same_bytes_under_several_urls_are_decoded_once(world: World, host: PhotoHost, decoded: list[int]) -> None:
    world.reconfigure(thumbnail={"placeholder_listings": 0})
    data = encoded(quarters(), "JPEG")
    urls = [host.put(f"/{number}.jpg", data) for number in range(5)]
    other = host.put("/other.jpg", encoded(quarters(500, 400), "JPEG"))
    world.put("a", *urls, other)
    assert world.pipeline().lost == []
    assert len(decoded) == 2
    assert world.live().keys() == {*urls, other}
    images = world.images()
    assert len({images[url].thumbs[0]["sha1"] for url in urls}) == 1
    assert len({images[url].thumbs[0]["path"] for url in urls}) == 5
    assert len(world.equal_trees()) == 12
    assert {images[url].image_class for url in urls} == {"graphic"}  # four flat colours


def test_bytes_that_no_decoder_reads_fail_for_all_who_share_them(
    world: World, host: PhotoHost, decoded: list[int]
) -> None:
    broken = encoded(Image.effect_noise((300, 200), 60).convert("RGB"), "JPEG")[:9000]
    urls = [host.put(f"/{number}.jpg", broken) for number in range(3)]
    world.put("a", *urls)
    world.pipeline()
    assert len(decoded) == 1
    assert {world.images()[url].reason for url in urls} == {"truncated"}


def test_thumbnails_that_are_still_staged_serve_another_batch(
    world: World, host: PhotoHost, decoded: list[int]
) -> None:
    world.reconfigure(thumbnail={"placeholder_listings": 0})
    data = encoded(quarters(), "JPEG")
    world.put("a", host.put("/1.jpg", data))
    world.sandbox.nodes["n3"].stop()  # so that its files stay staged
    world.pipeline()
    assert len(decoded) == 1
    second, spoilt = host.put("/2.jpg", data), host.put("/3.jpg", data)
    world.put("b", second)
    world.pipeline()
    assert len(decoded) == 1
    assert world.images()[second].state == "live"
    assert world.live()[second].image_class == "graphic"

    # Staged files that are not what they were are not passed on.
    for thumb in [thumb for row in world.rows(sa.select(lis_images.c.thumbs)) for thumb in row.thumbs]:
        file = world.ctx.staging.out / thumb["path"]
        file.unlink()
        file.write_bytes(b"x" * thumb["bytes"])
    world.put("c", spoilt)
    world.pipeline()
    assert len(decoded) == 2


@pytest.mark.parametrize("code", [errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP])
def test_where_a_file_can_have_no_further_name_its_bytes_are_copied(
    world: World, host: PhotoHost, decoded: list[int], code: int
) -> None:
    def refused(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    world.reconfigure(thumbnail={"placeholder_listings": 0})
    world.patch.setattr(Path, "hardlink_to", refused)
    data = encoded(quarters(), "JPEG")
    urls = [host.put(f"/{number}.jpg", data) for number in range(3)]
    world.put("a", *urls)
    assert world.pipeline().lost == []
    assert len(decoded) == 1
    assert world.live().keys() == set(urls)
    assert len(world.equal_trees()) == 6


def test_what_a_batch_has_no_time_for_is_left_to_the_next_with_its_originals(world: World, host: PhotoHost) -> None:
    urls = [host.put(f"/{number}.jpg", encoded(quarters(200 + number, 150), "JPEG")) for number in range(40)]
    world.put("a", *urls)
    run = world.run()
    ingest(world.ctx, run)
    (batch,) = plan(world.ctx, run)
    download(world.ctx, batch.batch_id)
    world.reconfigure(batch={"deadline_minutes": 0.0001})
    done = stage.thumbnail(world.ctx, batch.batch_id)
    assert (done.made, done.given_back, done.failed) == (0, 40, {})
    assert {(row.state, row.attempts, row.releases) for row in world.images().values()} == {("new", 0, 0)}
    world.reconfigure()
    assert world.pipeline().lost == []
    assert set(world.live()) == set(urls)
    assert len(host.asked) == 40


def test_placeholders_of_a_download_that_was_killed_at_its_end_are_set_aside_all_the_same(
    world: World, host: PhotoHost
) -> None:
    world.reconfigure(thumbnail={"placeholder_listings": 3})
    none = encoded(quarters(300, 200), "PNG")
    for number in range(4):
        world.put(f"l{number}", host.put(f"/{number}.png", none))
    run = world.run()
    ingest(world.ctx, run)
    (batch,) = plan(world.ctx, run)
    download(world.ctx, batch.batch_id)
    assert download(world.ctx, batch.batch_id).fetched == 0  # cleared: all that is left is the thumbnails' work
    assert stage.thumbnail(world.ctx, batch.batch_id).placeholders == 4
    assert set(world.states().values()) == {"quarantined:placeholder"}
    assert world.staged("originals") == []
