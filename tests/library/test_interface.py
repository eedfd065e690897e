"""What the website asks: the data of a hash, and the hashes of a listing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
        path = f"https://images.example.test/lis/uk/{h[0]}/{h[1]}/{h[2]}/{h[3:]}"
        assert (data.renditions[1].url, data.renditions[1].width, data.renditions[1].height) == (
            f"{path}.1.jpg",
            60,
            60,
        )
        assert data.renditions[2].url == f"{path}.2.jpg"
        assert data.renditions[2].width <= 160
        assert data.renditions[2].height <= 120
        ratio = data.renditions[2].width / data.renditions[2].height
        assert ratio == pytest.approx(entry.width / entry.height, rel=0.02)


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
