"""Fetching: which URLs may be asked for, and in what form they are sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imagesys_lib.fetch import host_of
from imagesys_lib.fetch.urls import wire
from tests.library.site import BODY, Site, code, get, serving, whole


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as server:
        yield server


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("", "/"),
        ("/a%3Fb.jpg", "/a%3Fb.jpg"),
        ("/ä ö.jpg", "/%C3%A4%20%C3%B6.jpg"),
        ("/a;$(id)'", "/a;$(id)'"),
        ("/a b.jpg?c=d e&f=%zz", "/a%20b.jpg?c=d%20e&f=%25zz"),
        ("/a.jpg?w=1#top", "/a.jpg?w=1"),
        ('/"<>\\^`{|}', "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("/a.jpg ", "/a.jpg%20"),
        ("/%0D%0AX-Injected:%201", "/%0D%0AX-Injected:%201"),
    ],
)
def test_odd_urls_are_asked_for_as_a_browser_would(site, tmp_path, path, asked):
    site.answers[asked.partition("?")[0]] = whole()
    assert get(site.url(path), tmp_path / "x").size == len(BODY)
    assert site.requests == [asked]
    assert "X-Injected" not in site.heads[0].partition("\r\n")[2]


def test_leading_spaces_of_a_url_are_dropped(site, tmp_path):
    site.answers["/a"] = whole()
    assert get("  " + site.url("/a"), tmp_path / "x").final_url == site.url("/a")


def test_a_long_url_is_fetched_up_to_4096_bytes(site, tmp_path):
    site.answers["/a"] = whole()
    base = site.url("/a?")
    assert get(base + "x" * (4096 - len(base)), tmp_path / "x").size == len(BODY)
    assert code(base + "x" * (4097 - len(base)), tmp_path / "none") == "bad_url"


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("HTTP://Photos.Example:8080", "http://photos.example:8080/"),
        ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC"),
        ("http://a_b.example./x", "http://a_b.example./x"),
        ("https://[2001:db8::1]:8443/a", "https://[2001:db8::1]:8443/a"),
        ("http://[fe80::1%25eth0]/a", "http://[fe80::1%25eth0]/a"),
        ("http://user:pa%20ss@photos.example/a", "http://photos.example/a"),
    ],
)
def test_what_curl_gets_is_plain_ascii_without_credentials(url, sent):
    assert wire(url).url == sent


def test_a_host_is_left_alone_by_name_and_port():
    assert host_of("https://user:x@Photos.Example:81/a") == "photos.example:81"
    assert host_of("http://photos.example/a") == "photos.example"
    assert host_of("http://[::1/a") == host_of("file") == ""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "photo.jpg",
        "file:///etc/passwd",
        "ftp://127.0.0.1/a.jpg",
        "data:image/png;base64,AAAA",
        "http://",
        "http:///a.jpg",
        "http://[::1/a.jpg",
        "http://[v1.x]/a.jpg",
        "http://127.0.0.1:99999/a.jpg",
        "http://127.0.0.1:port/a.jpg",
        "http://127.0.0.1:0/a.jpg",
        "http://a\nb/x.jpg",
        "http://127.0.0.1/x.jpg\r\nX-Injected: 1",
        "http://127.0.0.1/\x00",
        "http://" + "a" * 70 + ".example/x.jpg",
        "http://" + "a." * 130 + "example/x.jpg",
        "http://exa mple/x.jpg",
        "http://a..b/x.jpg",
        "http://127%2e0.0.1/x.jpg",
        "http://good.example\\@127.0.0.1\\/x.jpg",
        "http://\u2100.example/x.jpg",
        "http://127.0.0.1/\ud800",
    ],
)
def test_what_is_no_http_url_is_refused(tmp_path, url):
    assert code(url, tmp_path) == "bad_url"
