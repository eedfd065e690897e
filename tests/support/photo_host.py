"""A photo host of a test's own: it answers each path as told, keeps the requests, and knows conditional requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Reply:
    """What a path answers, after ``delay`` seconds. With an ``etag``, a request that knows it is answered with 304."""

    body: bytes = b""
    status: int = 200
    etag: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0


@dataclass(frozen=True)
class Asked:
    path: str
    headers: dict[str, str]


class PhotoHost(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((address, port), _Handler)
        self.address = address
        self.replies: dict[str, Reply] = {}
        self.asked: list[Asked] = []

    @property
    def host(self) -> str:
        return f"{self.address}:{self.server_address[1]}"

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def put(self, path: str, body: bytes = b"", **options: object) -> str:
        """Let ``path`` answer so from now on; returns its URL."""
        self.replies[path] = Reply(body, **options)  # type: ignore[arg-type]
        return self.url(path)


class _Handler(BaseHTTPRequestHandler):
    server: PhotoHost
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(Asked(self.path, {key.lower(): value for key, value in self.headers.items()}))
        reply = self.server.replies.get(self.path, Reply(status=404))
        time.sleep(reply.delay)
        same = bool(reply.etag) and self.headers.get("If-None-Match") == reply.etag
        body = b"" if same else reply.body
        self.send_response(304 if same else reply.status)
        for key, value in reply.headers.items():
            self.send_header(key, value)
        if reply.etag:
            self.send_header("ETag", reply.etag)
        if not same:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextmanager
def photo_host(address: str = "127.0.0.1", port: int = 0) -> Iterator[PhotoHost]:
    """Run a photo host while the block runs."""
    server = PhotoHost(address, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
