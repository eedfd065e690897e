"""A server of raw answers, with every fault of the web, and what the fetcher's tests share."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagesys_lib.config import Fetch
from imagesys_lib.fetch.http.fetcher import Fetcher
from imagesys_lib.fetch.http.jobs import Fetched, NotModified, Outcome
from imagesys_lib.images.reasons import ImageFault

BODY = b"\xff\xd8\xff" + bytes(range(256)) * 40
Answer = Callable[[socket.socket, str], None]


class Site(socketserver.ThreadingTCPServer):
    """A server of raw answers: each path has a function that writes to the socket whatever it likes."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Handler)
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        self.heads: list[str] = []
        self.connections = 0
        self.port = self.server_address[1]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up is what many of these tests are about."""


def requests_on(sock: socket.socket) -> Iterator[tuple[str, str]]:
    """Yield the path and the whole head of each request that arrives on a connection."""
    pending = b""
    while True:
        while b"\r\n\r\n" not in pending:
            received = sock.recv(65536)
            if not received:
                return
            pending += received
        head, _, pending = pending.partition(b"\r\n\r\n")
        text = head.decode("latin-1")
        yield text.split(" ")[1], text


class Handler(socketserver.BaseRequestHandler):
    """Reads requests and has them answered."""

    def handle(self) -> None:
        self.server.connections += 1
        for path, head in requests_on(self.request):
            self.server.requests.append(path)
            self.server.heads.append(head)
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


def settings(**changes) -> Fetch:
    values = {
        "in_flight": 64,
        "per_host": 8,
        "connect_timeout": 1,
        "read_timeout": 1,
        "image_deadline": 5,
        "max_bytes": 200_000,
        "max_redirects": 3,
        "allowed_addresses": ["127.0.0.0/8"],
        "user_agent": "ImageSys-test/1 (+https://example.com)",
    }
    return Fetch(**{**values, **changes})


def get(url: str, target: Path, stop: threading.Event | None = None, **changes) -> Fetched | NotModified:
    with Fetcher(settings(**changes), stop=stop) as fetcher:
        return fetcher.fetch(url, target)


def fault(url: str, tmp_path: Path, **changes) -> ImageFault:
    """Fetch, expect a fault, and see that it left nothing on disk."""
    target = tmp_path / "staging" / "photo"
    with pytest.raises(ImageFault) as caught:
        get(url, target, **changes)
    assert files_in(tmp_path) == []
    return caught.value


def code(url: str, tmp_path: Path, **changes) -> str:
    return fault(url, tmp_path, **changes).reason.code


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def all_of(fetcher: Fetcher, seconds: float = 20) -> list[Outcome]:
    """Poll until nothing is busy."""
    until, outcomes = time.monotonic() + seconds, []
    while fetcher.busy:
        assert time.monotonic() < until, f"{fetcher.in_flight} in flight after {seconds} s"
        outcomes += fetcher.poll(0.5)
    return outcomes
