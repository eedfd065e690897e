"""Fetching: one local server with every fault of the web, and the one reason for each."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import os
import re
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest

from imagesys_lib import fetch as fetch_module
from imagesys_lib import transport
from imagesys_lib.config import Fetch
from imagesys_lib.errors import DiskFull
from imagesys_lib.fetch import Fetched, Fetcher, Stopped
from imagesys_lib.files import write_atomically
from imagesys_lib.reasons import Fate, ImageFault

BODY = b"\xff\xd8\xff" + bytes(range(256)) * 40
Answer = Callable[[socket.socket, str], None]


class Site(socketserver.ThreadingTCPServer):
    """A server of raw answers: each path has a function that writes to the socket whatever it likes."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        self.heads: list[str] = []
        self.connections = 0
        self.closing = threading.Event()
        self.port = self.server_address[1]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up is what many of these tests are about."""


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.server.connections += 1
        pending = b""
        while True:
            while b"\r\n\r\n" not in pending:
                received = self.request.recv(65536)
                if not received:
                    return
                pending += received
            head, _, pending = pending.partition(b"\r\n\r\n")
            path = head.split(b" ")[1].decode()
            self.server.requests.append(path)
            self.server.heads.append(head.decode("latin-1"))
            answer = self.server.answers.get(path.partition("?")[0])
            if answer is None:
                self.request.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                continue
            answer(self.request, path)
            if answer.__name__ != "kept":
                return


def whole(body: bytes = BODY, *headers: str, status: str = "200 OK") -> Answer:
    """A proper answer on a connection that stays open."""

    def kept(sock: socket.socket, _path: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: image/jpeg", *headers]
        sock.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    return kept


def raw(*parts: bytes | float) -> Answer:
    """Bytes as they are; a number waits so many seconds."""

    def answer(sock: socket.socket, _path: str) -> None:
        for part in parts:
            if isinstance(part, bytes):
                sock.sendall(part)
            else:
                time.sleep(part)

    return answer


def reset(*parts: bytes) -> Answer:
    """Bytes, then a TCP reset."""

    def answer(sock: socket.socket, _path: str) -> None:
        for part in parts:
            sock.sendall(part)
        time.sleep(0.05)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()

    return answer


def drip(start: bytes, one: bytes = b"x", pause: float = 0.05) -> Answer:
    """A start, then a byte at a time until the client goes away."""

    def answer(sock: socket.socket, _path: str) -> None:
        sock.sendall(start)
        with contextlib.suppress(OSError):
            for _ in range(2000):
                sock.sendall(one)
                time.sleep(pause)

    return answer


def redirect(location: str, status: int = 302) -> Answer:
    return whole(b"", f"Location: {location}", status=f"{status} Found")


@contextlib.contextmanager
def serving(server: Site) -> Iterator[Site]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as server:
        yield server


def settings(**changes) -> Fetch:
    values = {
        "threads": 8,
        "per_host": 8,
        "connect_timeout": 1,
        "read_timeout": 1,
        "image_deadline": 5,
        "max_bytes": 200_000,
        "max_redirects": 3,
        "user_agent": "ImageSys-test/1 (+https://example.com)",
    }
    return Fetch(**{**values, **changes})


def get(url: str, target: Path, stop: threading.Event | None = None, **changes) -> Fetched:
    with Fetcher(settings(**changes), stop) as fetcher:
        return fetcher.fetch(url, target)


def fault(url: str, tmp_path: Path, **changes) -> ImageFault:
    """Fetch, expect a fault, and see that it left nothing on disk."""
    target = tmp_path / "staging" / "photo"
    with pytest.raises(ImageFault) as caught:
        get(url, target, **changes)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    return caught.value


def code(url: str, tmp_path: Path, **changes) -> str:
    return fault(url, tmp_path, **changes).reason.code


def test_a_photo_is_written_whole_with_its_headers(site, tmp_path):
    site.answers["/a.jpg"] = whole(BODY, 'ETag: "abc"', "Last-Modified: Tue, 01 Oct 2024 10:00:00 GMT")
    target = tmp_path / "a" / "b" / "photo"
    fetched = get(site.url("/a.jpg"), target)
    assert fetched == Fetched(
        sha1=hashlib.sha1(BODY).hexdigest(),  # noqa: S324
        size=len(BODY),
        content_type="image/jpeg",
        final_url=site.url("/a.jpg"),
        etag='"abc"',
        last_modified="Tue, 01 Oct 2024 10:00:00 GMT",
    )
    assert target.read_bytes() == BODY
    assert [path.name for path in target.parent.iterdir()] == ["photo"]


def test_it_says_who_it_is_and_asks_for_identity(site, tmp_path):
    site.answers["/a"] = whole()
    get(site.url("/a"), tmp_path / "a")
    assert "User-Agent: ImageSys-test/1 (+https://example.com)" in site.heads[0]
    assert "Accept-Encoding: identity" in site.heads[0]


def test_connections_are_reused_and_no_cookie_is_kept(site, tmp_path):
    site.answers["/a"] = whole(BODY, "Set-Cookie: visitor=1; Path=/")
    with Fetcher(settings()) as fetcher:
        for number in range(5):
            fetcher.fetch(site.url("/a"), tmp_path / str(number))
    assert site.connections == 1
    assert not any("cookie" in head.lower() for head in site.heads)


def test_the_environment_changes_nothing(site, tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    site.answers["/a"] = whole()
    assert get(site.url("/a"), tmp_path / "a").size == len(BODY)


def test_chunked_and_unlengthed_bodies_arrive(site, tmp_path):
    site.answers["/chunked"] = raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    site.answers["/close"] = raw(b"HTTP/1.0 200 OK\r\n\r\nabcde")
    for path in ("/chunked", "/close"):
        assert get(site.url(path), tmp_path / "x").sha1 == hashlib.sha1(b"abcde").hexdigest()  # noqa: S324


@pytest.mark.parametrize(
    ("path", "asked"),
    [("/a%3Fb.jpg", "/a%3Fb.jpg"), ("/ä ö.jpg", "/%C3%A4%20%C3%B6.jpg"), ("/a;$(id)'", "/a;$(id)'")],
)
def test_odd_urls_are_asked_for_as_a_browser_would(site, tmp_path, path, asked):
    site.answers[asked] = whole()
    assert get(site.url(path), tmp_path / "x").size == len(BODY)
    assert site.requests == [asked]


def test_a_long_url_is_fetched_up_to_4096_bytes(site, tmp_path):
    site.answers["/a"] = whole()
    base = site.url("/a?")
    assert get(base + "x" * (4096 - len(base)), tmp_path / "x").size == len(BODY)
    assert code(base + "x" * (4097 - len(base)), tmp_path / "none") == "bad_url"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "photo.jpg",
        "file:///etc/passwd",
        "ftp://127.0.0.1/a.jpg",
        "data:image/png;base64,AAAA",
        "http://",
        "http:///a.jpg",
        "http://[::1/a.jpg",
        "http://127.0.0.1:99999/a.jpg",
        "http://127.0.0.1:port/a.jpg",
        "http://a\nb/x.jpg",
        "http://" + "a" * 70 + ".example/x.jpg",
        "http://exa mple/x.jpg",
        "http://127.0.0.1/\ud800",
    ],
)
def test_what_is_no_http_url_is_refused(tmp_path, url):
    assert code(url, tmp_path) == "bad_url"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_and_the_final_url_kept(site, tmp_path, status):
    site.answers["/a"] = redirect("/b", status)
    site.answers["/b"] = redirect(site.url("/c"), status)
    site.answers["/c"] = whole()
    assert get(site.url("/a"), tmp_path / "x").final_url == site.url("/c")


def test_a_redirect_loop_ends_at_the_limit(site, tmp_path):
    site.answers["/a"] = redirect("/a")
    assert code(site.url("/a"), tmp_path) == "redirect_loop"
    assert len(site.requests) == 4  # the first and three redirects
    assert code(site.url("/a"), tmp_path, max_redirects=0) == "redirect_loop"


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[x/", "javascript:1"])
def test_a_redirect_may_only_lead_to_http(site, tmp_path, location):
    site.answers["/a"] = redirect(location)
    assert code(site.url("/a"), tmp_path) == "bad_url"


@pytest.mark.parametrize("status", [400, 403, 404, 410, 429, 500, 503, 999, 304, 300])
def test_other_statuses_are_reasons(site, tmp_path, status):
    site.answers["/a"] = whole(b"<html>", status=f"{status} No")
    assert code(site.url("/a"), tmp_path) == f"http_{status}"


def test_a_redirect_without_location_is_its_status(site, tmp_path):
    site.answers["/a"] = whole(b"", status="302 Found")
    assert code(site.url("/a"), tmp_path) == "http_302"


def http_date(seconds: float) -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["Retry-After: 120"], 120),
        (["Retry-After: 0"], 0),
        (["Retry-After: 99999999999999999999"], 86_400),
        ([f"Retry-After: {'9' * 6000}"], 86_400),
        (["Retry-After: -5"], None),
        (["Retry-After: soon"], None),
        (["Retry-After: Wed, 01 Jan 2020 00:00:00 GMT"], 0),
        (["Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"], 86_400),
        (["Retry-After: IN TEN MINUTES"], 600),
        # Their clock is a year off: what counts is the difference.
        (["Date: Wed, 01 Jan 2020 00:00:00 GMT", "Retry-After: Wed, 01 Jan 2020 00:05:00 GMT"], 300),
        ([], None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_clamped(site, tmp_path, headers, expected):
    headers = [line.replace("IN TEN MINUTES", http_date(600)) for line in headers]
    site.answers["/a"] = whole(b"", *headers, status="503 Later")
    error = fault(site.url("/a"), tmp_path)
    assert error.reason.fate is Fate.RETRY
    assert error.retry_after == (None if expected is None else pytest.approx(expected, abs=5))


def test_an_announced_length_over_the_cap_is_not_read(site, tmp_path):
    site.answers["/a"] = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 200001\r\n\r\n", 0.5)
    assert code(site.url("/a"), tmp_path) == "too_large"


def test_an_endless_body_is_cut_at_the_cap(site, tmp_path):
    site.answers["/a"] = drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 50_000, 0.0)
    assert code(site.url("/a"), tmp_path) == "too_large"


def test_a_body_of_exactly_the_cap_is_taken(site, tmp_path):
    site.answers["/a"] = whole(b"x" * 200_000)
    assert get(site.url("/a"), tmp_path / "x").size == 200_000


def test_gzip_is_decoded_and_a_bomb_is_cut_on_decoded_bytes(site, tmp_path):
    site.answers["/a"] = whole(gzip.compress(BODY), "Content-Encoding: gzip")
    assert get(site.url("/a"), tmp_path / "x").sha1 == hashlib.sha1(BODY).hexdigest()  # noqa: S324
    bomb = gzip.compress(gzip.compress(bytes(100_000_000)))
    site.answers["/bomb"] = whole(bomb, "Content-Encoding: gzip, gzip")
    assert len(bomb) < 10_000
    assert code(site.url("/bomb"), tmp_path / "none") == "too_large"


def test_a_broken_encoding_is_a_protocol_fault(site, tmp_path):
    site.answers["/a"] = whole(BODY, "Content-Encoding: gzip")
    assert code(site.url("/a"), tmp_path) == "protocol"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"), "truncated"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"), "truncated"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nabc"), "truncated"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), "truncated"),
        (reset(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"), "truncated"),
        (reset(), "connect"),
        (raw(), "connect"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "protocol"),
        (raw(b"HTTP/1.1 abc OK\r\n\r\n"), "protocol"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nabcde"), "protocol"),
        (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), "protocol"),
        (raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n"), "protocol"),
        (whole(b"abc", status="206 Partial Content"), "protocol"),
        (whole(b""), "not_an_image"),
        (whole(b"", status="204 No Content"), "not_an_image"),
        (raw(b"HTTP/1.1 200 OK\r\n\r\n"), "not_an_image"),
        (raw(1.6), "timeout"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", 1.6), "timeout"),
    ],
)
def test_each_broken_answer_has_its_reason(site, tmp_path, answer, expected):
    site.answers["/a"] = answer
    assert code(site.url("/a"), tmp_path) == expected


@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"],
    ids=["status line", "headers", "body"],
)
def test_a_server_that_drips_is_cut_at_the_deadline(site, tmp_path, start):
    site.answers["/a"] = drip(start)
    began = time.monotonic()
    assert code(site.url("/a"), tmp_path, image_deadline=0.6) == "too_slow"
    assert time.monotonic() - began < 1.2


def test_the_deadline_spans_redirects(site, tmp_path):
    def slow(sock: socket.socket, path: str) -> None:
        time.sleep(0.4)
        redirect("/a")(sock, path)

    site.answers["/a"] = slow
    assert code(site.url("/a"), tmp_path, image_deadline=0.6, max_redirects=20) == "too_slow"


def test_a_refused_connection_and_an_unknown_host(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert code(f"http://127.0.0.1:{port}/a", tmp_path) == "connect"
    assert code("http://no-such-host.invalid/a", tmp_path) == "dns"


def test_a_connection_that_is_never_accepted_is_a_timeout(tmp_path, monkeypatch):
    def never(self, address):
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket.socket, "connect", never)
    assert code("http://127.0.0.1:9/a", tmp_path) == "timeout"


def test_the_second_address_of_a_host_is_tried(site, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = free.getsockname()
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", at) for at in (dead, ("127.0.0.1", site.port))]
    monkeypatch.setattr(transport.socket, "getaddrinfo", lambda *_, **__: addresses)
    site.answers["/a"] = whole()
    assert get("http://photos.example/a", tmp_path / "x").size == len(BODY)


@pytest.fixture
def tls_site(tmp_path_factory) -> Iterator[tuple[Site, Path]]:
    """A TLS server of the name localhost, and its self-signed certificate."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -keyout key.pem -out cert.pem -subj /CN=localhost"
    command += " -addext subjectAltName=DNS:localhost"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    class TLSSite(Site):
        def get_request(self):
            sock, address = self.socket.accept()
            return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

    with serving(TLSSite()) as server:
        yield server, folder / "cert.pem"


def test_an_untrusted_certificate_is_recorded_not_ignored(tls_site, tmp_path):
    server, _ = tls_site
    server.answers["/a"] = whole()
    error = fault(f"https://localhost:{server.port}/a", tmp_path)
    assert error.reason.code == "tls"
    assert "self-signed" in error.detail
    assert server.requests == []


def test_a_certificate_of_another_name_is_refused(tls_site, tmp_path):
    server, trusted = tls_site
    with Fetcher(settings()) as fetcher:
        fetcher._session.verify = str(trusted)
        with pytest.raises(ImageFault, match="tls"):
            fetcher.fetch(f"https://127.0.0.1:{server.port}/a", tmp_path / "x")


def test_plain_http_on_a_tls_port_is_a_tls_fault(site, tmp_path, monkeypatch):
    def speak_first(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        time.sleep(0.2)

    monkeypatch.setattr(_Handler, "handle", lambda self: speak_first(self.request))
    assert code(f"https://127.0.0.1:{site.port}/a", tmp_path) == "tls"


def test_a_trusted_tls_host_is_fetched_under_the_same_deadline(tls_site, tmp_path):
    server, trusted = tls_site
    server.answers |= {"/a": whole(), "/drip": drip(b"HTTP/1.1 200 OK\r\n\r\n")}
    with Fetcher(settings(image_deadline=0.6)) as fetcher:
        fetcher._session.verify = str(trusted)
        for name in ("x", "y"):
            assert fetcher.fetch(f"https://localhost:{server.port}/a", tmp_path / name).size == len(BODY)
        assert server.connections == 1
        with pytest.raises(ImageFault, match="too_slow"):
            fetcher.fetch(f"https://localhost:{server.port}/drip", tmp_path / "z")


def test_credentials_are_used_and_never_shown(site, tmp_path):
    site.answers["/a"] = whole()
    url = site.url("/a").replace("http://", "http://user:hidden@")
    assert get(url, tmp_path / "x").final_url == site.url("/a")
    assert "Authorization: Basic" in site.heads[0]
    for bad in (url.replace("/a", "/none"), url.replace(str(site.port), "1"), url.replace("127.0.0.1", "x.invalid"),
                url.replace("127.0.0.1", "x y"), url.replace("http:", "ftp:"), url + "\n"):  # fmt: skip
        error = fault(bad, tmp_path / "none")
        assert "hidden" not in str(error) + error.detail + repr(error.__cause__)


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
    with Fetcher(settings(per_host=2, image_deadline=0.5)) as fetcher, ThreadPoolExecutor(8) as pool:
        work = [pool.submit(fetcher.fetch, site.url("/a"), tmp_path / str(number)) for number in range(8)]
        assert all(item.result().size == len(BODY) for item in work)
    assert most == 2


def test_many_threads_share_one_fetcher(site, tmp_path):
    bodies = {f"/{number}": os.urandom(5000 + number) for number in range(60)}
    site.answers |= {path: whole(body) for path, body in bodies.items()}
    with Fetcher(settings()) as fetcher, ThreadPoolExecutor(8) as pool:
        made = pool.map(lambda path: fetcher.fetch(site.url(path), tmp_path / path[1:]), bodies)
        assert [one.sha1 for one in made] == [hashlib.sha1(body).hexdigest() for body in bodies.values()]  # noqa: S324
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {p[1:]: b for p, b in bodies.items()}
    assert site.connections <= 8


@pytest.mark.parametrize("path", ["/silent", "/body"])
def test_stop_ends_a_fetch_promptly_and_leaves_nothing(site, tmp_path, path):
    site.answers["/silent"] = raw(3.0)
    site.answers["/body"] = drip(b"HTTP/1.1 200 OK\r\n\r\n")
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        get(site.url(path), tmp_path / "x", stop, read_timeout=20, image_deadline=20)
    assert time.monotonic() - began < 1.2
    assert not list(tmp_path.iterdir())


def test_stop_reaches_those_who_wait_for_their_turn(site, tmp_path):
    site.answers["/a"] = raw(2.0)
    stop = threading.Event()
    with Fetcher(settings(per_host=1, read_timeout=20), stop) as fetcher, ThreadPoolExecutor(4) as pool:
        work = [pool.submit(fetcher.fetch, site.url("/a"), tmp_path / str(number)) for number in range(4)]
        time.sleep(0.2)
        stop.set()
        assert all(isinstance(item.exception(timeout=1.5), Stopped) for item in work)


def test_a_full_disk_is_the_environments_fault(site, tmp_path, monkeypatch):
    site.answers["/a"] = whole()

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="photo") as caught:
        get(site.url("/a"), tmp_path / "photo")
    assert caught.value.remedy
    with pytest.raises(DiskFull):
        write_atomically(tmp_path / "other", b"x")
    assert not list(tmp_path.iterdir())


def test_another_disk_error_is_not_taken_for_the_networks(site, tmp_path):
    site.answers["/a"] = whole()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileExistsError):
        get(site.url("/a"), tmp_path / "file" / "photo")


def test_writing_replaces_whole_files_with_ordinary_permissions(tmp_path):
    target = tmp_path / "a" / "b.jpg"
    for data in (b"first", b"second"):
        write_atomically(target, data)
    assert target.read_bytes() == b"second"
    old = os.umask(0)
    os.umask(old)
    assert target.stat().st_mode & 0o777 == 0o666 & ~old
    assert [path.name for path in target.parent.iterdir()] == ["b.jpg"]


def test_temporary_names_are_hidden_and_in_the_same_directory(tmp_path):
    with fetch_module.atomic_writer(tmp_path / "photo.jpg") as file:
        (inside,) = tmp_path.iterdir()
        file.write(b"x")
    assert re.fullmatch(r"\.photo\.jpg\.[0-9a-f]+\.tmp", inside.name)
