"""Fetching many: hosts in turn, the limiter's word, limits, pauses, and what is left when it ends early."""

from __future__ import annotations

import gc
import hashlib
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagesys_lib.errors import Stopped
from imagesys_lib.fetch.http.fetcher import Fetcher
from imagesys_lib.fetch.http.jobs import Fetched, FetchJob, Outcome, Unattempted
from imagesys_lib.fetch.http.queues import Task, Waiting
from imagesys_lib.fetch.http.urls import Wire
from imagesys_lib.fetch.politeness.admission import Admission, LocalLimiter
from imagesys_lib.images.reasons import ImageFault
from tests.support.site import (
    BODY,
    Site,
    all_of,
    drip,
    files_in,
    raw,
    redirect,
    serving,
    settings,
    whole,
)

GO = Admission(go=True)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as server:
        yield server


class Limiter:
    """Answers as told, goes otherwise, and writes down what it was asked."""

    def __init__(self, **answers: list[Admission]) -> None:
        self.answers = answers
        self.asked: list[tuple[float, str]] = []
        self.ended: list[tuple[str, str | None]] = []
        self.inside: Counter[str] = Counter()

    def admit(self, host: str) -> Admission:
        self.asked.append((time.monotonic(), host))
        answers = self.answers.get("any")
        answer = answers.pop(0) if answers else GO
        self.inside[host] += answer.go
        return answer

    def left(self, host: str, fault: ImageFault | None) -> None:
        self.inside[host] -= 1
        self.ended.append((host, fault and fault.reason.code))

    def abandoned(self, host: str) -> None:
        self.inside[host] -= 1
        self.ended.append((host, "abandoned"))


def jobs(site: Site, path: str, count: int, folder: Path, start: int = 0) -> list[FetchJob]:
    return [FetchJob(n, site.url(path), folder / str(n)) for n in range(start, start + count)]


def add(fetcher: Fetcher, some: list[FetchJob]) -> None:
    for job in some:
        fetcher.add(job)


def good(outcomes: list[Outcome]) -> set[int]:
    return {outcome.job.key for outcome in outcomes if isinstance(outcome.result, Fetched)}


def test_many_are_fetched_at_once_each_into_its_own_file(site, tmp_path):
    bodies = {n: os.urandom(5000 + n) for n in range(200)}
    site.answers |= {f"/{n}": whole(body) for n, body in bodies.items()}
    with Fetcher(settings()) as fetcher:
        add(fetcher, [FetchJob(n, site.url(f"/{n}"), tmp_path / str(n)) for n in bodies])
        outcomes = all_of(fetcher)
    assert {o.job.key: o.result.sha1 for o in outcomes} == {
        n: hashlib.sha1(body).hexdigest()  # noqa: S324
        for n, body in bodies.items()
    }
    assert {int(path.name): path.read_bytes() for path in tmp_path.iterdir()} == bodies
    assert {outcome.host for outcome in outcomes} == {f"127.0.0.1:{site.port}"}
    assert site.connections <= 8


def test_no_more_requests_are_in_flight_per_host_than_allowed_and_waiting_is_free(site, tmp_path):
    lock, flying, most = threading.Lock(), 0, 0

    def slow(sock: socket.socket, path: str) -> None:
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
        time.sleep(0.2)
        with lock:
            flying -= 1
        whole()(sock, path)

    site.answers["/a"] = slow
    # Four rounds of 0.2 s: the last waits 0.6 s for its turn, more than its deadline.
    with Fetcher(settings(per_host=2, image_deadline=0.5)) as fetcher:
        add(fetcher, jobs(site, "/a", 8, tmp_path))
        assert len(good(all_of(fetcher))) == 8
    assert most == 2


def test_a_host_that_hangs_delays_no_other(site, tmp_path):
    with serving(Site()) as hanging:
        hanging.answers["/a"] = raw(3.0)
        site.answers["/a"] = whole()
        with Fetcher(settings(per_host=6, read_timeout=20, image_deadline=20)) as fetcher:
            add(fetcher, jobs(hanging, "/a", 60, tmp_path))
            add(fetcher, jobs(site, "/a", 60, tmp_path, start=100))
            began, done = time.monotonic(), set()
            while len(done) < 60:
                done |= good(fetcher.poll(1))
            assert time.monotonic() - began < 1
            assert min(done) == 100
            assert len(fetcher._flights) == 6


def test_in_flight_is_the_most_over_all_hosts(tmp_path):
    with serving(Site(("0.0.0.0", 0))) as site, Fetcher(settings(in_flight=5)) as fetcher:  # noqa: S104
        site.answers["/a"] = raw(1.0)
        for number in range(40):
            fetcher.add(FetchJob(number, f"http://127.0.0.{number + 1}:{site.port}/a", tmp_path / str(number)))
        fetcher.poll(0.1)
        assert len(fetcher._flights) == 5


def test_hosts_take_turns(site, tmp_path):
    with serving(Site()) as other:
        order: list[str] = []

        def noted(name: str):
            def kept(sock: socket.socket, path: str) -> None:
                order.append(name)
                whole()(sock, path)

            return kept

        site.answers["/a"], other.answers["/a"] = noted("long"), noted("short")
        with Fetcher(settings(in_flight=1)) as fetcher:
            add(fetcher, jobs(site, "/a", 30, tmp_path))
            add(fetcher, jobs(other, "/a", 5, tmp_path, start=100))
            all_of(fetcher)
    assert order[:10] == ["long", "short"] * 5


def test_each_hop_asks_the_limits_of_its_own_host_and_holds_no_other(site, tmp_path):
    with serving(Site()) as other:
        site.answers["/a"] = redirect(other.url("/b"))
        other.answers["/b"] = redirect("/c")
        other.answers["/c"] = whole(b"", status="404 No")
        one, two = f"127.0.0.1:{site.port}", f"127.0.0.1:{other.port}"
        limiter = Limiter()
        with Fetcher(settings(), limiter) as fetcher:
            fetcher.add(FetchJob(1, site.url("/a"), tmp_path / "x"))
            (outcome,) = all_of(fetcher)
    assert [host for _, host in limiter.asked] == [one, two, two]
    assert limiter.ended == [(one, None), (two, None), (two, "http_404")]
    assert outcome.host == two
    assert not +limiter.inside


def test_a_wait_is_kept_without_asking_meanwhile(site, tmp_path):
    site.answers["/a"] = whole()
    limiter = Limiter(any=[Admission(go=False, wait=0.4)])
    with Fetcher(settings(), limiter) as fetcher:
        add(fetcher, jobs(site, "/a", 3, tmp_path))
        before = time.process_time()
        outcomes = all_of(fetcher)
        assert time.process_time() - before < 0.2
    assert len(good(outcomes)) == 3
    times = [when - limiter.asked[0][0] for when, _ in limiter.asked]
    assert len(times) >= 4
    assert times[1] == pytest.approx(0.4, abs=0.1)


def test_a_redirect_waits_at_its_host_without_its_deadline_running(site, tmp_path):
    site.answers["/a"] = redirect("/b")
    site.answers["/b"] = whole()
    limiter = Limiter(any=[GO, Admission(go=False, wait=0.6)])
    with Fetcher(settings(image_deadline=0.5), limiter) as fetcher:
        add(fetcher, jobs(site, "/a", 1, tmp_path))
        assert len(good(all_of(fetcher))) == 1


def test_a_host_given_up_hands_out_all_its_jobs(site, tmp_path):
    limiter = Limiter(any=[Admission(go=False, wait=90, give_up=True)])
    with Fetcher(settings(), limiter) as fetcher:
        add(fetcher, jobs(site, "/a", 50, tmp_path))
        outcomes = all_of(fetcher)
        assert [outcome.result for outcome in outcomes] == [Unattempted(90)] * 50
        assert site.requests == []
        limiter.answers["any"] = [Admission(go=False, wait=90, give_up=True)]
        with pytest.raises(ImageFault) as caught:
            fetcher.fetch(site.url("/a"), tmp_path / "x")
        assert caught.value.retry_after == 90


def test_the_local_limits_count_by_host():
    limiter = LocalLimiter(settings(per_host=2, hosts={"slow": {"per_host": 1}}))
    assert [limiter.admit(host).go for host in ("a", "a", "a", "b", "slow", "slow:81")] == [
        True, True, False, True, True, True,
    ]  # fmt: skip
    limiter.left("a", None)
    assert limiter.admit("a").go
    assert not limiter.admit("slow").go


def test_what_the_host_limits_raise_is_raised(site, tmp_path):
    class Broken(Limiter):
        def admit(self, host: str) -> Admission:
            raise ConnectionError("no database")

    with Fetcher(settings(), Broken()) as fetcher:
        add(fetcher, jobs(site, "/a", 3, tmp_path))
        with pytest.raises(ConnectionError):
            fetcher.poll(1)
        assert len(fetcher.drain()) == 3


def test_a_failure_that_came_with_the_last_outcome_is_raised_by_the_next_poll(site, tmp_path):
    class Broken(Limiter):
        def left(self, host: str, fault: object) -> None:
            raise ConnectionError("no database")

    site.answers["/a"] = whole()
    with Fetcher(settings(), Broken()) as fetcher:
        add(fetcher, jobs(site, "/a", 1, tmp_path))
        assert good(fetcher.poll(2)) == {0}
        assert fetcher.busy  # or a caller who polls while it is busy would never be told
        with pytest.raises(ConnectionError):
            fetcher.poll(0)


def test_only_one_request_goes_to_a_host_until_its_name_has_resolved(site, tmp_path):
    url = f"http://no-such-host.invalid:{site.port}/a"
    limiter = Limiter()
    with Fetcher(settings(), limiter) as fetcher:
        for number in range(5):
            fetcher.add(FetchJob(number, url, tmp_path / str(number)))
        fetcher.poll(0)
        assert len(fetcher._flights) == 1
        assert {outcome.result.reason.code for outcome in all_of(fetcher)} == {"dns"}
    assert len(limiter.asked) == 5


def test_a_job_may_be_delayed(site, tmp_path):
    site.answers["/a"] = whole()
    with Fetcher(settings()) as fetcher:
        later, now = jobs(site, "/a", 2, tmp_path)
        fetcher.add(later, after=0.4)
        fetcher.add(now)
        assert good(fetcher.poll(2)) == {1}
        assert fetcher.busy
        began = time.monotonic()
        assert good(fetcher.poll(2)) == {0}
        assert 0.2 < time.monotonic() - began < 0.8
        assert not fetcher.busy


def test_what_is_not_in_flight_can_be_taken_back(site, tmp_path):
    site.answers["/a"] = redirect("/b")
    site.answers["/b"] = whole()
    limiter = Limiter(any=[GO, Admission(go=False, wait=0.3)])
    with Fetcher(settings(per_host=1), limiter) as fetcher:
        first, *rest = jobs(site, "/a", 5, tmp_path)
        fetcher.add(first)
        fetcher.poll(0.2)  # now between its two hops
        add(fetcher, rest[:-1])
        fetcher.add(rest[-1], after=60)
        assert {job.key for job in fetcher.drain()} == {0, 1, 2, 3, 4}  # however long a host would let it wait
        assert not fetcher.busy
        assert all_of(fetcher) == []
        add(fetcher, [first, *rest])  # and given again
        assert good(all_of(fetcher)) == {0, 1, 2, 3, 4}


def test_fetching_one_keeps_what_else_ends_for_the_next_poll(site, tmp_path):
    site.answers["/a"] = whole()
    site.answers["/slow"] = raw(0.3, b"HTTP/1.1 200 OK\r\n\r\n" + BODY)
    with Fetcher(settings()) as fetcher:
        add(fetcher, jobs(site, "/a", 10, tmp_path))
        assert fetcher.fetch(site.url("/slow"), tmp_path / "mine").size == len(BODY)
        assert len(good(fetcher.poll(0))) == 10


def test_with_nothing_to_do_a_poll_returns_at_once():
    began = time.monotonic()
    with Fetcher(settings()) as fetcher:
        assert fetcher.poll(5) == []
    assert time.monotonic() - began < 1


def descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("stopped", [True, False])
def test_what_is_abandoned_leaves_no_file_place_or_descriptor(site, tmp_path, stopped):
    site.answers["/a"] = drip(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000)
    site.answers["/quick"] = whole()
    before = descriptors()
    stop, limiter = threading.Event(), Limiter()
    with Fetcher(settings(max_bytes=1_000_000), limiter, stop) as fetcher:
        add(fetcher, [*jobs(site, "/a", 20, tmp_path), *jobs(site, "/quick", 20, tmp_path, 100)])
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            fetcher.poll(0.1)
        assert len([name for name in files_in(tmp_path) if name.endswith(".tmp")]) == 20
        if stopped:
            stop.set()
            with pytest.raises(Stopped):
                fetcher.poll(1)
    fetcher.close()
    assert not any(name.endswith(".tmp") for name in files_in(tmp_path))
    assert not +limiter.inside
    assert Counter(how for _, how in limiter.ended) == {"abandoned": 20, None: 20}
    site.server_close()
    until = time.monotonic() + 5
    while descriptors() > before and time.monotonic() < until:  # the server's own ends close a little later
        time.sleep(0.1)
    assert descriptors() <= before


def test_an_interrupt_inside_a_callback_is_raised_from_poll(site, tmp_path, monkeypatch, capfd):
    site.answers["/a"] = whole()
    monkeypatch.setattr(
        "imagesys_lib.fetch.http.transfer.parsed", lambda lines: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with Fetcher(settings()) as fetcher:
        add(fetcher, jobs(site, "/a", 2, tmp_path))
        with pytest.raises(KeyboardInterrupt):
            all_of(fetcher)
        assert len(fetcher._flights) == 0
    assert capfd.readouterr().err == ""


def task(number: int, host: str) -> Task:
    return Task(FetchJob(number, "", Path()), Wire("", host))


@pytest.mark.parametrize("hosts", [1, 5000])
def test_five_thousand_jobs_wait_at_no_cost(hosts):
    waiting = Waiting()
    began = time.process_time()
    for number in range(5000):
        waiting.add(task(number, f"h{number % hosts}"))
    now = 0.0
    for _ in range(5000):  # each host is asked, sleeps, and is woken before its time
        host = waiting.turn(now)
        waiting.sleep(host, now + 1)
        assert waiting.next_at() <= now + 1
        waiting.wake(host)
    taken = [waiting.take(waiting.turn(now)).job.key for _ in range(5000)]
    assert taken == list(range(5000))
    assert not waiting
    assert time.process_time() - began < 0.5
