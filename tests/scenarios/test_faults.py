"""Every fault of the web and of pictures, through the whole pipeline: one recorded reason each, nothing else harmed.

The numbers are those of facts-peers.md; fault_site.py has the table.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_hosts, lis_metrics
from imagesys_lib.images.hash_and_path import lis_hash_for_url
from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.plan import plan
from imagesys_lib.thumbnail.decoding import decode
from imagesys_lib.thumbnail.decoding.sniff import HEAD_BYTES, sniff
from imagesys_lib.thumbnail.messages import ThumbnailJob
from imagesys_lib.thumbnail.processes import worker
from tests.library.fetch.test_hosts import paused
from tests.support import bombs
from tests.support.fault_site import ADDRESSES, LIVE, MAX_BYTES, OWN_MIND, PHOTO, FaultSite, fault_site
from tests.support.images import encoded, quarters
from tests.support.poison import MAKING
from tests.support.raw_host import RawHost, in_turn, serving_all
from tests.support.site import raw, redirect, reset, whole
from tests.support.watch import Stages, Watch, assert_nothing_is_left
from tests.support.world import World

DEADLINE, READ_TIMEOUT, CONNECT_TIMEOUT, TRIES = 3.0, 1.5, 1.5, 2
FETCH = {
    "image_deadline": DEADLINE,
    "read_timeout": READ_TIMEOUT,
    "connect_timeout": CONNECT_TIMEOUT,
    "tries": TRIES,
    "pause_between_tries": 0.1,
    "max_bytes": MAX_BYTES,
    "breaker": {"failures": 100},
    "allowed_addresses": [f"{address}/32" for address in ADDRESSES],
}
PLACES = 6  # requests that may be under way at a host when its breaker opens: fetch.per_host
SETTINGS = {
    "batch": {"size": 1000, "lease_seconds": 5},
    "fetch": FETCH,
    "thumbnail": {"placeholder_listings": 0},  # one photo stands for all good ones here
    "datasources": {OWN_MIND: {"statuses": {403: "gone", 404: "unknown"}}},
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultSite]:
    with fault_site(tmp_path_factory.mktemp("faults")) as running:
        yield running


def put(world: World, *urls: str, datasource: int = 101) -> None:
    """One listing for each URL, whatever characters it has."""
    for url in urls:
        world.put(lis_hash_for_url(url), url, datasource=datasource)


def test_every_fault_has_its_one_reason_and_harms_nothing_beside_it(
    world: World, site: FaultSite, tmp_path: Path
) -> None:
    trusted = tmp_path / "bundle.pem"
    trusted.write_bytes(Path(certifi.where()).read_bytes() + site.authority.bundle.read_bytes())
    world.patch.setattr(certifi, "where", lambda: str(trusted))
    world.reconfigure(**SETTINGS)
    for fault in site.faults:
        put(world, fault.url, datasource=fault.datasource)
    watch, stages = Watch(), Stages()
    with watch.running():
        summary = world.pipeline(say=stages)

    states = world.states()
    wrong = {
        (fault.number, fault.url[:120], fault.outcome): (states.get(fault.url), world.images()[fault.url].detail)
        for fault in site.faults
        if states.get(fault.url) != fault.outcome
    }
    assert wrong == {}
    assert summary.lost == []
    assert set(states) == {fault.url for fault in site.faults}
    assert_nothing_is_left(world, {fault.url for fault in site.faults if fault.outcome == LIVE})
    assert set(world.live()) == {fault.url for fault in site.faults if fault.outcome == LIVE}

    # 16: nobody waits longer than the deadline and the tries that a silent host is given.
    longest = max(DEADLINE, TRIES * max(READ_TIMEOUT, CONNECT_TIMEOUT)) + TRIES * 0.2
    assert stages.seconds["batch 0 download"] < longest + 3, stages.seconds
    # 17, 18: what came was never held whole: three endless bodies and three bombs of 200 MB.
    assert watch.grown < 60_000_000
    # 20: the last of twenty redirects is kept.
    (kept,) = [row for row in world.images().values() if row.final_url and row.final_url.endswith("/end/20.jpg")]
    assert kept.final_url == site.hosts["target"].url("/end/20.jpg")
    # 21: nobody knocked inside.
    assert [door.connections for door in site.inside] == [0, 0]
    # 31: a request was made of no host whose certificate is bad.
    assert {name: len(host.asked) for name, host in site.hosts.items() if host.tls} == {
        "tls-good": 1,
        "tls-expired": 0,
        "tls-early": 0,
        "tls-self-signed": 0,
        "tls-wrong-host": 0,
    }
    # 40: no shell, no second header line.
    assert not site.pwned
    assert not any("\nx-injected" in asked.head.lower() for host in site.hosts.values() for asked in host.asked)
    # Good photos, and what is final at once, were asked for once.
    for name, host in site.hosts.items():
        if not host.tls:
            assert [host.count(f"/good/{name}/{number}.jpg") for number in range(2)] == [1, 1]
    assert site.hosts["picture"].count("/bomb/png.jpg") == 1
    assert site.hosts["short"].count("/short/body.jpg") == TRIES


def test_what_is_no_photo_is_refused_before_any_decoder_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "DECODERS", {})
    for name, (data, code) in bombs.aliens().items():
        with pytest.raises(ImageFault) as caught:
            sniff(data[:HEAD_BYTES])
        assert caught.value.reason.code == code, name
        (tmp_path / name).write_bytes(data)
        assert worker.make(ThumbnailJob(1, tmp_path / name, tmp_path, "none", MAKING)).code == code


def make_due(world: World) -> None:
    """Let the time come at which images may be tried again."""
    world.sql("UPDATE lis_images SET next_attempt_at = '2026-01-01' WHERE state IN ('new', 'failed')")


def end_pauses(world: World) -> None:
    """Let the time come at which hosts may be asked again."""
    world.write_all(world.ctx.shared, [sa.update(lis_hosts).values(not_before=sa.func.utc_timestamp(6))])


def download_due(world: World) -> None:
    for batch in plan(world.ctx, world.run()):
        download(world.ctx, batch.batch_id)


def at(seconds: float) -> str:
    """A time from now as HTTP writes it."""
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + seconds))


@pytest.mark.long  # it waits; tests/library/fetch/test_hosts.py has the pauses
def test_a_host_that_asks_for_a_pause_hears_nothing_until_it_is_over(world: World) -> None:
    """27, through the pipeline: a short pause is waited out, a long one is left to a later run, an absurd one cut."""
    later = "429 Too Many Requests"
    servers = {name: RawHost(ADDRESSES[n]) for n, name in enumerate(("short", "seconds", "date", "absurd", "beside"))}
    for name, text in {"short": "2", "seconds": "3600", "date": at(1800), "absurd": "9" * 30}.items():
        pause = whole(b"", f"Retry-After: {text}", status=later if name != "date" else "503 Busy")
        servers[name].otherwise = in_turn(pause, whole(PHOTO))
    servers["beside"].otherwise = whole(PHOTO)
    with serving_all(*servers.values()):
        for server in servers.values():
            put(world, *(server.url(f"/{number}.jpg") for number in range(12)))
        # One request at a time, so that the first answer is heard before the second request.
        world.reconfigure(**{**SETTINGS, "fetch": {**FETCH, "per_host": 1}})
        summary = world.pipeline()
        assert summary.lost == []
        states = {
            name: Counter(world.states()[server.url(f"/{n}.jpg")] for n in range(12))
            for name, server in servers.items()
        }
        assert states["beside"] == {LIVE: 12}
        assert states["short"] == {LIVE: 12}
        assert states["seconds"] == {"failed:http_429": 1, "new": 11}
        assert states["absurd"] == {"failed:http_429": 1, "new": 11}
        assert states["date"] == {"failed:http_503": 1, "new": 11}
        first, second = servers["short"].asked[:2]
        assert second.at - first.at >= 1.9
        assert [len(servers[name].asked) for name in ("seconds", "date", "absurd")] == [1, 1, 1]
        left = paused(world, *(server.host for server in servers.values()))
        assert left[servers["seconds"].host] == pytest.approx(3600, abs=30)
        assert left[servers["date"].host] == pytest.approx(1800, abs=30)
        assert left[servers["absurd"].host] == pytest.approx(24 * 3600, abs=30)
        assert {row.attempts for row in world.images().values() if row.state == "new"} == {0}
        # Nothing is due before its time, and what is due all the same is not asked for.
        assert plan(world.ctx, world.run()) == []
        make_due(world)
        download_due(world)
        assert [len(servers[name].asked) for name in ("seconds", "date", "absurd")] == [1, 1, 1]
        # When it is over all of them come.
        end_pauses(world)
        make_due(world)
        world.pipeline()
        assert world.count() == {LIVE: 60}
    assert_nothing_is_left(world, set(world.live()))


def test_redirects_that_all_end_at_one_photo_are_flagged(world: World) -> None:
    server = RawHost(ADDRESSES[0])
    with serving_all(server):
        world.reconfigure(**{**SETTINGS, "thumbnail": {"placeholder_listings": 5}})
        server.put("/none.jpg", whole(PHOTO))
        server.put("/new.jpg", whole(encoded(quarters(200, 150), "JPEG")))
        put(world, *(server.put(f"/gone/{number}.jpg", redirect("/none.jpg")) for number in range(6)))
        put(world, *(server.put(f"/moved/{number}.jpg", redirect("/new.jpg")) for number in range(5)))
        run = world.run()
        world.pipeline(run)
    metric = lis_metrics.c
    flagged = sa.select(metric.value).where(metric.run_id == run.run_id, metric.name == "fetch.same_target")
    assert world.scalar(flagged) == 6


@pytest.mark.long  # it waits for timeouts; tests/library/fetch/test_hosts.py has the breaker
def test_a_host_that_fails_wholly_is_left_alone_and_slows_no_other(world: World) -> None:
    """28: one host with every kind of failure and its breaker, three good ones."""
    world.reconfigure(**{**SETTINGS, "fetch": {**FETCH, "breaker": {"failures": 5, "first_seconds": 60}}})
    bad, *good = (RawHost(address) for address in ADDRESSES[:4])
    bad.otherwise = in_turn(whole(b"", status="500 Oops"), reset(), raw(20.0), whole(b"", status="502 Bad"))
    for server in good:
        server.otherwise = whole(PHOTO)
    with serving_all(bad, *good):
        for server in (bad, *good):
            put(world, *(server.url(f"/{number}.jpg") for number in range(60)))
        stages = Stages()
        began = time.monotonic()
        summary = world.pipeline(say=stages)
        last_good = max(one.at for server in good for one in server.asked)
        assert last_good - began < 5  # although the bad one holds its places for seconds
        assert summary.lost == []
        assert summary.states[LIVE] == 180
        ends = Counter(world.states()[bad.url(f"/{number}.jpg")] for number in range(60))
        assert set(ends) <= {"failed:http_500", "failed:http_502", "failed:connect", "failed:timeout", "new"}
        assert ends["new"] > 40  # unattempted
        assert len(bad.asked) <= 5 + PLACES
        untouched = [row.attempts for url, row in world.images().items() if row.state == "new"]
        assert set(untouched) == {0}
        # Half open, one request at a time is let through; when the host is well again, all of it comes.
        asked = len(bad.asked)
        make_due(world)
        end_pauses(world)
        download_due(world)
        assert len(bad.asked) == asked + 1
        bad.otherwise = whole(PHOTO)
        make_due(world)
        end_pauses(world)
        world.pipeline()
        assert world.count() == {LIVE: 240}
    assert_nothing_is_left(world, set(world.live()))
