"""The example website: what is live is seen on it, whichever node is up."""

from __future__ import annotations

import io
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image

from include.sandbox import EXAMPLE_SERVICES, ManifestEntry
from include.sandbox.services import process
from include.sandbox.services.airflow_api import direct_session
from tests.support.world import World


class Tags(HTMLParser):
    """Tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def browser(world: World) -> Iterator[requests.Session]:
    """The site is up."""
    for name in EXAMPLE_SERVICES:
        process.start(world.sandbox.settings, world.sandbox.web.service(name))
    with direct_session() as session:
        yield session
    world.sandbox.stop(EXAMPLE_SERVICES)


def test_listings_show_their_live_photos_in_every_format_that_is_made(world: World, browser: requests.Session) -> None:
    world.reconfigure(thumbnail={"siblings": ["webp", "avif"]})
    urls = list(world.seed(4))
    world.sandbox.etl.empty("uk")
    world.put("<script>alert('&\"')</script>", *urls[:3], "http://127.0.0.11:1/never.jpg")
    world.put("empty", "http://127.0.0.11:1/never.jpg")
    world.pipeline()
    answer = browser.get(world.sandbox.web.url)
    page = Tags(answer.text)
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; img-src 'self' data:;")
    assert page.of("script") == []
    assert "<script>alert('&\"')</script>" in page.text
    assert "2 of 2 listings" in page.text
    assert "3 of their 5 photos are live" in page.text
    assert page.text.count("no photo yet") == 1
    pictures, sources = page.of("img"), page.of("source")
    assert [(one["width"], one["height"]) for one in pictures[1:]] == [("60", "60")] * 2
    assert [one["type"] for one in sources] == ["image/avif", "image/webp"] * 3
    for one in pictures:
        assert "background-color: #" in str(one["style"])
        assert "url('data:image/png;base64," in str(one["style"])
    expected = ["image/jpeg"] * 3 + ["image/avif", "image/webp"] * 3
    for url, kind in zip([*(p["src"] for p in pictures), *(s["srcset"] for s in sources)], expected, strict=True):
        picture = browser.get(str(url))
        assert (picture.status_code, picture.headers["Content-Type"]) == (200, kind)
        assert picture.headers["X-Served-By"] == "n1"
        assert "immutable" in picture.headers["Cache-Control"]
        with Image.open(io.BytesIO(picture.content)) as shown:
            assert Image.MIME[str(shown.format)] == kind


def test_pictures_come_from_the_next_node_while_one_is_down(
    world: World, live: dict[str, ManifestEntry], browser: requests.Session
) -> None:
    page = Tags(browser.get(world.sandbox.web.url).text)
    url = str(page.of("img")[0]["src"])
    bodies = []
    for stopped, server in ((), "n1"), (("n1",), "n2"), (("n2",), "n3"):
        world.sandbox.stop(stopped)
        picture = browser.get(url)
        assert picture.headers["X-Served-By"] == server
        bodies.append(picture.content)
    assert len(set(bodies)) == 1
    assert Tags(browser.get(world.sandbox.web.url).text).of("img") == page.of("img")
    world.sandbox.stop(("n3",))
    assert browser.get(url).status_code == 404


def test_nothing_but_thumbnails_and_pages_is_served(
    world: World, live: dict[str, ManifestEntry], browser: requests.Session
) -> None:
    site = world.sandbox.web.url
    path = urlsplit(str(Tags(browser.get(site).text).of("img")[0]["src"])).path
    for wrong in ("lis/../.imagesys/ready", "lis/.imagesys/ready", path[1:] + ".bak", "lis/uk/", "%2e%2e/etc/passwd"):
        request = requests.Request("GET", site).prepare()
        request.url = site + wrong
        assert browser.send(request).status_code == 404
    for number in range(24):
        world.put(f"more-{number}", "http://127.0.0.11:1/never.jpg")
    assert browser.get(site, params={"page": "2"}).text != browser.get(site).text
    for page in ("0", "99999", "-1", "x", "9" * 50, "<b>"):
        assert browser.get(site, params={"page": page}).status_code == 200
