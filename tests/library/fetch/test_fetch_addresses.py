"""Fetching: which addresses may be connected to, and that nothing reaches the others."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from imagesys_lib.fetch.addresses import is_refused
from tests.support.site import BODY, Site, fault, get, redirect, serving, whole

REFUSED = (
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.255.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.1.2.3",
    "::ffff:169.254.169.254",
    "::ffff:0:7f00:1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
    "2001:0:0808:0808:0:0:80ff:fffe",  # Teredo, of the client 127.0.0.1
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fe80::1%2",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "4000::1",
    "not an address",
    "",
)
PUBLIC = (
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2a00:1450:4009:81f::200e",
)


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_not_globally_routable_is_refused(address):
    assert is_refused(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_globally_routable_is_not(address):
    assert not is_refused(address)


@pytest.mark.parametrize(
    ("address", "denied", "refused"),
    [
        ("2a00:1450:64::8.8.8.8", "2a00:1450:64::/96", True),  # a network's own prefix for NAT64
        ("::ffff:8.8.8.8", "8.8.8.0/24", True),
        ("10.1.2.3", "10.1.2.3/32", True),  # whatever is allowed
        ("8.8.4.4", "8.8.8.0/24", False),
    ],
)
def test_what_the_configuration_denies_is_refused_whatever_it_allows(address, denied, refused):
    allowed = [ip_network("10.0.0.0/8")]
    assert is_refused(address, allowed, [ip_network(denied)]) is refused


@pytest.mark.parametrize(
    ("address", "network", "refused"),
    [
        ("10.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.4/32", True),
        ("::1", "127.0.0.0/8", True),
        ("::1", "::1/128", False),
        ("fe80::1%eth0", "fe80::/10", False),
        # What embeds an IPv4 address is opened by itself or by that.
        ("::ffff:127.0.0.1", "127.0.0.0/8", False),
        ("::ffff:127.0.0.1", "::ffff:0:0/96", False),
        ("::ffff:127.0.0.1", "10.0.0.0/8", True),
        ("2002:7f00:1::", "127.0.0.0/8", False),
        ("2002:7f00:1::", "2002:7f00::/32", False),
        ("2001:0:0808:0808:0:0:80ff:fffe", "127.0.0.1/32", False),
        ("64:ff9b::a00:1", "10.0.0.0/8", False),
        ("64:ff9b:1::a00:1", "10.0.0.0/8", True),
        ("64:ff9b:1::a00:1", "64:ff9b:1::/48", False),
        ("::127.0.0.1", "127.0.0.0/8", False),
    ],
)
def test_the_configuration_opens_networks(address, network, refused):
    assert is_refused(address, [ip_network(network)]) is refused


class Trap:
    """A listening socket that must see no connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.port = sock.getsockname()[1]

    def saw_nothing(self) -> bool:
        self.sock.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            self.sock.accept()[0].close()
            return False
        return True


@pytest.fixture
def trap() -> Iterator[Trap]:
    """On all local addresses, where it can be of both families."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    with socket.create_server(("", 0), family=family, dualstack_ipv6=both) as sock:
        yield Trap(sock)


INSIDE = (
    "127.0.0.1",
    "127.1",
    "0.0.0.0",  # noqa: S104
    "0",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "localhost",
    "LOCALHOST.",
    "photos.localhost",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[2002:7f00:1::]",
    "[64:ff9b::127.0.0.1]",
    "[fe80::1%25lo]",
    "[fe80::1%25eth0]",
    "\u2460\u2461\u2466.0.0.1",  # digits in circles: 127.0.0.1 to a browser
    "127。0。0。1",
    "\uff11\uff12\uff17.0.0.1",
    "%31%32%37.0.0.1",
    "%EF%BC%91%EF%BC%92%EF%BC%97.1",
    "127.0\t.0.\n1",
    "user@127.1",
    "public.example%00@127.0.0.1",
    "[::1]@127.0.0.1",
)


@pytest.mark.parametrize("host", INSIDE)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_form_of_an_inside_address_is_connected_to(trap, tmp_path, host, scheme):
    error = fault(f"{scheme}://{host}:{trap.port}/a", tmp_path, allowed_addresses=[])
    assert error.reason.code in {"blocked_address", "bad_url", "dns"}
    if host in INSIDE[:12]:
        assert error.reason.code == "blocked_address"
    if error.reason.code == "blocked_address":
        assert "may not be fetched from" in error.detail
    assert trap.saw_nothing()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:PORT\\@public.example/",
        "http://public.example:80@127.0.0.1:PORT/",
        "http://public.example&@127.0.0.1:PORT# @public.example/",
        "http:\\\\127.0.0.1:PORT\\a",
        "http:127.0.0.1:PORT/a",
        "\x01 hT\ttp:/\\//127.0.0.1:PO\nRT/a",
    ],
)
def test_no_spelling_of_a_url_leads_inside(trap, tmp_path, url):
    url = url.replace("PO\nRT", f"\n{trap.port}").replace("PORT", str(trap.port))
    assert fault(url, tmp_path, allowed_addresses=[]).reason.code == "blocked_address"
    assert trap.saw_nothing()


def test_what_is_no_part_of_the_host_is_not_gone_to(trap, tmp_path):
    with serving(Site()) as site:
        for behind, asked in (
            ("\\@127.0.0.2:{}/a", "/@127.0.0.2:{}/a"),
            ("#@127.0.0.2:{}/a", "/"),
            ("?@127.0.0.2:{}/a", "/?@127.0.0.2:{}/a"),
            ("/@127.0.0.2:{}/a", "/@127.0.0.2:{}/a"),
        ):
            site.answers[asked.format(trap.port).partition("?")[0]] = whole()
            get(site.url(behind.format(trap.port)), tmp_path / "x", allowed_addresses=["127.0.0.1/32"])
            assert site.requests.pop() == asked.format(trap.port)
    assert trap.saw_nothing()


def test_the_address_is_named(tmp_path):
    error = fault("http://2130706433/a", tmp_path, allowed_addresses=[])
    assert error.detail == "127.0.0.1: 127.0.0.1 may not be fetched from"


@pytest.mark.parametrize("host", ["127.0.0.2", "2130706434", "[::ffff:127.0.0.2]", "[2002:7f00:2::]", "[::1]"])
def test_no_redirect_leads_inside(trap, tmp_path, host):
    with serving(Site()) as site:
        site.answers["/a"] = redirect(f"http://{host}:{trap.port}/b")
        error = fault(site.url("/a"), tmp_path, allowed_addresses=["127.0.0.1/32"])
    assert error.reason.code == "blocked_address"
    assert trap.saw_nothing()


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "127.0.0.1.", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "[::1]", "%31%32%37.1"]
)
def test_no_proxy_is_asked_for_an_inside_address(tmp_path, host):
    with serving(Site()) as proxy:
        proxy.answers["http://photos.example/a"] = redirect(f"http://{host}/b")
        for url in (f"http://{host}/a", f"https://{host}:8443/a", "http://photos.example/a"):
            error = fault(url, tmp_path, proxy=proxy.url(""), allowed_addresses=["10.0.0.0/8"])
            assert error.reason.code == "blocked_address"
        assert proxy.requests == ["http://photos.example/a"]


def test_a_proxy_is_asked_for_an_inside_address_that_is_allowed(tmp_path):
    with serving(Site()) as proxy:
        proxy.answers["http://10.1.2.3/a"] = whole()
        got = get("http://10.1.2.3/a", tmp_path / "x", proxy=proxy.url(""), allowed_addresses=["10.0.0.0/8"])
    assert got.size == len(BODY)


def test_of_a_name_only_the_allowed_addresses_are_dialled(tmp_path):
    # curl resolves localhost itself, to ::1 and 127.0.0.1
    with serving(Site()) as site, contextlib.closing(socket.socket(socket.AF_INET6)) as sock:
        try:
            sock.bind(("::1", site.port))
        except OSError:
            pytest.skip("no IPv6 here, or the port is taken")
        sock.listen()
        site.answers["/a"] = whole()
        url = f"http://localhost:{site.port}/a"
        assert get(url, tmp_path / "x", allowed_addresses=["127.0.0.1/32"]).size == len(BODY)
        assert Trap(sock).saw_nothing()


def test_the_second_address_of_a_host_is_tried(tmp_path):
    with serving(Site()) as site:  # which listens on 127.0.0.1 alone
        site.answers["/a"] = whole()
        url = f"http://localhost:{site.port}/a"
        assert get(url, tmp_path / "x", allowed_addresses=["127.0.0.1/32", "::1/128"]).size == len(BODY)


def test_an_allowed_address_that_fails_is_not_called_blocked(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = fault(f"http://localhost:{port}/a", tmp_path, allowed_addresses=["127.0.0.1/32"])
    assert error.reason.code == "connect"
