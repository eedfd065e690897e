"""Faults of the environment: a resolver that is down (29) or lies (21), a worker's clock that is wrong (36)."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_batches
from imagesys_lib.errors import LeaseHeld
from imagesys_lib.fetch.addresses import is_refused
from imagesys_lib.fetch.politeness.outage import Network
from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.runs.leases import acquire
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from tests.library.fetch.test_hosts import paused
from tests.support.fault_site import ADDRESSES, PHOTO
from tests.support.raw_host import RawHost, after, serving_all
from tests.support.site import redirect, reset, whole
from tests.support.world import CONSOLE_SCRIPT, DAY, World, wait_for

NAMES = tuple(f"photos-{number}.example.test" for number in range(12))
HOUR = 3600
RUN = ("run", "uk", "--interval", DAY.isoformat(), "--verbose")


@pytest.fixture
def host(world: World) -> Iterator[RawHost]:
    server = RawHost(ADDRESSES[0])
    server.otherwise = whole(PHOTO)
    with serving_all(server):
        yield server


def spawn(world: World, command: list[str], *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start the console script behind another command, with its output on one pipe; it ends with the test."""
    child = subprocess.Popen(
        [*command, str(CONSOLE_SCRIPT), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**world.child_environment(), **environment},
        start_new_session=True,
    )
    world._children.append(child)
    return child


class Resolver:
    """A resolver of a child's own: /etc/hosts and /etc/resolv.conf as files of the test, in a mount namespace."""

    def __init__(self, folder: Path) -> None:
        self._hosts, self._servers, self._order = folder / "hosts", folder / "resolv.conf", folder / "nsswitch.conf"
        self._order.write_text("hosts: files dns\n")
        self._servers.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")  # nobody listens there
        self.take_down()
        places = {"hosts": self._hosts, "resolv.conf": self._servers, "nsswitch.conf": self._order}
        script = " && ".join(f"mount --bind {file} /etc/{name}" for name, file in places.items())
        self.command = ["unshare", "--map-root-user", "--mount", "sh", "-c", f'{script} && exec "$@"', "sh"]
        if subprocess.run([*self.command, "true"], capture_output=True, check=False).returncode:
            pytest.skip("this machine lets nobody make a mount namespace")

    def take_down(self) -> None:
        self._hosts.write_text("127.0.0.1 localhost\n")

    def ask_nobody(self) -> None:
        """Let the files alone decide: what they lack does not exist."""
        self._order.write_text("hosts: files\n")

    def bring_up(self, *more: str) -> None:
        """Know all names, and what further lines of a hosts file say."""
        lines = [f"{ADDRESSES[0]} {name}" for name in NAMES] + list(more)
        self._hosts.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))


@pytest.fixture
def resolver(world: World, tmp_path: Path) -> Resolver:
    return Resolver(tmp_path)


def put_names(world: World, host: RawHost, listing: str) -> list[str]:
    urls = [f"http://{name}:{host.port}/{listing}/{number}.jpg" for name in NAMES for number in range(3)]
    world.put(listing, *urls)
    return urls


def test_a_run_without_a_resolver_fails_its_batch_and_consumes_no_attempt(
    world: World, host: RawHost, resolver: Resolver
) -> None:
    resolver.bring_up()
    known = put_names(world, host, "known")
    child = spawn(world, resolver.command, *RUN)
    assert child.communicate(timeout=60)[0]
    assert world.count() == {"live": len(known)}
    # From now on it is known which hosts answered lately, and none of them can be found any more.
    resolver.take_down()
    world.configure(fetch={"network_patience": 3})
    fresh = put_names(world, host, "fresh")
    began = time.monotonic()
    child = spawn(world, resolver.command, *RUN)
    said = child.communicate(timeout=90)[0]
    assert 3 < time.monotonic() - began < 45
    assert child.returncode == 1, said
    assert "no host can be reached, our own network is at fault: pausing" in said
    assert "reaches no host at all" in said
    assert "no attempt was consumed" in said
    rows = world.images()
    assert {(rows[url].state, rows[url].attempts, rows[url].reason) for url in fresh} == {("reserved", 0, None)}
    assert not any("/fresh/" in asked.path for asked in host.asked)
    assert paused(world, *(f"{name}:{host.port}" for name in NAMES)) == {}  # no breaker opened

    resolver.bring_up()
    said = spawn(world, resolver.command, *RUN).communicate(timeout=60)[0]
    assert world.count() == {"live": len(known) + len(fresh)}, said


@pytest.mark.long
def test_a_resolver_that_is_down_is_seen_although_a_host_without_a_name_goes_on_answering(
    world: World, host: RawHost, resolver: Resolver
) -> None:
    world.configure(fetch={"network_patience": 3})
    urls = put_names(world, host, "named")
    world.put("bare", *(host.url(f"/bare/{number}.jpg") for number in range(30)))
    child = spawn(world, resolver.command, *RUN)
    said = child.communicate(timeout=90)[0]
    assert child.returncode == 1, said
    assert "our own network is at fault: pausing" in said
    rows = world.images()
    assert {(rows[url].state, rows[url].attempts, rows[url].reason) for url in urls} == {("reserved", 0, None)}
    resolver.bring_up()
    said = spawn(world, resolver.command, *RUN).communicate(timeout=60)[0]
    assert world.count() == {"live": len(urls) + 30}, said


@pytest.mark.long
def test_names_whose_own_servers_are_down_are_their_own_fault_where_others_resolve(
    world: World, host: RawHost, resolver: Resolver
) -> None:
    world.configure(fetch={"network_patience": 3})
    resolver.bring_up()  # of other names nothing is ever heard
    good = put_names(world, host, "good")
    dead = [f"http://dead-{number}.example.test:{host.port}/a.jpg" for number in range(4)]
    world.put("dead", *dead)
    child = spawn(world, resolver.command, *RUN)
    said = child.communicate(timeout=90)[0]
    assert child.returncode == 0, said
    assert "our own network is at fault" not in said
    assert set(world.live()) == set(good)
    assert {world.states()[url] for url in dead} == {"failed:dns"}


@pytest.mark.long
def test_a_batch_of_one_host_alone_is_not_blamed_for_our_resolver_either(
    world: World, host: RawHost, resolver: Resolver
) -> None:
    resolver.bring_up()
    put_names(world, host, "known")
    assert spawn(world, resolver.command, *RUN).wait(60) == 0
    resolver.take_down()
    world.configure(fetch={"network_patience": 2})
    fresh = f"http://{NAMES[0]}:{host.port}/fresh.jpg"
    world.put("fresh", fresh)
    child = spawn(world, resolver.command, *RUN)
    said = child.communicate(timeout=90)[0]
    assert child.returncode == 1, said
    row = world.images()[fresh]
    assert (row.state, row.attempts, row.reason) == ("reserved", 0, None)


def test_an_address_that_was_refused_is_not_asked_whether_our_network_is_up(world: World, host: RawHost) -> None:
    inside = RawHost("127.0.0.1")
    silent = [RawHost(address) for address in ADDRESSES[1:3]]
    for server in silent:
        server.otherwise = reset()
    with serving_all(inside, *silent):
        world.reconfigure(
            fetch={"allowed_addresses": [f"{address}/32" for address in ADDRESSES], "tries": 1, "network_patience": 1}
        )
        world.put("inside", inside.url("/a.jpg"))
        for number in range(6):
            world.put(f"s{number}", *(server.url(f"/{number}.jpg") for server in silent))
        world.pipeline()
    assert world.states()[inside.url("/a.jpg")] == "rejected:blocked_address"
    assert inside.connections == 0
    answered = world.rows(sa.text("SELECT host FROM imagesys_shared.lis_hosts WHERE answered_at IS NOT NULL"))
    assert inside.host not in {row.host for row in answered}


def test_a_host_that_answered_lately_and_now_leads_inside_is_not_connected_to() -> None:
    inside = RawHost("127.0.0.1")
    with serving_all(inside):
        for refused, works in ((lambda _: False, True), (is_refused, False)):
            network = Network(lambda _names: [inside.host], refused)
            network.note("silent.invalid", ImageFault("connect"))
            assert network.works() is works
            wait_for(lambda: inside.connections == 1, "the one connection that was made", 5)


def test_names_that_do_not_exist_are_the_images_own_fault(world: World, host: RawHost, resolver: Resolver) -> None:
    resolver.ask_nobody()
    urls = put_names(world, host, "named")
    child = spawn(world, resolver.command, *RUN)
    said = child.communicate(timeout=90)[0]
    assert child.returncode == 0, said
    assert {world.states()[url] for url in urls} == {"failed:dns"}


@pytest.mark.long
def test_a_run_goes_on_by_itself_once_the_resolver_is_back(world: World, host: RawHost, resolver: Resolver) -> None:
    world.configure(fetch={"network_patience": 120})
    urls = put_names(world, host, "a")
    child = spawn(world, resolver.command, *RUN)
    said = []
    for line in child.stdout or ():
        said.append(line)
        if "pausing" in line:
            break
    assert {row.attempts for row in world.images().values()} == {0}
    resolver.bring_up()
    said += child.communicate(timeout=90)[0].splitlines(keepends=True)
    assert child.returncode == 0, "".join(said)
    assert set(world.live()) == set(urls)
    assert {row.attempts for row in world.images().values()} == {0}
    assert len(host.asked) == len(urls)
    world.equal_trees()


def test_a_name_that_leads_inside_is_refused_without_a_packet(world: World, host: RawHost, resolver: Resolver) -> None:
    inside = {"v4": "127.0.0.1", "v6": "::1", "mapped": "::ffff:127.0.0.1", "6to4": "2002:7f00:1::", "any": "0.0.0.0"}  # noqa: S104
    names = {f"{name}.example.test": address for name, address in inside.items()}
    mixed = f"mixed.example.test:{host.port}"
    lines = [f"{address} {name}" for name, address in names.items()]
    resolver.bring_up(*lines, "127.0.0.1 mixed.example.test", f"{ADDRESSES[0]} mixed.example.test")
    world.configure(fetch={"allowed_addresses": [f"{ADDRESSES[0]}/32"]})
    doors = [RawHost("127.0.0.1", port=host.port), RawHost("::1", port=host.port)]
    refused = [f"http://{name}:{host.port}/a.jpg" for name in names]
    refused += [host.put(f"/to/{name}", redirect(f"http://{name}:{host.port}/a.jpg")) for name in names]
    with serving_all(*doors):
        world.put("a", *refused, f"http://{mixed}/a.jpg", host.url("/good.jpg"))
        child = spawn(world, resolver.command, *RUN)
        said = child.communicate(timeout=60)[0]
        assert child.returncode == 0, said
    states = world.states()
    assert {url: states[url] for url in refused} == dict.fromkeys(refused, "rejected:blocked_address")
    assert set(world.live()) == {f"http://{mixed}/a.jpg", host.url("/good.jpg")}  # by its one address outside
    assert [door.connections for door in doors] == [0, 0]


@pytest.mark.parametrize(
    "days", [pytest.param(-1, id="a day behind"), pytest.param(40, id="forty days ahead", marks=pytest.mark.long)]
)
def test_a_worker_whose_clock_is_wrong_does_all_by_the_clock_of_the_database(
    world: World, host: RawHost, shim: Path, days: int
) -> None:
    clock = {"LD_PRELOAD": str(shim), "WRONG_CLOCK": str(days * 86400)}
    reported = subprocess.run(["date", "+%s"], env=clock, capture_output=True, text=True, check=True).stdout
    assert int(reported) - time.time() == pytest.approx(days * 86400, abs=5)
    world.configure(batch={"lease_seconds": 4}, retry={"first_hours": 8}, fetch={"per_host": 1, "read_timeout": 10})
    urls = [host.put(f"/{number}.jpg", after(0.4, whole(PHOTO))) for number in range(14)]
    broken = host.put("/broken.jpg", whole(b"", status="403 No"))
    moment = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + HOUR))
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    other = RawHost(ADDRESSES[1])
    other.otherwise = whole(b"", f"Date: {date}", f"Retry-After: {moment}", status="503 Later")
    with serving_all(other):
        world.put("a", *urls, broken)
        world.put("b", other.url("/busy.jpg"))
        run = world.run()
        ingest(world.ctx, run)
        (batch,) = plan(world.ctx, run)
        child = spawn(world, [], "download", "uk", "--batch", str(batch.batch_id), **clock)
        query = sa.select(sa.func.timestampdiff(sa.text("SECOND"), sa.func.utc_timestamp(6), lis_batches.c.lease_until))
        wait_for(lambda: len(host.asked) > 8, "a download longer than a lease is under way")
        assert -1 <= world.scalar(query) <= 4
        with pytest.raises(LeaseHeld):
            acquire(world.ctx.db, batch.batch_id, "somebody else", 4)
        said = child.communicate(timeout=60)[0]
        assert child.returncode == 0, said
    assert world.count() == {"downloaded": 14, "failed": 2}
    left = sa.text(
        "SELECT reason, TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(6), next_attempt_at) FROM lis_images WHERE reason > ''"
    )
    seconds = {row[0]: row[1] for row in world.rows(left)}
    assert 0.74 * 8 * HOUR < seconds["http_403"] < 1.26 * 8 * HOUR
    assert paused(world, other.host)[other.host] == pytest.approx(HOUR, abs=60)

    for stage in ("thumbnail", "sync", "publish"):
        child = spawn(world, [], stage, "uk", **clock)
        said = child.communicate(timeout=60)[0]
        assert child.returncode == 0, said
    assert set(world.live()) == set(urls)
    tree = world.equal_trees()
    # What was dropped a moment ago is not purged, however late it is by this worker's clock.
    world.put("a", *urls[:7])
    ingest(world.ctx, world.run())
    purged = {}
    for days_kept in (30, 0):
        world.configure(purge={"retention_days": days_kept, "cap_percent": 100, "max_unlisted_percent": 100})
        said = spawn(world, [], "purge", "uk", "--json", **clock).communicate(timeout=60)[0]
        purged[days_kept] = json.loads(said)["unpublished"]
        if days_kept:
            assert set(world.live()) == set(urls)
            assert world.equal_trees() == tree
    assert purged == {30: 0, 0: 8}  # seven, and the one that never came
