"""Fetching: which URLs may be asked for, and in what form they are sent."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from imagesys_lib.config.hostnames import host_of
from imagesys_lib.fetch.http.fetcher import Fetcher
from imagesys_lib.fetch.http.urls import wire
from imagesys_lib.images.reasons import ImageFault
from tests.support import url_table
from tests.support.site import BODY, Site, code, get, redirect, serving, settings, whole


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as server:
        yield server


def sent(url: str, base: str | None = None) -> str | None:
    try:
        return wire(url, base).url
    except ImageFault as fault:
        return None if fault.reason.code == "bad_url" else fault.reason.code


def test_urls_are_read_by_the_url_standard():
    hosts = {f"http://{host}/p": found and f"http://{found}/p" for host, found in url_table.HOSTS.items()}
    paths = {f"http://h.example{path}": f"http://h.example{found}" for path, found in url_table.PATHS.items()}
    for expected in (hosts, paths, url_table.WHOLE, dict.fromkeys(url_table.REFUSED)):
        assert {url: sent(url) for url in expected} == expected


def test_redirects_are_read_by_the_url_standard():
    safely = url_table.REDIRECTED_SAFELY_BY
    for base, expected in (
        (url_table.REDIRECTED_BY, url_table.REDIRECTS),
        (safely, url_table.REDIRECTS_OF_HTTPS),
    ):
        assert {location: sent(location, base) for location in expected} == expected


def test_what_is_asked_for_is_that_to_the_byte(site, tmp_path):
    """Curl by itself writes %c3 as %C3."""
    for path, asked in url_table.PATHS.items():
        with pytest.raises(ImageFault, match="http_404"):
            get(site.url(path), tmp_path / "x")
        assert site.requests.pop() == asked
        assert "\r\nX: 1" not in site.heads.pop()


def test_what_curl_dials_is_the_host_that_was_judged(site, tmp_path):
    """A proxy is told which host to connect to."""
    anything = settings(proxy=site.url(""), allowed_addresses=["0.0.0.0/0", "::/0"])
    hosts = {text: found for text, found in url_table.HOSTS.items() if found}
    with Fetcher(anything) as fetcher:
        for text, found in hosts.items():
            with pytest.raises(ImageFault):
                fetcher.fetch(f"https://{text}:8443/a", tmp_path / "x")
            assert site.requests.pop() == f"{found}:8443"
            assert host_of(f"https://{text}:8443/a") == f"{found.removesuffix('.')}:8443"


def test_a_proxy_is_asked_for_the_same_to_the_byte(site, tmp_path):
    site.answers["http://photos.example/%c3%a9"] = whole()
    get("http://photos.example/x/../%c3%a9?", tmp_path / "x", proxy=site.url(""), allowed_addresses=[])
    assert site.requests == ["http://photos.example/%c3%a9?"]


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        (b"/caf\xe9.jpg", "/caf%E9.jpg"),
        (b"/caf\xc3\xa9.jpg", "/caf%C3%A9.jpg"),
        (b"/\xe9\xc3\xa9.jpg", "/%E9%C3%A9.jpg"),
        ("/voil\u00e0".encode(), "/voil%C3%A0"),  # its last byte is a blank in Latin-1
        (b"/x\xa0", "/x%A0"),
        (b"/x\x85", "/x%85"),
        (b"/x?\xe9=\xff", "/x?%E9=%FF"),
        (b"/caf%E9.jpg", "/caf%E9.jpg"),
        (b"/caf%e9.jpg", "/caf%e9.jpg"),
        (b"/a\\b\\..\\c.jpg ", "/a/c.jpg"),
        (b"b\tc[ ]%zz", "/bc[%20]%zz"),
    ],
)
def test_the_bytes_of_a_location_survive(site, tmp_path, location, asked):
    site.answers["/a"] = redirect(location.decode("latin-1"))
    site.answers[asked.partition("?")[0]] = whole()
    assert get(site.url("/a"), tmp_path / "x").final_url == site.url(asked)
    assert site.requests == ["/a", asked]


def test_a_location_names_a_host_in_any_spelling(site, tmp_path):
    site.answers["/a"] = redirect(f"http://\uff11\uff12\uff17.1:{site.port}/b".encode().decode("latin-1"))
    site.answers["/b"] = redirect(f"\\\\0x7f.1:{site.port}\\c")
    site.answers["/c"] = redirect(f"http:{site.url('/d').removeprefix('http:')}#top")
    site.answers["/d"] = whole()
    assert get(site.url("/a"), tmp_path / "x").final_url == site.url("/d")


def test_leading_and_trailing_blanks_of_a_url_are_dropped(site, tmp_path):
    site.answers["/a"] = whole()
    assert get("  " + site.url("/a") + " \n\x00", tmp_path / "x").final_url == site.url("/a")


def test_a_long_url_is_fetched_up_to_4096_bytes(site, tmp_path):
    site.answers["/a"] = whole()
    base = site.url("/a?")
    assert get(base + "x" * (4096 - len(base)), tmp_path / "x").size == len(BODY)
    assert get(base + "\u00e9" * ((4096 - len(base)) // 2), tmp_path / "x").size == len(BODY)
    for url in (base + "x" * (4097 - len(base)), base + "\u00e9" * ((4098 - len(base)) // 2), base + "x" * 10**6):
        assert code(url, tmp_path / "none") == "bad_url"


def test_redirects_do_not_make_a_url_longer_than_4096_bytes(site, tmp_path):
    folder = "/" + "x" * 2000
    site.answers["/a"] = redirect(folder + "/a")
    site.answers[folder + "/a"] = redirect("." + folder + "/a")
    site.answers[folder * 2 + "/a"] = redirect("." + folder + "/a")
    assert code(site.url("/a"), tmp_path) == "bad_url"
    assert len(site.requests) == 3


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("http://user:pa%20ss@photos.example/a", "user:pa ss"),
        ("http://\u00fc:%ff@photos.example/a", "\u00fc:\udcff"),
        ("http://a:b:c%40d@photos.example/a", "a:b:c@d"),
        ("http://a@photos.example/a", "a:"),
        ("http://:@photos.example/a", None),
    ],
)
def test_credentials_go_into_a_header(url, header):
    made = wire(url)
    assert made.url == "http://photos.example/a"
    pair = "" if header is None else base64.b64encode(header.encode(errors="surrogateescape")).decode()
    assert made.authorization == (pair and f"Basic {pair}")


def test_only_a_redirect_within_the_host_keeps_its_credentials():
    base = wire("http://user:pass@photos.example/a").base
    assert wire("/b", base).authorization
    assert not wire("//photos.example/b", base).authorization


def test_a_host_is_left_alone_by_name_and_port():
    assert host_of("https://user:x@Photos.Example:81/a") == "photos.example:81"
    assert host_of("http://photos.example/a") == "photos.example"
    assert host_of("http://[::1/a") == host_of("file") == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:99999/a.jpg",
        "http://127.0.0.1:port/a.jpg",
        "http://127.0.0.1:0/a.jpg",
        "http://" + "a" * 70 + ".example/x.jpg",
        "http://" + "a." * 130 + "example/x.jpg",
        "http://127.0.0.1/\ud800",
    ],
)
def test_what_is_no_http_url_is_refused(tmp_path, url):
    assert code(url, tmp_path) == "bad_url"
