"""Every kind of URL behaves as the manifest says, to a client like ImageSys's own (requests)."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from PIL import Image, ImageOps

from include.sandbox import ManifestEntry, Sandbox

from .conftest import LAST_DAY

Seeded = dict[str, ManifestEntry]


@pytest.fixture
def client() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def of_kind(seeded: Seeded, kind: str) -> ManifestEntry:
    return next(entry for entry in seeded.values() if entry.kind == kind)


def test_every_proper_url_serves_its_photo_as_described(seeded: Seeded, client: requests.Session) -> None:
    served = [entry for entry in seeded.values() if entry.kind == "ok"]
    for entry in served:
        response = client.get(entry.url, timeout=10)
        assert response.status_code == 200, entry.url
        assert response.headers["Content-Type"] == entry.media_type
        assert response.content == Path(entry.file).read_bytes()
        with Image.open(io.BytesIO(response.content)) as image:
            assert ImageOps.exif_transpose(image).size == (entry.width, entry.height)
    assert {entry.host for entry in served} == {f"127.0.0.{last}" for last in range(11, 17)}
    spellings = " ".join(entry.url for entry in served)
    assert all(part in spellings for part in ("?x=1&y=%20", "garden%20view", "%C3%A7", "%3F"))


def test_urls_that_repeat_a_photo_serve_it_in_bytes_of_their_own(sandbox: Sandbox, client: requests.Session) -> None:
    seeded = sandbox.etl.seed(
        "fr", images=9, last_day=LAST_DAY, time_zone="Europe/Paris", broken_share=0, seed=5, repeat=3
    )
    bodies = {url: client.get(url, timeout=10).content for url in seeded}
    assert len({entry.file for entry in seeded.values()}) <= 3
    assert len(set(bodies.values())) == 9
    for url, entry in seeded.items():
        with Image.open(io.BytesIO(bodies[url])) as served, Image.open(entry.file) as original:
            assert served.format == "JPEG"
            assert served.tobytes() == original.tobytes()


@pytest.mark.parametrize(("kind", "status"), [("missing", 404), ("gone", 410), ("forbidden", 403), ("always_500", 500)])
def test_refused_urls_answer_with_their_status(
    seeded: Seeded, client: requests.Session, kind: str, status: int
) -> None:
    entry = of_kind(seeded, kind)
    assert [client.get(entry.url, timeout=10).status_code for _ in range(3)] == [status] * 3
    assert entry.expected == f"http_{status}"


def test_a_flaky_url_fails_twice_and_is_fine_for_ever_also_after_a_restart(
    sandbox: Sandbox, seeded: Seeded, client: requests.Session
) -> None:
    url = of_kind(seeded, "flaky").url
    assert [client.get(url, timeout=10).status_code for _ in range(3)] == [500, 500, 200]
    sandbox.website.stop()
    sandbox.website.start()
    assert requests.get(url, timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("kind", "start"),
    [("html", b"<!doctype html>"), ("svg", b"<svg"), ("empty", b""), ("png_as_jpeg", b"\x89PNG")],
)
def test_bodies_that_are_not_what_they_are_called(
    seeded: Seeded, client: requests.Session, kind: str, start: bytes
) -> None:
    response = client.get(of_kind(seeded, kind).url, timeout=10)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/jpeg")
    assert response.content.startswith(start)
    assert bool(response.content) == (kind != "empty")


def test_a_truncated_body_ends_before_its_declared_length(seeded: Seeded, client: requests.Session) -> None:
    entry = of_kind(seeded, "truncated")
    with client.get(entry.url, timeout=10, stream=True) as response:
        assert int(response.headers["Content-Length"]) == Path(entry.file).stat().st_size
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            _ = response.content


def test_a_slow_url_takes_its_time_and_completes(seeded: Seeded, client: requests.Session) -> None:
    entry = of_kind(seeded, "slow")
    started = time.monotonic()
    assert client.get(entry.url, timeout=10).content == Path(entry.file).read_bytes()
    assert 1.2 < time.monotonic() - started < 5


def test_a_drip_gives_about_a_byte_a_second(seeded: Seeded, client: requests.Session) -> None:
    received = b""
    started = time.monotonic()
    with client.get(of_kind(seeded, "drip").url, timeout=10, stream=True) as response:
        for piece in response.iter_content(1):
            received += piece
            if time.monotonic() - started > 2.2:
                break
    assert received.startswith(b"\xff\xd8"[: len(received)])
    assert 1 <= len(received) <= 4


def test_a_redirect_leads_to_a_photo_of_its_own(seeded: Seeded, client: requests.Session) -> None:
    entry = of_kind(seeded, "redirect")
    response = client.get(entry.url, timeout=10)
    assert [hop.status_code for hop in response.history] == [302]
    assert response.content == Path(entry.file).read_bytes()


def test_an_unchanged_photo_is_not_sent_again(seeded: Seeded, client: requests.Session) -> None:
    url = of_kind(seeded, "ok").url
    first = client.get(url, timeout=10)
    for name, value in (
        ("If-None-Match", first.headers["ETag"]),
        ("If-Modified-Since", first.headers["Last-Modified"]),
    ):
        again = client.get(url, headers={name: value}, timeout=10)
        assert (again.status_code, again.content) == (304, b"")
    assert client.get(url, headers={"If-None-Match": '"other"'}, timeout=10).status_code == 200
    head = client.head(url, timeout=10)
    assert (int(head.headers["Content-Length"]), head.content) == (len(first.content), b"")


def test_requests_are_counted_from_an_offset(sandbox: Sandbox, seeded: Seeded, client: requests.Session) -> None:
    entry = of_kind(seeded, "ok")
    offset = sandbox.website.log_offset()
    for _ in range(2):
        client.get(entry.url, timeout=10, headers={"User-Agent": "ImageSys test"})
    client.get(f"http://127.0.0.11:{sandbox.website.port}/nobody/knows", timeout=10)
    assert sandbox.website.request_counts(offset) == {entry.target: 2, "/nobody/knows": 1}
    line = sandbox.website.requests(offset)[0]
    assert (line["host"], line["status"], line["agent"]) == (entry.host, 200, "ImageSys test")
    assert line["bytes"] == Path(entry.file).stat().st_size


def test_the_delay_is_changed_while_the_site_runs(sandbox: Sandbox, seeded: Seeded, client: requests.Session) -> None:
    url = of_kind(seeded, "missing").url
    try:
        sandbox.website.set_delay(400)
        started = time.monotonic()
        client.get(url, timeout=10)
        assert time.monotonic() - started >= 0.4
    finally:
        sandbox.website.set_delay(0)
    started = time.monotonic()
    client.get(url, timeout=10)
    assert time.monotonic() - started < 0.3
