"""Fetching: what is sent, redirects, statuses, conditions, and what is left on disk."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from imagesys_lib.errors import DiskFull, Stopped
from imagesys_lib.fetch.http.fetcher import Fetcher
from imagesys_lib.fetch.http.jobs import Fetched, FetchJob, NotModified
from imagesys_lib.images.reasons import Fate, ImageFault
from imagesys_lib.storage import atomic_files
from tests.support.site import (
    BODY,
    Site,
    all_of,
    code,
    drip,
    fault,
    files_in,
    get,
    raw,
    redirect,
    serving,
    settings,
    whole,
)

SHA1 = hashlib.sha1(BODY).hexdigest()  # noqa: S324


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as server:
        yield server


def test_a_photo_is_written_whole_with_its_headers(site, tmp_path):
    site.answers["/a.jpg"] = whole(BODY, 'ETag: "abc"', "Last-Modified: Tue, 01 Oct 2024 10:00:00 GMT")
    target = tmp_path / "a" / "b" / "photo"
    fetched = get(site.url("/a.jpg"), target)
    assert fetched == Fetched(
        sha1=SHA1,
        size=len(BODY),
        content_type="image/jpeg",
        final_url=site.url("/a.jpg"),
        etag='"abc"',
        last_modified="Tue, 01 Oct 2024 10:00:00 GMT",
    )
    assert target.read_bytes() == BODY
    assert [path.name for path in target.parent.iterdir()] == ["photo"]


def test_a_body_larger_than_what_is_kept_in_memory_arrives_whole(site, tmp_path):
    body = os.urandom(1_000_003)
    site.answers["/a"] = whole(body)
    assert get(site.url("/a"), tmp_path / "x", max_bytes=2_000_000).sha1 == hashlib.sha1(body).hexdigest()  # noqa: S324
    assert (tmp_path / "x").read_bytes() == body


def test_it_says_who_it_is_and_asks_for_identity(site, tmp_path):
    site.answers["/a"] = whole()
    get(site.url("/a"), tmp_path / "a")
    head = site.heads[0]
    assert head.startswith("GET /a HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{site.port}" in head
    assert "User-Agent: ImageSys-test/1 (+https://example.com)" in head
    assert "Accept: image/*,*/*;q=0.5" in head
    assert "Accept-Encoding: identity" in head
    assert "If-" not in head


def test_connections_are_reused_and_nothing_is_remembered_of_an_answer(site, tmp_path):
    # Neither a cookie nor another service (Alt-Svc) nor HSTS may change what the next request does.
    kept = (
        "Set-Cookie: visitor=1; Path=/",
        'Alt-Svc: http/1.1="127.0.0.1:9"; ma=60',
        "Strict-Transport-Security: max-age=9",
    )
    site.answers["/a"] = whole(BODY, *kept)
    site.answers["/none"] = whole(b"<html>", status="404 No")
    with Fetcher(settings()) as fetcher:
        for number in range(5):
            fetcher.fetch(site.url("/a"), tmp_path / str(number))
            with pytest.raises(ImageFault):
                fetcher.fetch(site.url("/none"), tmp_path / "none")
    assert site.connections == 1
    assert not any("cookie" in head.lower() for head in site.heads)


def test_the_environment_changes_nothing(site, tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
    site.answers["/a"] = whole()
    assert get(site.url("/a"), tmp_path / "a").size == len(BODY)
    assert "Authorization" not in site.heads[0]


def test_a_configured_proxy_is_asked_for_everything_whatever_no_proxy_says(site, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    site.answers["http://photos.example/a"] = whole()
    fetched = get("http://photos.example/a", tmp_path / "x", proxy=site.url(""), allowed_addresses=[])
    assert fetched.size == len(BODY)
    assert site.requests == ["http://photos.example/a"]


def test_chunked_and_unlengthed_bodies_arrive(site, tmp_path):
    site.answers["/chunked"] = raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"
    )
    site.answers["/close"] = raw(b"HTTP/1.0 200 OK\r\n\r\nabcde")
    site.answers["/hint"] = raw(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabcde")
    for path in ("/chunked", "/close", "/hint"):
        assert get(site.url(path), tmp_path / "x").sha1 == hashlib.sha1(b"abcde").hexdigest()  # noqa: S324


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_and_the_final_url_kept(site, tmp_path, status):
    site.answers["/a"] = redirect("/b", status)
    site.answers["/b"] = redirect(site.url("/c"), status)
    site.answers["/c"] = whole()
    assert get(site.url("/a"), tmp_path / "x").final_url == site.url("/c")


def test_a_redirect_may_be_written_in_utf_8(site, tmp_path):
    site.answers["/a"] = redirect("/ä b".encode().decode("latin-1"))
    site.answers["/%C3%A4%20b"] = whole()
    assert get(site.url("/a"), tmp_path / "x").size == len(BODY)


def test_a_redirect_loop_ends_at_the_limit(site, tmp_path):
    site.answers["/a"] = redirect("/a")
    assert code(site.url("/a"), tmp_path) == "redirect_loop"
    assert len(site.requests) == 4  # the first and three redirects
    assert code(site.url("/a"), tmp_path, max_redirects=0) == "redirect_loop"


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[x/", "javascript:1", "data:image/png,x"],
)
def test_a_redirect_may_only_lead_to_http(site, tmp_path, location):
    site.answers["/a"] = redirect(location)
    assert code(site.url("/a"), tmp_path) == "bad_url"


@pytest.mark.parametrize("status", [400, 403, 404, 410, 429, 500, 503, 999, 300])
def test_other_statuses_are_reasons(site, tmp_path, status):
    site.answers["/a"] = whole(b"<html>", status=f"{status} No")
    assert code(site.url("/a"), tmp_path) == f"http_{status}"


def test_a_long_error_page_is_not_read(site, tmp_path):
    site.answers["/a"] = drip(b"HTTP/1.1 404 No\r\nContent-Length: 9999999\r\n\r\n")
    site.answers["/endless"] = drip(b"HTTP/1.1 404 No\r\n\r\n", b"x" * 50_000, 0.0)
    for path in ("/a", "/endless"):
        began = time.monotonic()
        assert code(site.url(path), tmp_path) == "http_404"
        assert time.monotonic() - began < 1


def test_a_redirect_without_location_is_its_status(site, tmp_path):
    site.answers["/a"] = whole(b"", status="302 Found")
    assert code(site.url("/a"), tmp_path) == "http_302"


def test_a_condition_is_sent_and_its_304_is_a_success(site, tmp_path):
    site.answers["/a"] = redirect("/b")
    site.answers["/b"] = raw(b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n')
    date = "Tue, 01 Oct 2024 10:00:00 GMT"
    with Fetcher(settings()) as fetcher:
        answer = fetcher.fetch(site.url("/a"), tmp_path / "x", etag='"x"', last_modified=date)
    assert answer == NotModified(site.url("/b"))
    assert 'If-None-Match: "x"\r\n' in site.heads[1]
    assert f"If-Modified-Since: {date}" in site.heads[1]
    assert files_in(tmp_path) == []


def test_a_condition_that_is_not_met_brings_the_new_photo(site, tmp_path):
    site.answers["/a"] = whole(BODY, 'ETag: "new"')
    with Fetcher(settings()) as fetcher:
        assert fetcher.fetch(site.url("/a"), tmp_path / "x", etag='"old"').etag == '"new"'
    assert "If-Modified-Since" not in site.heads[0]


def test_a_304_that_nobody_asked_for_breaks_http(site, tmp_path):
    site.answers["/a"] = whole(b"", status="304 Not Modified")
    assert code(site.url("/a"), tmp_path) == "protocol"


def test_a_validator_cannot_inject_a_header(site, tmp_path):
    site.answers["/a"] = whole()
    with Fetcher(settings()) as fetcher:
        for etag in ('"x"\r\nX-Injected: 1', '"\u2013"'):
            fetcher.fetch(site.url("/a"), tmp_path / "x", etag=etag)
    assert not any("Injected" in head or "If-None-Match" in head for head in site.heads)


def test_a_validator_too_long_to_store_is_dropped(site, tmp_path):
    site.answers["/a"] = whole(BODY, f'ETag: "{"x" * 300}"', f"Last-Modified: {'y' * 65}")
    fetched = get(site.url("/a"), tmp_path / "x")
    assert (fetched.etag, fetched.last_modified) == ("", "")


def http_date(seconds: float) -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["Retry-After: 120"], 120),
        (["Retry-After: 0"], 0),
        (["Retry-After: 99999999999999999999"], 7200),
        ([f"Retry-After: {'9' * 6000}"], 7200),
        (["Retry-After: -5"], None),
        (["Retry-After: soon"], None),
        (["Retry-After: Wed, 01 Jan 2020 00:00:00 GMT"], 0),
        (["Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"], 7200),
        (["Retry-After: IN TEN MINUTES"], 600),
        # Their clock is years off: what counts is the difference.
        (["Date: Wed, 01 Jan 2020 00:00:00 GMT", "Retry-After: Wed, 01 Jan 2020 00:05:00 GMT"], 300),
        ([], None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_clamped(site, tmp_path, headers, expected):
    headers = [line.replace("IN TEN MINUTES", http_date(600)) for line in headers]
    site.answers["/a"] = whole(b"", *headers, status="503 Later")
    error = fault(site.url("/a"), tmp_path, max_retry_after_hours=2)
    assert error.reason.fate is Fate.RETRY
    assert error.retry_after == (None if expected is None else pytest.approx(expected, abs=5))


@pytest.mark.parametrize(("status", "seconds"), [(403, 90), (408, 90), (429, 90), (500, 90), (404, None), (410, None)])
def test_one_photo_that_is_gone_does_not_stop_its_host(site, tmp_path, status, seconds):
    site.answers["/a"] = whole(b"", "Retry-After: 90", status=f"{status} No")
    assert fault(site.url("/a"), tmp_path).retry_after == seconds


def test_credentials_are_used_and_never_shown(site, tmp_path):
    site.answers["/a"] = whole()
    url = site.url("/a").replace("http://", "http://user:hidden@")
    assert get(url, tmp_path / "x").final_url == site.url("/a")
    assert "Authorization: Basic dXNlcjpoaWRkZW4=" in site.heads[0]
    for bad in (url.replace("/a", "/none"), url.replace(str(site.port), "1"), url.replace("127.0.0.1", "x.invalid"),
                url.replace("127.0.0.1", "x y"), url.replace("http:", "ftp:"), url + "\ud800",
                url.replace("127.0.0.1", "10.0.0.1")):  # fmt: skip
        error = fault(bad + "?token=hidden", tmp_path / "none")
        assert "hidden" not in str(error) + error.detail + repr(error.__cause__)


def test_credentials_stay_with_their_host(site, tmp_path):
    with serving(Site()) as other:
        site.answers["/a"] = redirect("/b")
        site.answers["/b"] = redirect(other.url("/c"))
        other.answers["/c"] = whole()
        get(site.url("/a").replace("http://", "http://user:hidden@"), tmp_path / "x")
        assert ["Authorization" in head for head in (*site.heads, *other.heads)] == [True, True, False]


@pytest.mark.parametrize("path", ["/silent", "/body", "/large"])
def test_stop_ends_a_fetch_promptly_and_leaves_nothing(site, tmp_path, path):
    site.answers["/silent"] = raw(3.0)
    site.answers["/body"] = drip(b"HTTP/1.1 200 OK\r\n\r\n")
    site.answers["/large"] = raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 400_000, 3.0)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        get(site.url(path), tmp_path / "x", stop, read_timeout=20, image_deadline=20, max_bytes=1_000_000)
    assert time.monotonic() - began < 1.2
    assert not list(tmp_path.iterdir())


def test_stop_reaches_those_who_wait_for_their_turn(site, tmp_path):
    site.answers["/a"] = raw(2.0)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with Fetcher(settings(per_host=1, read_timeout=20), stop=stop) as fetcher:
        for number in range(4):
            fetcher.add(FetchJob(number, site.url("/a"), tmp_path / str(number)))
        with pytest.raises(Stopped):
            all_of(fetcher)
        assert len(fetcher.drain()) == 3
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("length", [1000, 300_000])
def test_a_full_disk_is_raised_and_aborts_the_others(site, tmp_path, monkeypatch, length):
    site.answers["/a"] = whole(b"x" * length)
    site.answers["/slow"] = raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000, 5.0)
    create = atomic_files._new_file

    def new_file(path: str, *mode: int) -> int:
        made = create(path, *mode)
        if "photo" in path:  # a device on which every write fails for want of space
            os.dup2(os.open("/dev/full", os.O_WRONLY), made)
        return made

    monkeypatch.setattr(atomic_files, "_new_file", new_file)
    with Fetcher(settings(max_bytes=500_000)) as fetcher:
        fetcher.add(FetchJob(1, site.url("/slow"), tmp_path / "slow"))
        time.sleep(0.1)
        fetcher.poll(0.3)
        assert len(files_in(tmp_path)) == 1
        fetcher.add(FetchJob(2, site.url("/a"), tmp_path / "photo"))
        with pytest.raises(DiskFull, match="photo") as caught:
            all_of(fetcher)
        with pytest.raises(DiskFull):
            fetcher.poll(0)
        assert caught.value.remedy
        assert len(fetcher._flights) == 0
    assert files_in(tmp_path) == []


def test_what_had_ended_before_the_disk_was_full_is_handed_out(site, tmp_path, monkeypatch):
    site.answers["/a"] = whole()
    (tmp_path / "file").write_bytes(b"")
    with Fetcher(settings()) as fetcher:
        fetcher.add(FetchJob(1, "ftp://x/", tmp_path / "none"))
        fetcher.add(FetchJob(2, site.url("/a"), tmp_path / "file" / "photo"))
        time.sleep(0.1)
        assert [outcome.job.key for outcome in fetcher.poll(1)] == [1]
        with pytest.raises(NotADirectoryError):  # another disk error is not taken for the network's
            all_of(fetcher)
