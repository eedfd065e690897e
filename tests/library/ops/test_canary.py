"""The canary: one known photo through the whole path, read back from every node; what is wrong there is named."""

from __future__ import annotations

import contextlib
import http.server
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.config.hostnames import host_of
from imagesys_lib.db.schema import lis_metrics
from imagesys_lib.errors import EXIT_ENVIRONMENT, EXIT_WORK_LOST, CanaryFailed, CanaryWaits, Stopped
from imagesys_lib.fetch.politeness.host_records import pause
from imagesys_lib.nodes import NodeSession
from imagesys_lib.ops.canary import CanaryRun, Place, run_canary
from imagesys_lib.ops.canary.timed_steps import Limit, run_steps
from imagesys_lib.stages.check import check, scrub
from imagesys_lib.stages.repair.repair import Repaired, repair
from include.sandbox import ManifestEntry
from include.sandbox.environment import write_config
from tests.support.photo_host import photo_host
from tests.support.world import NODES, QUICK, World, in_threads, wait_for

Entries = dict[str, ManifestEntry]
NODE_STEPS = ["push", "sweep", "read"]


@contextlib.contextmanager
def served(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """A web server; its URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Answers(http.server.BaseHTTPRequestHandler):
    """Whatever it is asked for, the same answer."""

    def __init__(self, status: int, body: bytes, location: str, *args: Any) -> None:
        self.answer = (status, body, location)
        super().__init__(*args)

    def do_GET(self) -> None:
        status, body, location = self.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def configure(world: World, **canary: Any) -> None:
    """Change the canary of uk."""
    write_config(world.sandbox.settings, QUICK, {"uk": {"canary": canary}})
    world.ctx = world.context()


def canaries(world: World, node: str) -> list[Path]:
    return sorted(path for path in (world.root(node) / "canary").rglob("*") if path.is_file())


def images(world: World) -> dict[str, dict[str, str]]:
    """What lies on the nodes but for canaries."""
    return {
        node: {path: sha1 for path, sha1 in tree.items() if not path.startswith("canary/")}
        for node, tree in world.trees().items()
    }


def places(run: CanaryRun) -> dict[str, Place]:
    return {place.name: place for place in run.places}


def failed(run: CanaryRun) -> str:
    with pytest.raises(CanaryFailed) as caught:
        run.check()
    assert caught.value.exit_code == EXIT_WORK_LOST
    return str(caught.value)


def test_a_good_canary_reaches_every_node_and_disturbs_nothing(world: World, live: Entries) -> None:
    trees, rows = images(world), world.dump()
    with served(partial(Files, directory=world.root("n1"))) as url:
        world.reconfigure(node_urls={"n1": url})
        run = run_canary(world.ctx)
    run.check()
    assert [(place.name, list(place.seconds), place.fault) for place in run.places] == [
        ("worker", ["fetch", "thumbnail"], ""),
        ("n1", [*NODE_STEPS, "http"], ""),
        ("n2", NODE_STEPS, ""),
        ("n3", NODE_STEPS, ""),
    ]
    assert all(0 < seconds <= run.seconds for place in run.places for seconds in place.seconds.values())
    names = {tuple(str(path.relative_to(world.root(node))) for path in canaries(world, node)) for node in NODES}
    (name,) = names
    assert name == tuple(f"canary/uk/0/0/0/{run.stamp.zfill(37)}.{n}.jpg" for n in (1, 2))
    assert images(world) == trees
    assert world.requests() == {"/canary.jpg": 1}
    assert not list(world.staging.glob("canary-*"))
    kept = world.rows(sa.select(lis_metrics).where(lis_metrics.c.run_id == f"canary-{run.stamp}"))
    figures = {row.name: row.value for row in kept}
    assert figures["canary.ms"] == round(1000 * run.seconds)
    assert figures["canary.ms.n1.http"] == round(1000 * places(run)["n1"].seconds["http"])
    assert figures["canary.failed"] == 0
    assert {**world.dump(), "lis_metrics": []} == {**rows, "lis_metrics": []}


def test_each_run_has_a_name_of_its_own_and_only_the_newest_stays(world: World) -> None:
    first, second = run_canary(world.ctx), run_canary(world.ctx)
    second.check()
    assert first.stamp < second.stamp
    for node in NODES:
        assert [path.name for path in canaries(world, node)] == [f"{second.stamp.zfill(37)}.{n}.jpg" for n in (1, 2)]


def test_two_at_once_run_one_after_the_other(world: World) -> None:
    runs = in_threads(*[partial(run_canary, world.context()) for _ in range(2)])
    for run in runs:
        run.check()
    assert len({run.stamp for run in runs}) == 2


def test_a_node_whose_bytes_change_after_the_push_is_named(world: World) -> None:
    sums = NodeSession.sums

    def altered(self: NodeSession, *args: Any) -> Any:
        if self.node.name == "n2":
            file = canaries(world, "n2")[1]
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 4
            file.write_bytes(data)
        if self.node.name == "n3":
            canaries(world, "n3")[0].unlink()
        return sums(self, *args)

    world.patch.setattr(NodeSession, "sums", altered)
    reported = failed(run := run_canary(world.ctx))
    assert "read of n2: canary/uk/0/0/0/" in reported
    assert f"{run.stamp}.2.jpg has other bytes (SHA-1 " in reported
    assert "read of n3: " in reported
    assert f"{run.stamp}.1.jpg is not there" in reported
    assert "Remedy: run `imagesys fs-check uk --node n2 --scrub 1000`" in reported
    assert "n1" not in reported
    world.patch.setattr(NodeSession, "sums", sums)
    run_canary(world.ctx).check()


def test_a_node_that_is_away_is_named_and_keeps_no_other_from_being_seen(world: World) -> None:
    world.sandbox.nodes.stop_node("n2")
    reported = failed(run := run_canary(world.ctx))
    assert "push of n2: Node n2: unreachable" in reported
    assert "Remedy: start sshd on n2" in reported
    assert {name: bool(place.fault) for name, place in places(run).items()} == {
        **dict.fromkeys(("worker", "n1", "n3"), False),
        "n2": True,
    }
    assert list(places(run)["n3"].seconds) == NODE_STEPS


def test_a_site_that_is_too_slow_ends_the_run_at_its_limit(world: World) -> None:
    configure(world, seconds=1)
    world.sandbox.website.set_delay(2500)
    reported = failed(run := run_canary(world.ctx))
    assert "fetch of worker: not done within the whole path's 1 s" in reported
    assert "Remedy: ask for canary.url from the worker" in reported
    assert 1 <= run.seconds < 2.3
    assert canaries(world, "n1") == []


def test_a_photo_that_cannot_be_had_or_is_another_one_is_reported(world: World) -> None:
    url = world.ctx.config.canary.url if world.ctx.config.canary else ""
    configure(world, url=url.replace("canary", "none"))
    assert "fetch of worker: http_404" in failed(run_canary(world.ctx))
    configure(world, sha1="0" * 40)
    reported = failed(run_canary(world.ctx))
    assert "not the known photo" in reported
    assert "correct canary.sha1" in reported


def test_while_its_host_is_left_alone_nothing_is_tried_and_nothing_is_called_a_failure(world: World) -> None:
    url = world.ctx.config.canary.url if world.ctx.config.canary else ""
    pause(world.ctx.shared, host_of(url), 3600, "http_429")
    with pytest.raises(
        CanaryWaits, match=r"is left alone for now, for another 3[56][0-9]{2} s\. Remedy: none: it is tried again"
    ):
        run_canary(world.ctx)
    assert sum(world.requests().values()) == 0
    assert canaries(world, "n1") == []
    assert world.rows(sa.select(lis_metrics)) == []
    ran = world.cli("canary", "uk")
    assert (ran.code, "not tried" in ran.err) == (EXIT_ENVIRONMENT, True)


def test_a_host_that_answers_the_canary_itself_with_a_pause_has_failed_it(world: World) -> None:
    with photo_host() as host:
        configure(world, url=host.put("/busy.jpg", b"", status=503, headers={"Retry-After": "60"}))
        assert "fetch of worker: http_503" in failed(run_canary(world.ctx))
        with pytest.raises(CanaryWaits):
            run_canary(world.ctx)


def test_what_a_web_server_gives_instead_is_found(world: World, tmp_path: Path) -> None:
    run_canary(world.ctx).check()
    shutil.copytree(world.root("n1"), tmp_path / "stale")
    old = canaries(world, "n3")[0].read_bytes()
    with (
        served(partial(Files, directory=tmp_path / "stale")) as stale,
        served(partial(Answers, 200, old[:-1] + b"\0", "")) as wrong,
        served(partial(Files, directory=world.root("n1"))) as peer,
    ):
        to_peer = partial(Answers, 302, b"", f"{peer}/")
        with served(to_peer) as redirects:
            world.reconfigure(node_urls={"n1": stale, "n2": redirects, "n3": wrong})
            reported = failed(run := run_canary(world.ctx))
    assert "http of n1: http_404" in reported
    assert "http of n2: redirect_loop" in reported
    assert f"http of n3: canary/uk/0/0/0/{run.stamp.zfill(37)}.1.jpg has other bytes" in reported
    assert (
        "Remedy: look at the web server of n1, at what stands before it, and whether node_urls names its root."
        in reported
    )


def test_what_a_killed_canary_leaves_the_next_one_sweeps(world: World) -> None:
    run_canary(world.ctx).check()
    child = world.spawn("canary", "uk")
    wait_for(lambda: list(world.staging.glob("canary-uk/out/canary/uk/*/*/*/*.2.jpg")), "thumbnails of a canary")
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert list(world.staging.glob("canary-uk"))

    run = run_canary(world.ctx)
    run.check()
    assert not list(world.staging.glob("canary-uk"))
    for node in NODES:
        assert [path.name for path in canaries(world, node)] == [f"{run.stamp.zfill(37)}.{n}.jpg" for n in (1, 2)]


def test_a_canary_that_is_asked_to_stop_stops(world: World) -> None:
    world.sandbox.website.set_delay(2500)
    threading.Timer(0.5, world.ctx.stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        run_canary(world.ctx)
    assert time.monotonic() - began < 2
    assert not list(world.staging.glob("canary-uk"))


def test_no_check_scrub_repair_or_purge_takes_it_for_a_file_too_many(world: World, live: Entries) -> None:
    trees = images(world)
    run_canary(world.ctx).check()
    there = {node: canaries(world, node) for node in NODES}
    world.reconfigure(check={"extra_grace_hours": 0})
    for node in NODES:
        assert check(world.ctx, node).clean
        assert scrub(world.ctx, node).clean
    shutil.rmtree(world.root("n1") / "uk")  # a lost disk, refilled
    assert check(world.ctx, "n1").findings == {"acked_absent": 80}
    assert repair(world.ctx, "n1", delete_extra=True) == Repaired(restored=40)
    summary = world.pipeline()
    assert summary.lost == []
    assert all(not node.findings for node in summary.nodes.values())
    assert images(world) == trees
    assert {node: canaries(world, node) for node in NODES} == there


def test_a_path_that_took_too_long_in_all_is_reported_with_its_longest_step() -> None:
    run = CanaryRun("uk", "1", 10, 10.4, (Place("worker", {"fetch": 1.0}), Place("n2", {"push": 8.5, "read": 0.5})))
    with pytest.raises(CanaryFailed, match=r"it took 10\.4 s of at most 10, 8\.5 of them push of n2"):
        run.check()


def test_an_error_that_is_no_step_of_the_path_passes_through() -> None:
    def work(step: Any) -> None:
        with step("fetch"):
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        run_steps("uk", "worker", Limit(threading.Event(), 5), work)


def test_the_command_shows_each_place_and_step(world: World) -> None:
    ran = world.cli("canary", "uk")
    assert ran.code == 0
    assert all(word in ran.out for word in ("worker", "fetch", "thumbnail", "n1", "n2", "n3", "push", "read", "ok"))
    world.sandbox.nodes.stop_node("n3")
    ran = world.cli("canary", "uk", "--json")
    assert ran.code == EXIT_WORK_LOST
    assert [place["name"] for place in ran.json["places"] if place["fault"]] == ["n3"]
    assert "push of n3: Node n3: unreachable" in ran.err
    ran = world.cli("canary", "de")
    assert ran.code == 2
    assert "Country de has no canary. Remedy: configure one: docs/canary.md." in ran.err
