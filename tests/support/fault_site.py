"""A site of hosts with one path for each fault that facts-peers.md numbers, each with the one outcome it must have.

| fault | what it is | paths | outcome |
| --- | --- | --- | --- |
| 16 | drips in the body, the headers, over redirects | `/drip/...` | `too_slow` |
| 16 | takes no connection, or no notice of a request or handshake | `/deaf`, `/silent`, `/tls/none` | `timeout` |
| 17 | an endless body: announced, to the close, chunked | `/endless/...` | `too_large` |
| 18 | a gzip bomb, once and twice; a good photo in gzip | `/gzip/...` | `too_large`; live |
| 19 | less than announced, reset, a chunk short, a JPEG cut | `/short/...` | `truncated` |
| 20 | a loop, 21 redirects; 20 | `/redirect/...` | `redirect_loop`; live |
| 21 | an address inside: literal, by name, in IPv6, by redirect | `/inside/...` | `blocked_address` |
| 22 | another scheme, as a URL and by redirect | `/scheme/...` | `bad_url` |
| 23 | more pixels than allowed, in every format | `/bomb/...` | `too_many_pixels` |
| 25 | HTML called image/jpeg; PNG called image/jpeg | `/lie/...` | `not_an_image`; live |
| 26 | formats that are no photo's | `/alien/...` | `unsupported_format`, `not_an_image` |
| 30 | 404, 410, 403, 451 and a data source of its own mind | `/status/...` | by the map |
| 31 | expired, self-signed, another name; a good one | `/tls/...` | `tls`; live |
| 40 | Unicode, spaces, %3F, 4 KB, quotes, `$(...)`, newlines | `/odd/...` | live, `bad_url` |

What needs a course of events has a test of its own: 27 (Retry-After) and 28 (a host fails wholly) in test_faults.py,
24 (decoder) in test_decoder_faults.py, 29 (resolver), 21 by DNS and 36 (clock) in test_resolver_and_clock.py, 39 (new
bytes) in test_refetch.py.
"""

from __future__ import annotations

import gzip
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle, pairwise
from pathlib import Path

from imagesys_lib.images.reasons import reason_for
from tests.support import bombs
from tests.support.images import encoded, quarters
from tests.support.raw_host import Authority, RawHost, after, serving_all
from tests.support.site import Answer, drip, raw, redirect, reset, whole

ADDRESSES = tuple(f"127.0.0.{last}" for last in range(11, 17))
"""What the tests' configuration allows; 127.0.0.1 and the rest of the world's insides it does not."""

MAX_BYTES = 2_000_000
OWN_MIND = 104
"""A data source for which 403 means gone, and 404 says nothing."""

PHOTO = encoded(quarters(320, 240), "JPEG")
OK = b"HTTP/1.1 200 OK\r\n"
LIVE = "live"


@dataclass(frozen=True)
class Fault:
    """One URL and what must become of it: ``live``, or ``state:reason``."""

    number: int
    url: str
    outcome: str
    datasource: int = 101


def outcome(code: str) -> str:
    return code if code == LIVE else f"{reason_for(code).fate.value}:{code}"


class FaultSite:
    """All hosts, the faults they have, and the door inside that nobody may knock at."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self.hosts: dict[str, RawHost] = {}
        self.inside: list[RawHost] = []
        self.faults: list[Fault] = []
        self.authority = Authority(folder)
        for family in (
            self._slow,
            self._endless,
            self._gzip,
            self._short,
            self._redirects,
            self._inside,
            self._schemes,
            self._pictures,
            self._statuses,
            self._certificates,
            self._odd_urls,
        ):
            family()
        self._beside()

    def _host(self, name: str, **options: object) -> RawHost:
        address = ADDRESSES[len(self.hosts) % len(ADDRESSES)]
        host = self.hosts[name] = RawHost(address, **options)  # type: ignore[arg-type]
        return host

    def _add(self, number: int, code: str, host: RawHost, path: str, answer: Answer) -> None:
        self.faults.append(Fault(number, host.put(path, answer), outcome(code)))

    def _beside(self) -> None:
        """Good photos at every plain host beside its faults."""
        for name, host in self.hosts.items():
            if not host.tls:
                for number in range(2):
                    self._add(0, LIVE, host, f"/good/{name}/{number}.jpg", whole(PHOTO))

    def _slow(self) -> None:
        host = self._host("slow")
        for part, start in {
            "headers": OK + b"X: ",
            "body": OK + b"Content-Length: 99999\r\n\r\n" + PHOTO[:500],
        }.items():
            self._add(16, "too_slow", host, f"/drip/{part}.jpg", drip(start))
        self._add(16, "timeout", host, "/drip/status.jpg", drip(b"HTTP/1.1 2"))  # no line of an answer ever came
        # Quicker than the least speed, but for ever: the deadline cuts it.
        self._add(16, "too_slow", host, "/drip/steadily.jpg", drip(OK + b"\r\n", b"x" * 500, 0.1))
        self._add(16, "too_slow", host, "/drip/redirects.jpg", after(1.2, redirect("/drip/2.jpg")))
        for hop in (2, 3, 4):
            host.put(f"/drip/{hop}.jpg", after(1.2, redirect(f"/drip/{hop + 1}.jpg")))
        self._add(16, "timeout", self._host("silent"), "/silent.jpg", raw(20.0))
        deaf = self._stack.enter_context(socket.socket())
        deaf.bind((ADDRESSES[3], 0))
        deaf.listen(0)
        for _ in range(2):  # its backlog is full from now on, so nobody is let in any more
            knock = self._stack.enter_context(socket.socket())
            knock.setblocking(False)
            knock.connect_ex(deaf.getsockname())
        self.faults.append(Fault(16, "http://{}:{}/deaf.jpg".format(*deaf.getsockname()), outcome("timeout")))

    def _endless(self) -> None:
        host, piece = self._host("endless"), b"x" * 65536
        self._add(
            17, "too_large", host, "/endless/announced.jpg", drip(OK + b"Content-Length: 9999999999\r\n\r\n", piece, 0)
        )
        self._add(17, "too_large", host, "/endless/close.jpg", drip(OK + b"\r\n", piece, 0))
        chunk = b"10000\r\n" + piece + b"\r\n"
        self._add(
            17, "too_large", host, "/endless/chunked.jpg", drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", chunk, 0)
        )

    def _gzip(self) -> None:
        host, once = self._host("gzip"), gzip.compress(bytes(200_000_000), 9)
        coded = {
            "bomb": (once, "gzip", "too_large"),
            "bomb-in-bomb": (gzip.compress(once, 9), "gzip, gzip", "too_large"),
            "good": (gzip.compress(PHOTO), "gzip", LIVE),
            "not-at-all": (PHOTO, "gzip", "protocol"),
        }
        for name, (body, coding, code) in coded.items():
            self._add(18, code, host, f"/gzip/{name}.jpg", whole(body, f"Content-Encoding: {coding}"))

    def _short(self) -> None:
        host = self._host("short")
        announced = OK + b"Content-Length: %d\r\n\r\n" % len(PHOTO)
        chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(PHOTO)
        half = PHOTO[: len(PHOTO) // 2]
        for name, answer in {
            "body": raw(announced + half),
            "nothing": raw(announced),
            "reset": reset(announced + half),
            "chunk": raw(chunked + half),
            "no-last-chunk": raw(chunked + PHOTO + b"\r\n"),
            "whole-by-http": whole(half),
            "whole-by-close": raw(OK + b"\r\n" + half),
        }.items():
            self._add(19, "truncated", host, f"/short/{name}.jpg", answer)

    def _redirects(self) -> None:
        host, other = self._host("redirect"), self._host("target")
        self._add(20, "redirect_loop", host, "/redirect/loop.jpg", redirect("/redirect/loop.jpg"))
        self._add(20, "redirect_loop", host, "/redirect/ping.jpg", redirect(other.url("/pong.jpg")))
        other.put("/pong.jpg", redirect(host.url("/redirect/ping.jpg")))
        for length, code in ((21, "redirect_loop"), (20, LIVE)):
            hops = [f"/redirect/{length}/{hop}.jpg" for hop in range(length)]
            for status, (here, there) in zip(cycle((301, 303, 307, 308, 302)), pairwise(hops), strict=False):
                host.put(here, redirect(there, status))
            host.put(hops[-1], redirect(other.url(f"/end/{length}.jpg")))
            other.put(f"/end/{length}.jpg", whole(PHOTO))
            self.faults.append(Fault(20, host.url(hops[0]), outcome(code)))
        self._add(20, "http_302", host, "/redirect/nowhere.jpg", whole(b"", status="302 Found"))

    def _inside(self) -> None:
        host = self._host("inside")
        self.inside = [RawHost("127.0.0.1"), RawHost("::1")]
        port = self.inside[0].port
        names = {
            "literal": f"127.0.0.1:{port}",
            "name": f"localhost:{port}",
            "six": f"[::1]:{self.inside[1].port}",
            "mapped": f"[::ffff:127.0.0.1]:{port}",
            "mapped-hex": f"[::ffff:7f00:1]:{port}",
            "compatible": f"[::127.0.0.1]:{port}",
            "6to4": f"[2002:7f00:1::]:{port}",
            "nat64": f"[64:ff9b::7f00:1]:{port}",
            "any": f"0.0.0.0:{port}",
            "any-6": f"[::]:{port}",
            "number": f"2130706433:{port}",
            "hex": f"0x7f000001:{port}",
            "octal": f"0177.0.0.1:{port}",
            "short": f"127.1:{port}",
            "other-loopback": f"127.0.0.99:{port}",
            "user": f"127.0.0.11:80@127.0.0.1:{port}",
            "metadata": "169.254.169.254",
            "carrier": "100.64.0.1",
            "private": "192.168.1.1",
            "unique-local": "[fd00:ec2::254]",
            "link-local": "[fe80::1]",
            "backslash": f"127.0.0.11:80\\@127.0.0.1:{port}",
            "zone": "[fe80::1%25lo]",
        }
        codes = {"backslash": "connect", "zone": "bad_url"}  # it is a slash, so a path follows; no URL has a zone
        for name, where in names.items():
            code = codes.get(name, "blocked_address")
            self.faults.append(Fault(21, f"http://{where}/inside/{name}.jpg", outcome(code)))
            away = redirect(f"http://{where}/inside/{name}.jpg")
            self._add(21, code, host, f"/inside/by-redirect/{name}.jpg", away)
        twice = redirect(host.url("/inside/by-redirect/literal.jpg"))
        self._add(21, "blocked_address", host, "/inside/by-two-redirects.jpg", twice)

    def _schemes(self) -> None:
        host = self._host("scheme")
        for name, url in {
            "file": "file:///etc/passwd",
            "file-host": "file://localhost/etc/passwd",
            "ftp": f"ftp://{host.host}/a.jpg",
            "data": "data:image/gif;base64,R0lGODlhAQABAAAAACw=",
            "gopher": f"gopher://{host.host}/_GET%20/",
            "dict": f"dict://{host.host}/d:a",
            "javascript": "javascript:alert(1)",
            "unix": "unix:///run/docker.sock",
        }.items():
            self.faults.append(Fault(22, url, outcome("bad_url")))
            self._add(22, "bad_url", host, f"/scheme/by-redirect/{name}.jpg", redirect(url))
        for url in (
            "//127.0.0.11/a.jpg",
            "photo.jpg",
            "http://",
            "http://a b/c.jpg",
            "http://[::1/a.jpg",
        ):
            self.faults.append(Fault(22, url, outcome("bad_url")))
        self._add(22, LIVE, host, "/scheme/capitals.jpg", whole(PHOTO))
        last = self.faults.pop()
        self.faults.append(Fault(22, last.url.replace("http", "HTTP"), LIVE))

    def _pictures(self) -> None:
        host = self._host("picture")
        for name, data in bombs.pixel_bombs().items():
            self._add(23, "too_many_pixels", host, f"/bomb/{name}.jpg", whole(data))
        page = b"<!doctype html><html><body><h1>No longer listed</h1></body></html>"
        self._add(25, "not_an_image", host, "/lie/html.jpg", whole(page))
        self._add(25, LIVE, host, "/lie/png.jpg", whole(encoded(quarters(300, 200), "PNG")))
        self._add(25, LIVE, host, "/lie/jpeg.html", raw(OK + b"Content-Type: text/html\r\n\r\n" + PHOTO))
        for name, (data, code) in bombs.aliens().items():
            self._add(26, code, host, f"/alien/{name}.jpg", whole(data))
        self._add(26, LIVE, host, "/alien/mpo.jpg", whole(bombs.multi_picture()))

    def _statuses(self) -> None:
        host = self._host("status")
        for status, state, own in (
            (404, "rejected", "failed"),
            (410, "rejected", "rejected"),
            (403, "failed", "rejected"),
            (451, "rejected", "rejected"),
            (500, "failed", "failed"),
        ):
            for datasource, fate in ((101, state), (OWN_MIND, own)):
                url = host.put(f"/status/{datasource}/{status}.jpg", whole(b"<html>", status=f"{status} No"))
                self.faults.append(Fault(30, url, f"{fate}:http_{status}", datasource))

    def _certificates(self) -> None:
        make, ours, other = self.authority.context, ADDRESSES[0], ADDRESSES[5]
        for name, context, code in (
            ("good", make("good", ours), LIVE),
            ("expired", make("expired", ours, age=30), "tls"),
            ("early", make("early", ours, age=-30), "tls"),
            ("self-signed", make("self-signed", ours, own=True), "tls"),
            ("wrong-host", make("wrong-host", other), "tls"),
        ):
            host = self.hosts[f"tls-{name}"] = RawHost(ours, context)
            self._add(31, code, host, f"/tls/{name}.jpg", whole(PHOTO))
        plain = self._host("plain")
        self.faults.append(Fault(31, plain.url("/tls/none.jpg").replace("http:", "https:"), outcome("timeout")))

    def _odd_urls(self) -> None:
        host = self._host("odd")
        host.otherwise = whole(PHOTO)
        pwned = self._folder / "pwned"
        base = host.url("/odd/")
        for path in (
            "größe ö.jpg",
            "дом/房子/🏠.jpg",
            "a b  c.jpg",
            "a%3Fb%23c.jpg",
            "a%20b.jpg?size=1&x=%41;y=[1]#top",
            "100%.jpg",
            'it\'s "quoted".jpg',
            f"a;touch {pwned};.jpg",
            f"$(touch${{IFS}}{pwned}).jpg",
            f"`touch {pwned}`.jpg",
            f"&&touch {pwned}.jpg",
            "../../../../etc/passwd",
            "%2e%2e/%2e%2e/%00.jpg",
            "back\\slash\\..\\a.jpg",
            "-rf.jpg",
            "*?[a-z]{1,2}~!.jpg",
            "<script>.jpg",
            "%0d%0aX-Injected:%20yes.jpg",
            "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe",
            "a\nb.jpg",  # as browsers: line ends and tabs are left out, other control characters are encoded
            "a\r\nX-Injected: yes\r\n\r\n.jpg",
            "a\tb.jpg",
            "a\x00b.jpg",
        ):
            self.faults.append(Fault(40, base + path, LIVE))
        self.faults.append(Fault(40, base + "x" * (4096 - len(base)), LIVE))
        for url in (
            base + "x" * (4097 - len(base)),
            base + "y" * 20_000,
            f"http://{host.address}:{host.port}0000/a.jpg",
            f"http://{host.address}:0/a.jpg",
        ):
            self.faults.append(Fault(40, url, outcome("bad_url")))

    @property
    def pwned(self) -> bool:
        """Whether anything of a URL was ever executed."""
        return any(self._folder.glob("pwned*"))

    def close(self) -> None:
        self._stack.close()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def fault_site(folder: Path) -> Iterator[FaultSite]:
    """Run the site while the block runs."""
    site = FaultSite(folder)
    try:
        with serving_all(*site.hosts.values(), *site.inside):
            yield site
    finally:
        site.close()
