"""Fetching: whole answers, as Chromium takes them where curl can; and what one answer may cost the others."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from imagesys_lib.fetch.http import transfer
from imagesys_lib.fetch.http.fetcher import Fetcher
from imagesys_lib.fetch.http.headers import Head, parsed
from imagesys_lib.fetch.http.jobs import Fetched, FetchJob
from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.thumbnail.decoding.sniff import sniff
from tests.support import answers
from tests.support.answers import CASES, JPEG, OK, PHOTO, Case, bomb_of_tables, coded, nested_bomb, sized
from tests.support.raw_host import RawHost, in_turn, serving_all
from tests.support.site import Answer, all_of, raw, redirect, settings, whole

ADDRESSES = ("127.0.0.11", "127.0.0.12")


@pytest.fixture
def hosts() -> Iterator[tuple[RawHost, RawHost]]:
    """A host that is out of order, and an innocent one."""
    bad, good = RawHost(ADDRESSES[0]), RawHost(ADDRESSES[1])
    good.otherwise = whole(JPEG)
    with serving_all(bad, good):
        yield bad, good


def kept(*parts: bytes | float) -> Answer:
    """Bytes on a connection that stays open."""
    once = raw(*parts)

    def kept(sock, path) -> None:
        once(sock, path)

    return kept


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_an_answer_is_what_chromium_makes_of_it_or_a_listed_exception(hosts, tmp_path, case: Case):
    bad, good = hosts
    bad.answers["/a.jpg"] = raw(case.answer)
    with Fetcher(settings(max_bytes=2_000_000)) as fetcher:
        fetcher.add(FetchJob(1, bad.url("/a.jpg"), tmp_path / "1"))
        fetcher.add(FetchJob(2, good.url("/b.jpg"), tmp_path / "2"))
        results = {outcome.job.key: outcome.result for outcome in all_of(fetcher)}
    assert isinstance(results[2], Fetched)
    got = results[1].reason.code if isinstance(results[1], ImageFault) else PHOTO
    assert got == case.right, results[1]
    if got == PHOTO:
        assert (tmp_path / "1").read_bytes() == JPEG
    else:
        assert len(results[1].detail) <= 250
        results[1].detail.encode()  # as a database wants it
        assert not (tmp_path / "1").exists()
    assert (got == PHOTO) == case.chromium or case.exception


@pytest.mark.parametrize("tail", [b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"junk", JPEG, OK], ids=repr)
@pytest.mark.parametrize("pause", [0.0, 0.15])
def test_what_follows_a_body_costs_no_other_image_of_its_host(hosts, tmp_path, tail, pause):
    bad, _ = hosts
    bad.otherwise = kept(OK + sized(), pause, tail)
    with Fetcher(settings(per_host=1)) as fetcher:
        for number in range(4):
            fetcher.add(FetchJob(number, bad.url(f"/{number}.jpg"), tmp_path / str(number)))
        results = [outcome.result for outcome in all_of(fetcher)]
    assert [type(result) for result in results] == [Fetched] * 4, results


def test_a_line_that_comes_with_the_next_answer_costs_a_second_request_and_no_image(hosts, tmp_path):
    bad, _ = hosts
    bad.otherwise = whole(JPEG)
    bad.answers["/b.jpg"] = in_turn(kept(b"\r\n" + OK + sized()), whole(JPEG))
    with Fetcher(settings(per_host=1)) as fetcher:
        for path in ("/a.jpg", "/b.jpg", "/c.jpg"):
            assert fetcher.fetch(bad.url(path), tmp_path / path[1:]).size == len(JPEG)
    assert [asked.path for asked in bad.asked] == ["/a.jpg", "/b.jpg", "/b.jpg", "/c.jpg"]
    assert bad.connections == 2


def test_a_host_that_never_answers_in_http_is_asked_once_and_no_more_on_a_connection_of_its_own(hosts, tmp_path):
    bad, _ = hosts
    bad.otherwise = kept(b"\r\n" + OK + sized())
    with Fetcher(settings()) as fetcher, pytest.raises(ImageFault, match="protocol"):
        fetcher.fetch(bad.url("/a.jpg"), tmp_path / "a")
    assert len(bad.asked) == 1


def test_a_photo_in_gzip_is_whole_at_the_end_of_its_stream_though_more_was_announced(hosts, tmp_path):
    bad, _ = hosts
    bad.answers["/a.jpg"] = kept(coded("gzip", gzip.compress(JPEG), len(JPEG)))  # and the connection stays open
    began = time.monotonic()
    with Fetcher(settings()) as fetcher:
        assert fetcher.fetch(bad.url("/a.jpg"), tmp_path / "a").size == len(JPEG)
    assert time.monotonic() - began < 0.9  # read_timeout is 1 s


@pytest.mark.parametrize("layers", ["gzip, gzip, gzip, gzip", "gzip, gzip", "gzip"])
def test_an_answer_that_inflates_to_nothing_holds_nobody_up(hosts, tmp_path, layers):
    bad, good = hosts
    answer = nested_bomb(layers)
    assert len(answer) < 2_000_000
    bad.otherwise = raw(answer)
    began = time.monotonic()
    with Fetcher(settings(max_bytes=32 * 1024 * 1024)) as fetcher:
        for number in range(20):
            fetcher.add(FetchJob(number, good.url(f"/{number}.jpg"), tmp_path / str(number)))
        fetcher.add(FetchJob(20, bad.url("/a.jpg"), tmp_path / "20"))
        results = {outcome.job.key: outcome.result for outcome in all_of(fetcher)}
    assert all(isinstance(results[number], Fetched) for number in range(20))
    assert time.monotonic() - began < 3


def test_an_answer_whose_coding_takes_long_to_undo_is_refused_before_it_holds_others_up(hosts, tmp_path):
    bad, _ = hosts
    answer = bomb_of_tables()
    assert len(answer) < 200_000
    bad.otherwise = raw(answer)
    with Fetcher(settings(max_bytes=32 * 1024 * 1024)) as fetcher:
        began = time.thread_time()
        with pytest.raises(ImageFault, match="too_large"):
            fetcher.fetch(bad.url("/a.jpg"), tmp_path / "a")
    assert time.thread_time() - began < 1


def test_more_than_the_cap_is_refused_as_it_comes_and_as_it_is_decoded(hosts, tmp_path):
    bad, _ = hosts
    stored = gzip.compress(os.urandom(250_000), 0)
    bad.answers["/wire"] = raw(OK + b"Content-Encoding: gzip\r\n\r\n" + stored)
    bad.answers["/decoded"] = raw(coded("gzip", gzip.compress(bytes(250_000))))
    bad.answers["/between"] = raw(coded("gzip, gzip", gzip.compress(gzip.compress(bytes(5)) + bytes(250_000))))
    with Fetcher(settings(max_bytes=200_000)) as fetcher:
        for path in ("/wire", "/decoded", "/between"):
            with pytest.raises(ImageFault, match="too_large"):
                fetcher.fetch(bad.url(path), tmp_path / "a")


def test_twenty_redirects_lead_to_a_photo_and_one_more_does_not(hosts, tmp_path):
    bad, _ = hosts
    for hop in range(21):
        bad.answers[f"/{hop}"] = redirect(f"/{hop + 1}")
    bad.answers["/21"] = whole(JPEG)
    with Fetcher(settings(max_redirects=20)) as fetcher:
        assert fetcher.fetch(bad.url("/1"), tmp_path / "a").size == len(JPEG)
        with pytest.raises(ImageFault, match="redirect_loop"):
            fetcher.fetch(bad.url("/0"), tmp_path / "b")


# A gap in polling is ours


@pytest.mark.parametrize(
    "state", ["half", "connecting", *(pytest.param(state, marks=pytest.mark.long) for state in ("asked", "answered"))]
)
def test_time_that_the_caller_takes_is_charged_to_no_request(hosts, tmp_path, state):
    _, good = hosts
    slow = {
        "asked": kept(0.3, OK + sized()),
        "half": kept(OK + b"Content-Length: %d\r\n\r\n" % len(JPEG) + JPEG[:100], 0.3, JPEG[100:]),
        "answered": whole(JPEG),
        "connecting": whole(JPEG),
    }[state]
    good.otherwise = slow
    with Fetcher(settings(connect_timeout=1, image_deadline=1.5, read_timeout=0.8)) as fetcher:
        for number in range(6):
            fetcher.add(FetchJob(number, good.url(f"/{number}.jpg"), tmp_path / str(number)))
        assert fetcher.poll(0 if state == "connecting" else 0.1) == [] or state in ("answered", "connecting")
        time.sleep(2.5)  # longer than every limit
        results = [outcome.result for outcome in all_of(fetcher)]
    assert not [result for result in results if isinstance(result, ImageFault)]
    assert len(list(tmp_path.iterdir())) == 6


def test_time_that_the_caller_takes_again_and_again_is_charged_to_no_request(hosts, tmp_path):
    _, good = hosts
    good.otherwise = kept(1.2, OK + sized())
    with Fetcher(settings(image_deadline=3, read_timeout=2)) as fetcher:
        fetcher.add(FetchJob(1, good.url("/a.jpg"), tmp_path / "a"))
        outcomes = fetcher.poll(0.05)
        while not outcomes:
            time.sleep(1.1)
            outcomes = fetcher.poll(0.05)
    assert isinstance(outcomes[0].result, Fetched)


def test_a_host_that_is_too_slow_is_cut_though_we_were_away_meanwhile(hosts, tmp_path):
    bad, _ = hosts
    bad.otherwise = kept(OK + b"Content-Length: 100\r\n\r\nabc")
    with Fetcher(settings(image_deadline=2, read_timeout=0.8)) as fetcher:
        fetcher.add(FetchJob(1, bad.url("/a.jpg"), tmp_path / "a"))
        fetcher.poll(0.1)
        time.sleep(1.5)
        (outcome,) = all_of(fetcher, 6)
    assert outcome.result.reason.code == "timeout"
    assert len(bad.asked) == 2


_STOPPED = """
import sys
from pathlib import Path
from tests.support.site import settings
from imagesys_lib.fetch.http.fetcher import Fetcher
from imagesys_lib.fetch.http.jobs import FetchJob
with Fetcher(settings(image_deadline=2, read_timeout=1)) as fetcher:
    for number in range(6):
        fetcher.add(FetchJob(number, f"{sys.argv[1]}{number}.jpg", Path(sys.argv[2]) / str(number)))
    print("begun", flush=True)
    while fetcher.busy:
        for outcome in fetcher.poll(0.5):
            print(type(outcome.result).__name__, outcome.result, flush=True)
"""


def test_a_process_that_was_stopped_for_longer_than_every_limit_gets_its_photos(hosts, tmp_path):
    _, good = hosts
    good.otherwise = kept(0.6, OK + sized())
    command = [sys.executable, "-c", _STOPPED, good.url("/"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "begun\n"
            while not good.asked:
                time.sleep(0.02)
            child.send_signal(signal.SIGSTOP)
            time.sleep(3)
            child.send_signal(signal.SIGCONT)
            said, _ = child.communicate(timeout=20)
        finally:
            child.kill()
    assert [line.split()[0] for line in said.splitlines()] == ["Fetched"] * 6, said


def test_an_exception_that_nobody_foresaw_is_that_images_fault_and_names_its_host(hosts, tmp_path, monkeypatch, caplog):
    bad, good = hosts
    bad.otherwise = whole(JPEG, "X: odd")

    def unsound(lines: list[bytes]) -> Head:
        if b"X: odd\r\n" in lines:
            raise RuntimeError("nobody foresaw this")
        return parsed(lines)

    monkeypatch.setattr(transfer, "parsed", unsound)
    with Fetcher(settings()) as fetcher:
        fetcher.add(FetchJob(1, bad.url("/a.jpg?token=hidden"), tmp_path / "1"))
        fetcher.add(FetchJob(2, good.url("/b.jpg"), tmp_path / "2"))
        results = {outcome.job.key: outcome.result for outcome in all_of(fetcher)}
    assert results[1].reason.code == "protocol"
    assert isinstance(results[2], Fetched)
    assert f"{bad.host}: one of its images" in caplog.text
    assert "nobody foresaw this" in caplog.text
    assert "hidden" not in caplog.text


def test_the_table_of_answers_holds_photos_that_are_photos():
    assert sniff(JPEG) == "JPEG"
    assert len(CASES) > 120
    assert {case.exception for case in CASES.values()} >= {answers.CURL, answers.BY_STATUS, answers.NOT_ASKED_FOR}
