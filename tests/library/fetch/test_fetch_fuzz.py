"""Fetching: whatever bytes a host answers, its image ends with a reason of the closed set, and others are fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesys_lib.fetch.http.codings import BodyDecoder
from imagesys_lib.fetch.http.fetcher import Fetcher
from imagesys_lib.fetch.http.jobs import Fetched, FetchJob, NotModified
from imagesys_lib.images.reasons import REASONS, ImageFault
from tests.support.answers import CASES, JPEG, nested_bomb
from tests.support.raw_host import RawHost, serving_all
from tests.support.site import all_of, raw, whole
from tests.support.site import settings as fetch_settings

CODES = re.compile("|".join([*REASONS, r"http_[1-9]\d\d"]))
EXAMPLES = 150

blanks = st.sampled_from([b" ", b"", b"  ", b"\t", b"\0", b"\r", b"\r\n"])
ends = st.sampled_from([b"\r\n", b"\n", b"\r", b"", b"\r\n\r\n", b"\r\n "])
digits = st.one_of(
    st.integers(-5, 1100).map(lambda number: b"%d" % number),
    st.sampled_from([b"200OK", b"200.1", b"2" * 60, b"", b"\xd9\xa2\xd9\xa0\xd9\xa0", b"0x10", b"9" * 5000, b"1e3"]),
)
words = st.one_of(
    st.binary(max_size=30),
    digits,
    st.sampled_from([
        b"gzip", b"gzip, gzip", b"deflate", b"chunked", b"identity", b"base64", b"br", b"/b.jpg", b"http://[",
        b"%d" % len(JPEG), b"close", b"keep-alive", b"bytes 0-1/2", b"W/\"\xff\"", b"//\xff",
        b"Wed, 31 Feb 20260 99:99:99 +9999999999",
    ]),
)  # fmt: skip
names = st.one_of(
    st.sampled_from([
        b"Content-Length", b"Content-Encoding", b"Transfer-Encoding", b"Location", b"Retry-After", b"Date", b"ETag",
        b"Last-Modified", b"Content-Type", b"Connection", b"Content-Range", b"Set-Cookie", b"Upgrade", b"Trailer",
    ]),
    st.binary(max_size=10),
)  # fmt: skip
fields = st.builds(lambda *parts: b"".join(parts), names, blanks, st.sampled_from([b":", b": ", b""]), words, ends)
status_lines = st.builds(
    lambda *parts: b"".join(parts),
    st.sampled_from([b"", b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n\r\n", b"x"]),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"http/1.1", b"HTTP/", b"ICY", b""]),
    blanks,
    st.one_of(st.sampled_from([b"200", b"302", b"404", b"503", b"304", b"206"]), digits),
    blanks,
    words,
    ends,
)
bodies = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([JPEG, JPEG[:500], b"", b"5\r\nabcde\r\n0\r\n\r\n", b"\x1f\x8b\x08\0\0\0\0\0\0\3", b"<html>"]),
)
built = st.builds(
    lambda line, lines, end, body: line + b"".join(lines) + end + body,
    status_lines,
    st.lists(fields, max_size=6),
    ends,
    bodies,
)
KNOWN = [case.answer for case in CASES.values() if len(case.answer) < 8000]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An answer of the table with a few of its bytes changed, taken out or put in."""
    answer = bytearray(draw(st.sampled_from(KNOWN)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(len(answer), 120)))
        answer[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(answer)


@contextmanager
def hosts() -> Iterator[tuple[RawHost, RawHost]]:
    bad, good = RawHost("127.0.0.11"), RawHost("127.0.0.12")
    good.otherwise = whole(JPEG)
    with serving_all(bad, good):
        yield bad, good


@pytest.mark.parametrize("keeps", [False, True], ids=["closed", "kept"])
def test_whatever_a_host_answers_costs_its_own_image_alone(keeps):
    with (
        hosts() as (bad, good),
        TemporaryDirectory() as folder,
        Fetcher(fetch_settings(read_timeout=0.3, image_deadline=0.6, connect_timeout=2, per_host=1)) as fetcher,
    ):

        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(answer=st.one_of(built, damaged(), st.binary(max_size=300)))
        def ask(answer: bytes) -> None:
            once = raw(answer)

            def kept(sock, path) -> None:
                once(sock, path)

            bad.otherwise = kept if keeps else once
            bad.answers["/after.jpg"] = whole(JPEG)
            fetcher.add(FetchJob(1, bad.url("/a.jpg"), Path(folder) / "1", etag='"x"'))
            fetcher.add(FetchJob(2, good.url("/b.jpg"), Path(folder) / "2"))
            fetcher.add(FetchJob(3, bad.url("/after.jpg"), Path(folder) / "3"))
            results = {outcome.job.key: outcome.result for outcome in all_of(fetcher, 8)}
            judge(results[1])
            assert isinstance(results[2], Fetched), results[2]
            assert isinstance(results[3], Fetched), results[3]  # on whatever connection the other has left

        ask()


def judge(result: object) -> None:
    assert isinstance(result, Fetched | NotModified | ImageFault)
    if isinstance(result, ImageFault):
        assert CODES.fullmatch(result.reason.code), result.reason.code
        assert len(result.reason.code) <= 40
        assert len(result.detail) <= 250
        json.dumps(result.detail, ensure_ascii=False).encode()
        assert 0 <= (result.retry_after or 0) <= 24 * 3600
    if isinstance(result, Fetched):
        assert len(result.etag) <= 255
        assert len(result.last_modified) <= 64
        f"{result.etag}{result.last_modified}{result.final_url}{result.content_type}".encode()


@pytest.mark.parametrize("code", ["http_" + "5" * 60, "http_20", "http_2000", "http_000"])
def test_a_status_that_is_none_is_no_reason(code):
    fault = ImageFault(code, "a.example")
    assert fault.reason.code == "protocol"
    assert str(fault) == "protocol: a.example"


def test_the_words_of_a_fault_fit_their_column_and_are_text():
    assert ImageFault("protocol", "\udce9" * 300).detail == ("\\udce9" * 50)[:250]
    assert len(ImageFault("protocol", "ä" * 300).detail) == 250
    with pytest.raises(KeyError):
        ImageFault("no_such_reason")


@settings(max_examples=EXAMPLES, deadline=None, database=None)
@given(layers=st.integers(1, 3), junk=st.binary(max_size=20), at=st.integers(0, 3000))
def test_a_damaged_bomb_is_its_own_images_fault(layers, junk, at):
    _, _, whole_body = nested_bomb(", ".join(["gzip"] * layers)).partition(b"\r\n\r\n")
    body = bytearray(whole_body[:6000])
    body[at : at + len(junk)] = junk
    try:
        decoder = BodyDecoder(", ".join(["gzip"] * layers), 200_000)
        assert sum(map(len, decoder.decoded(bytes(body)))) <= 200_000
    except ImageFault as fault:
        judge(fault)
