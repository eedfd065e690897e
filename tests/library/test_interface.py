"""What the website asks: the data of a hash, and the hashes of a listing."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from PIL import Image, ImageStat

from imagesys_lib.errors import UsageError
from imagesys_lib.images.hash_and_path import lis_hash_for_url
from imagesys_lib.interface import ImageData, Interface
from include.sandbox import ManifestEntry
from tests.support.world import World

Entries = dict[str, ManifestEntry]


@pytest.fixture
def interface(world: World) -> Iterator[Interface]:
    with Interface("uk") as interface:
        yield interface


def test_a_live_image_has_the_url_and_size_of_both_thumbnails(
    world: World, live: Entries, interface: Interface
) -> None:
    for url, entry in list(live.items())[:10]:
        h = lis_hash_for_url(url)
        data = interface.lis_get_searchapi_data_for_hash(h)
        assert isinstance(data, ImageData)
        assert data.image_hash == h
        assert list(data.renditions) == [1, 2]
        path = f"{world.ctx.config.image_base_url}/uk/{h[0]}/{h[1]}/{h[2]}/{h[3:]}"
        row = world.images()[url]
        first, second = (f"{path}.{thumb['n']}.jpg?v={thumb['sha1'][:10]}" for thumb in row.thumbs)
        assert (data.renditions[1].url, data.renditions[1].width, data.renditions[1].height) == (first, 60, 60)
        assert data.renditions[2].url == second
        assert data.renditions[2].width <= 160
        assert data.renditions[2].height <= 120
        ratio = data.renditions[2].width / data.renditions[2].height
        assert ratio == pytest.approx(entry.width / entry.height, rel=0.02)


def test_a_page_has_something_to_show_until_the_file_is_there(
    world: World, live: Entries, interface: Interface
) -> None:
    url = next(url for url, entry in live.items() if entry.width > entry.height)
    image_hash = lis_hash_for_url(url)
    world.sql("UPDATE lis_live_images SET image_class = 'photo' WHERE image_hash = :h", h=image_hash)
    data = interface.lis_get_searchapi_data_for_hash(image_hash)
    assert data is not None
    assert data.image_class == "photo"
    assert base64.b64decode(data.thumbhash)[4] & 0x80  # it knows that the photo is wider than high
    with Image.open(world.root("n1") / world.live()[url].image_data["2"]["path"]) as shown:
        mean = ImageStat.Stat(shown.convert("RGB")).mean
    assert [int(data.colour[n : n + 2], 16) for n in (1, 3, 5)] == pytest.approx(mean, abs=9)  # of 6 bits each


def test_siblings_have_urls_of_their_own_and_older_thumbnails_have_what_was_made_then(
    world: World, interface: Interface
) -> None:
    world.reconfigure(thumbnail={"siblings": ["webp", "avif"]})
    url, other = world.seed(2)
    world.pipeline()
    world.sql(
        "UPDATE lis_live_images SET image_data = JSON_REMOVE(image_data, '$.\"1\".sha1', '$.\"2\".sha1',"
        " '$.\"2\".thumbhash') WHERE image_url = :url",
        url=other,
    )
    data, older = (interface.lis_get_searchapi_data_for_hash(lis_hash_for_url(one)) for one in (url, other))
    assert data is not None
    assert older is not None
    for number, rendition in data.renditions.items():
        assert set(rendition.siblings) == {"webp", "avif"}
        for suffix, address in rendition.siblings.items():
            path, version = address.removeprefix(f"{world.ctx.config.image_base_url}/").split("?v=")
            assert path.endswith(f".{number}.{suffix}")
            assert world.tree("n1")[path].startswith(version)
    assert (older.thumbhash, older.colour) == ("", "")
    assert all(rendition.url.endswith(".jpg") for rendition in older.renditions.values())


def test_an_image_that_is_not_live_has_no_data(world: World, interface: Interface) -> None:
    (url,) = world.new_images(1)
    assert interface.lis_get_searchapi_data_for_hash(lis_hash_for_url(url)) is None
    assert interface.lis_get_searchapi_data_for_hash("0" * 40) is None
    assert interface.lis_get_searchapi_data_for_hash("' OR 1=1 --") is None
    assert interface.lis_get_searchapi_data_for_hash("") is None


def test_many_are_answered_at_once_in_the_order_asked_for(world: World, live: Entries, interface: Interface) -> None:
    hashes = [lis_hash_for_url(url) for url in reversed(list(live))]
    asked = [hashes[3], "0" * 40, hashes[1], hashes[3], *[f"{n:040x}" for n in range(2500)], *hashes]
    found = interface.lis_get_searchapi_data_for_hashes(asked)
    assert list(found) == list(dict.fromkeys([hashes[3], hashes[1], *hashes]))
    assert found[hashes[0]] == interface.lis_get_searchapi_data_for_hash(hashes[0])
    assert interface.lis_get_searchapi_data_for_hashes([]) == {}


def test_a_listings_hashes_come_in_order_live_or_not(world: World, live: Entries, interface: Interface) -> None:
    some = list(live)[:2]
    text = f" {some[1]} |http://127.0.0.11/never.jpg|{some[0]}|{some[1]}|"
    expected = [lis_hash_for_url(url) for url in (some[1], "http://127.0.0.11/never.jpg", some[0])]
    assert interface.lis_images_for_si_build(text) == ",".join(expected)
    assert interface.lis_images_for_si_build("") == ""
    assert interface.lis_images_for_si_builds([text, "", some[0]]) == [
        ",".join(expected),
        "",
        lis_hash_for_url(some[0]),
    ]


def test_an_unknown_country_is_refused(world: World) -> None:
    with pytest.raises(UsageError, match="No country 'xx'"):
        Interface("xx")
