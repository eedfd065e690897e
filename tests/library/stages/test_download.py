"""Download: hosts that ask for patience or fail, and an environment of our own that fails."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import sqlalchemy as sa

from imagesys_lib.config.hostnames import host_of
from imagesys_lib.db.schema import lis_hosts
from imagesys_lib.errors import EXIT_ENVIRONMENT, BatchFailed, DiskFull
from imagesys_lib.fetch.http.jobs import Fetched
from imagesys_lib.fetch.politeness import host_records
from imagesys_lib.images.hash_and_path import lis_hash_for_url
from imagesys_lib.runs import runs
from imagesys_lib.stages.download.download import Downloaded, download
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.report import report
from imagesys_lib.stages.thumbnail import thumbnail
from imagesys_lib.staging.worker_disk import WorkerDisk
from tests.library.fetch.test_hosts import paused
from tests.support.images import encoded, quarters
from tests.support.photo_host import photo_host
from tests.support.raw_host import RawHost, serving_all
from tests.support.site import raw, whole
from tests.support.world import World, wait_for


class Busy(ThreadingHTTPServer):
    """A host that answers 429 or 503 with Retry-After for as long as ``status`` says, then with a photo."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.retry_after, self.asked = 429, "30", 0
        self.photo = encoded(quarters(200, 150), "JPEG")

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{number}.jpg"


class _Handler(BaseHTTPRequestHandler):
    server: Busy

    def do_GET(self) -> None:
        self.server.asked += 1
        body = self.server.photo if self.server.status == 200 else b""
        self.send_response(self.server.status)
        if self.server.status != 200:
            self.send_header("Retry-After", self.server.retry_after)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def busy() -> Iterator[Busy]:
    server = Busy()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def planned(world: World, *urls: str) -> int:
    world.put("a", *urls)
    run = world.run()
    runs.begin(world.ctx.db, run)
    ingest(world.ctx, run)
    return plan(world.ctx, run)[0].batch_id


@pytest.mark.parametrize(("status", "text", "seconds"), [(429, "30", 30), (503, "120", 120), (503, "99999999", 86400)])
def test_a_host_that_names_a_time_is_left_alone_until_then(
    world: World, busy: Busy, status: int, text: str, seconds: int
) -> None:
    busy.status, busy.retry_after = status, text
    world.reconfigure(fetch={"per_host": 1})
    batch = planned(world, *map(busy.url, range(10)))
    done = download(world.ctx, batch)
    assert busy.asked == 1
    assert done == Downloaded(0, 0, {f"http_{status}": 1}, 9)
    host = f"127.0.0.1:{busy.server_address[1]}"
    left = paused(world, host, "elsewhere")
    assert list(left) == [host]
    assert seconds - 10 < left[host] <= seconds
    rows = world.images().values()
    assert Counter((row.state, row.reason, row.attempts) for row in rows) == {
        ("failed", f"http_{status}", 1): 1,
        ("new", None, 0): 9,
    }
    assert plan(world.ctx, world.run()) == []  # none is due before its time

    # A later batch asks nothing either, even where its images are due.
    world.sql("UPDATE lis_images SET next_attempt_at = '2026-01-01'")
    again = plan(world.ctx, world.run())[0].batch_id
    assert download(world.ctx, again).given_back == 10
    assert busy.asked == 1
    world.write_all(world.ctx.shared, [sa.update(lis_hosts).values(not_before=sa.func.utc_timestamp(6))])
    world.sql("UPDATE lis_images SET next_attempt_at = '2026-01-01'")
    busy.status = 200
    assert download(world.ctx, plan(world.ctx, world.run())[0].batch_id).fetched == 10


def test_a_host_with_letters_of_any_alphabet_stops_no_batch(world: World) -> None:
    batch = planned(world, "http://größe.invalid./1.jpg", "http://xn--gre-6ka8o.invalid./1.jpg", "http://☃🏠/1.jpg")
    done = download(world.ctx, batch)
    assert sum(done.failed.values()) + done.given_back <= 3
    assert "reserved" not in world.count()


def test_a_host_that_fails_wholly_is_left_alone_while_the_others_are_fetched(world: World) -> None:
    world.reconfigure(fetch={"breaker": {"failures": 10}, "tries": 1})
    entries = world.seed(20)
    world.put("dead", *(f"http://127.0.0.1:9/{n}.jpg" for n in range(40)))
    summary = world.pipeline()
    assert summary.lost == []
    assert world.live().keys() == entries.keys()
    rows = [row for row in world.images().values() if ":9/" in row.image_url]
    tried = Counter((row.state, row.reason, row.attempts) for row in rows)
    assert set(tried) == {("failed", "connect", 1), ("new", None, 0)}
    assert 10 <= tried["failed", "connect", 1] <= 16  # those under way when it opened
    assert plan(world.ctx, world.run()) == []  # none is due before the host may be asked again


def test_a_batch_that_reaches_nobody_pauses_and_fails_and_consumes_no_attempt(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.reconfigure(fetch={"network_patience": 2, "tries": 1})
    batch = planned(world, *(f"http://127.0.0.{host}:9/{n}.jpg" for host in (2, 3) for n in range(12)))
    with pytest.raises(BatchFailed, match=r"reaches no host at all .*check this worker's network") as caught:
        download(world.ctx, batch)
    assert caught.value.exit_code == 1
    assert "our own network is at fault: pausing" in caplog.text
    rows = world.images().values()
    assert {(row.state, row.attempts, row.batch_id) for row in rows} == {("reserved", 0, batch)}
    summary = report(world.ctx, runs.Run("test-1", runs.RunKind.SCHEDULED, world.run().interval))
    assert "Batch 0 is unfinished: 24 images left" in summary.lost[0]
    assert hosts_remembered(world) == set()  # nobody's breaker has opened


def hosts_remembered(world: World) -> set[str]:
    with world.ctx.shared.begin() as connection:
        return set(connection.scalars(sa.select(lis_hosts.c.host).where(lis_hosts.c.openings > 0)))


def test_silent_hosts_are_to_blame_where_one_that_answered_lately_can_be_reached(world: World) -> None:
    world.reconfigure(fetch={"network_patience": 600, "tries": 1})
    host_records.note_answers(world.ctx.shared, [f"127.0.0.11:{world.sandbox.website.port}"])
    batch = planned(world, *(f"http://127.0.0.{host}:9/{n}.jpg" for host in (2, 3) for n in range(6)))
    assert download(world.ctx, batch).failed == {"connect": 12}
    assert {row.attempts for row in world.images().values()} == {1}


def test_an_outage_that_ends_costs_nothing(world: World) -> None:
    world.reconfigure(fetch={"network_patience": 60, "tries": 1, "per_host": 12})
    with photo_host("127.0.0.2") as one, photo_host("127.0.0.3") as other:
        photo = encoded(quarters(200, 150), "JPEG")
        urls = [host.put(f"/{n}.jpg", photo) for host in (one, other) for n in range(12)]
        ports = [one.server_address[1], other.server_address[1]]
    # Both hosts are away now; they come back while the batch waits.
    batch = planned(world, *urls)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(download, world.ctx, batch)
        time.sleep(2)
        with photo_host("127.0.0.2", ports[0]) as one, photo_host("127.0.0.3", ports[1]) as other:
            for host in (one, other):
                for n in range(12):
                    host.put(f"/{n}.jpg", photo)
            assert future.result(60) == Downloaded(24, 0, {}, 0)
    assert {row.attempts for row in world.images().values()} == {0}


def test_an_outage_in_mid_body_consumes_no_attempt(world: World) -> None:
    world.reconfigure(fetch={"network_patience": 5, "tries": 1, "read_timeout": 1})
    server = RawHost("127.0.0.2")
    server.otherwise = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n" + bytes(200), 20.0)
    with serving_all(server):
        dead = [f"http://127.0.0.{host}:9/{n}.jpg" for host in (3, 4) for n in range(12)]
        batch = planned(world, *(server.url(f"/{n}.jpg") for n in range(4)), *dead)
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(download, world.ctx, batch)
            wait_for(lambda: len(server.asked) == 4, "requests under way", 10)
            server.socket.close()  # nobody can be connected to any more
            with pytest.raises(BatchFailed, match="reaches no host at all"):
                future.result(60)
    assert {(row.state, row.attempts) for row in world.images().values()} == {("reserved", 0)}
    assert hosts_remembered(world) == set()


def test_an_answer_that_stops_halfway_is_its_hosts_fault_where_others_go_on(world: World) -> None:
    world.reconfigure(fetch={"tries": 1, "read_timeout": 1, "min_speed": 0, "breaker": {"failures": 4}})
    entries = world.seed(20)
    server = RawHost("127.0.0.2")
    server.otherwise = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n" + bytes(200), 20.0)
    with serving_all(server):
        world.put("bad", *(server.url(f"/{n}.jpg") for n in range(6)))
        summary = world.pipeline()
    assert summary.reasons == {"failed": {"timeout": 6}}
    assert world.live().keys() == entries.keys()
    assert hosts_remembered(world) == {server.host}


def test_a_few_hosts_that_refuse_are_the_images_own_fault(world: World) -> None:
    entries = world.seed(20)
    world.put("bad", *(f"http://127.0.0.1:9/{n}.jpg" for n in range(5)))
    summary = world.pipeline()
    assert summary.lost == []
    assert summary.reasons == {"failed": {"connect": 5}}
    assert world.live().keys() == entries.keys()
    failed = [row for row in world.images().values() if row.state == "failed"]
    assert {row.attempts for row in failed} == {1}
    assert all(row.next_attempt_at > row.updated_at for row in failed)


def test_the_last_of_many_attempts_rejects_an_image(world: World) -> None:
    world.reconfigure(retry={"max_attempts": 2})
    batch = planned(world, "http://127.0.0.1:9/1.jpg")
    download(world.ctx, batch)
    assert set(world.states().values()) == {"failed:connect"}
    world.sql("UPDATE lis_images SET next_attempt_at = '2026-01-01'")
    download(world.ctx, plan(world.ctx, world.run())[0].batch_id)
    assert set(world.states().values()) == {"rejected:connect"}
    world.sql("UPDATE lis_images SET next_attempt_at = '2026-01-01'")
    assert plan(world.ctx, world.run()) == []


def test_a_full_staging_disk_stops_the_download_before_it_begins_and_loses_nothing(world: World) -> None:
    entries = world.seed(10)
    run = world.run()
    ingest(world.ctx, run)
    batch = plan(world.ctx, run)[0].batch_id
    ctx = world.reconfigure(staging={"min_free_mb": 10**9})
    with pytest.raises(DiskFull, match=r"below its floor.*Remedy: free space") as caught:
        download(ctx, batch)
    assert caught.value.exit_code == EXIT_ENVIRONMENT
    assert world.requests() == {}
    ran = world.cli("download", "uk")
    assert ran.code == 3
    assert "Remedy: free space or bring the lagging node back" in ran.err
    assert world.count() == {"reserved": 10}
    world.reconfigure()
    assert download(world.ctx, batch).fetched == 10
    # What is downloaded is made into thumbnails all the same: that frees the disk.
    ctx = world.reconfigure(staging={"min_free_mb": 10**9})
    assert thumbnail(ctx, batch).made == len(entries)
    assert world.staged("originals") == []


def test_a_batch_past_its_deadline_gives_back_what_it_has_not_asked_for(world: World) -> None:
    world.reconfigure(batch={"deadline_minutes": 1e-9})
    world.seed(5)
    run = world.run()
    ingest(world.ctx, run)
    assert download(world.ctx, plan(world.ctx, run)[0].batch_id) == Downloaded(0, 0, {}, 5)
    assert world.count() == {"new": 5}
    assert {row.attempts for row in world.images().values()} == {0}
    assert world.requests() == {}


def test_a_batch_past_its_deadline_has_done_its_fast_host_and_gives_back_the_rest_of_the_slow_one(world: World) -> None:
    world.reconfigure(batch={"deadline_minutes": 4 / 60}, fetch={"in_flight": 4, "per_host": 2})
    photo = encoded(quarters(200, 150), "JPEG")
    with photo_host("127.0.0.2") as slow, photo_host("127.0.0.3") as fast:
        slow_urls = [slow.put(f"/{n}.jpg", photo, delay=1) for n in range(20)]
        fast_urls = [fast.put(f"/{n}.jpg", photo) for n in range(20)]
        done = download(world.ctx, planned(world, *slow_urls, *fast_urls))  # the slow host's are first in line
        images = world.images()
        assert {images[url].state for url in fast_urls} == {"downloaded"}
        left = [row for url in slow_urls if (row := images[url]).state != "downloaded"]
        assert {(row.state, row.attempts, row.reason) for row in left} == {("new", 0, None)}
        asked = 20 - len(left)
        assert 2 <= asked <= 10
        assert done == Downloaded(20 + asked, 0, {}, len(left))
        assert len(slow.asked) == asked  # none was begun in vain
        (again,) = plan(world.ctx, world.run())  # the next run takes them
        assert again.size == len(left)


# One row's fault


@contextmanager
def photos() -> Iterator[RawHost]:
    host = RawHost("127.0.0.13")
    host.otherwise = whole(encoded(quarters(200, 150), "JPEG"))
    with serving_all(host):
        yield host


def test_a_result_that_the_database_refuses_costs_its_own_image_alone(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with photos() as host:
        urls = [host.url(f"/{number}.jpg") for number in range(5)]
        batch = planned(world, *urls)
        spoiled = lis_hash_for_url(urls[2])
        original = world.ctx.staging.original(spoiled)
        original.parent.mkdir(parents=True)
        original.write_bytes(b"x")
        world.ctx.staging.note_original(spoiled, Fetched("5" * 60, 1, "", urls[2], "", ""))  # no SHA-1 is so long
        done = download(world.ctx, batch)
    assert (done.failed, done.given_back) == ({"protocol": 1}, 0)
    assert world.states()[urls[2]] == "failed:protocol"
    assert world.count() == {"downloaded": 4, "failed": 1}
    assert host_of(urls[2]) in caplog.text
    assert not original.exists()


def test_an_exception_over_one_outcome_costs_its_own_image_alone(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = WorkerDisk.note_original

    def fussy(staging: WorkerDisk, image_hash: str, fetched: Fetched) -> None:
        if fetched.final_url.endswith("/2.jpg"):
            raise KeyError("an odd answer")
        note(staging, image_hash, fetched)

    monkeypatch.setattr(WorkerDisk, "note_original", fussy)
    with photos() as host:
        urls = [host.url(f"/{number}.jpg") for number in range(5)]
        done = download(world.ctx, planned(world, *urls))
    assert (done.fetched, done.failed) == (4, {"protocol": 1})
    assert "one of its images ends in an exception" in caplog.text


def test_a_host_in_words_that_are_no_text_ends_in_the_database(world: World) -> None:
    host = RawHost("127.0.0.13")
    host.otherwise = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: caf\xe9s\r\n\r\n")
    with serving_all(host):
        done = download(world.ctx, planned(world, host.url("/1.jpg"), "http://127.0.0.11:9/2.jpg"))
    assert done.failed["protocol"] == 1
    assert "caf\\udce9s" in world.images()[host.url("/1.jpg")].detail
