"""The process behind `example`: the page, and below `/lis/` the thumbnails of whichever node has them.

Usage: python -m include.sandbox.example.server BASE_DIRECTORY PORT_BASE COUNTRY
"""

from __future__ import annotations

import re
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from imagesys_lib.interface import Interface
from include.sandbox.example.page import rendered
from include.sandbox.nodes_and_ports import NODE_NAMES
from include.sandbox.sandbox import Sandbox
from include.sandbox.settings import LOOPBACK, SandboxSettings

_THUMBNAIL = re.compile(r"/lis/([a-z]{2}(/[0-9a-f]){3}/[0-9a-f]{37}\.[1-9]\.(jpg|webp|avif))")
_TYPES = {"jpg": "image/jpeg", "webp": "image/webp", "avif": "image/avif"}
_NODE_SECONDS = 2.0
_POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ExampleSite(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, sandbox: Sandbox, country: str) -> None:
        super().__init__((LOOPBACK, sandbox.settings.port("example")), _Handler)
        self.sandbox, self.country = sandbox, country
        self.interface = Interface(country)


class _Handler(BaseHTTPRequestHandler):
    server: ExampleSite
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        try:
            parts = urlsplit(self.path)
            if thumbnail := _THUMBNAIL.fullmatch(parts.path):
                self._send_thumbnail(thumbnail[1], thumbnail[3], versioned="v=" in parts.query)
            elif parts.path == "/":
                self._send_page(parse_qs(parts.query).get("page", ["1"])[0])
            elif parts.path == "/.health":
                self._send(200, "text/plain", str(self.server.sandbox.settings.base).encode())
            else:
                self._send(404, "text/plain", b"There is no such page.")
        except ConnectionError:
            self.close_connection = True

    def _send_page(self, page: str) -> None:
        number = int(page) if page.isascii() and page.isdigit() and len(page) < 9 else 1
        listings = self.server.sandbox.etl.listings(self.server.country)[::-1]
        html = rendered(self.server.interface, listings, number)
        self._send(200, "text/html; charset=utf-8", html.encode(), {"Content-Security-Policy": _POLICY})

    def _send_thumbnail(self, path: str, suffix: str, *, versioned: bool) -> None:
        """Send a file of the first node that has it, in the order of their names, as a load balancer would."""
        for node in NODE_NAMES:
            url = f"http://{LOOPBACK}:{self.server.sandbox.settings.port(f'{node}_web')}/{path}"
            try:
                with _DIRECT.open(url, timeout=_NODE_SECONDS) as answer:
                    data = answer.read()
            except (OSError, urllib.error.URLError):
                continue
            caching = "public, max-age=31536000, immutable" if versioned else "no-cache"
            return self._send(200, _TYPES[suffix], data, {"Cache-Control": caching, "X-Served-By": node})
        return self._send(404, "text/plain", b"No node has it.")

    def _send(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    base, port_base, its_country = sys.argv[1:]
    with ExampleSite(Sandbox(SandboxSettings(Path(base), int(port_base))), its_country) as site:
        site.serve_forever()
