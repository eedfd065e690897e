"""The process behind `website`: HTTP/1.1 with keep-alive on several loopback addresses, misbehaving as the
manifest says.

Usage: python -m include.sandbox.services.website_server WEB_DIRECTORY PORT ADDRESS...
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import Counter
from datetime import datetime, timezone
from http import HTTPStatus
from pathlib import Path

from include.sandbox.feed.manifest import ManifestEntry, canonical_target, read_entries
from include.sandbox.services.website_answers import REDIRECTED, Answer, answer_for, plain

_IDLE_SECONDS = 60.0
_SLOW_SECONDS = 1.5
_SLOW_PARTS = 15
_DRIP_SECONDS = 1.0


class Site:
    """The manifest in memory, the count of requests per path, the log and the delay."""

    def __init__(self, web_dir: Path) -> None:
        self.web_dir = web_dir
        self.entries: dict[tuple[str, str], ManifestEntry] = {}
        self.seen: Counter[tuple[str, str]] = Counter()
        self._version: tuple[int, int] | None = None
        self._delay_seen: tuple[int, int] | None = None
        self._delay = 0.0
        log = web_dir / "requests.log"
        if log.exists():
            self._mend(log)
            self._restore_counts(log)
        self._log = log.open("a", encoding="utf-8", buffering=1)  # a write per line

    def entry(self, target: str) -> ManifestEntry | None:
        version = _identity(self.web_dir / "manifest" / "version")
        if version != self._version:
            files = sorted((self.web_dir / "manifest").glob("*.json"))
            self.entries = {canonical_target(entry.target): entry for file in files for entry in read_entries(file)}
            self._version = version
        return self.entries.get(canonical_target(target))

    @property
    def delay(self) -> float:
        """Seconds to wait before each answer, from the control file `delay_ms`."""
        file = self.web_dir / "delay_ms"
        seen = _identity(file)
        if seen != self._delay_seen:
            self._delay = int(file.read_text()) / 1000 if seen else 0.0
            self._delay_seen = seen
        return self._delay

    def log(self, request: Request, status: int, size: int, kind: str) -> None:
        line = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "host": request.host,
            "method": request.method,
            "path": request.target,
            "status": status,
            "bytes": size,
            "agent": request.headers.get("user-agent", ""),
            "kind": kind,
        }
        self._log.write(json.dumps(line) + "\n")

    def _mend(self, log: Path) -> None:
        """Cut off a last line that a crash has left without its end: the next must start on its own."""
        data = log.read_bytes()
        if data and not data.endswith(b"\n"):
            os.truncate(log, data.rfind(b"\n") + 1)

    def _restore_counts(self, log: Path) -> None:
        """A flaky URL that has had its two failures stays fine after a restart."""
        with log.open(encoding="utf-8") as lines:
            for line in lines:
                if '"kind": "flaky"' in line:
                    self.seen[canonical_target(json.loads(line)["path"])] += 1


class Request:
    def __init__(self, head: bytes, host: str) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, self.version = first.split(" ")
        self.host = host
        self.headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if colon:
                self.headers[name.strip().lower()] = value.strip()

    @property
    def keeps_alive(self) -> bool:
        wish = self.headers.get("connection", "").lower()
        return wish != "close" if self.version == "HTTP/1.1" else wish == "keep-alive"


async def converse(site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection until either side closes it."""
    host = writer.get_extra_info("sockname")[0]
    # Clients hang up as they like; that is no event for a server.
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.TimeoutError, TimeoutError):
        while True:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _IDLE_SECONDS)
            try:
                request = Request(head, host)
            except ValueError:
                writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                break
            if not await respond(site, request, writer):
                break
    with contextlib.suppress(ConnectionError):
        writer.close()


async def respond(site: Site, request: Request, writer: asyncio.StreamWriter) -> bool:
    """Send the answer; False when the connection is over after it."""
    if request.target == "/.health":  # not logged: it is ours, not a client's
        await send(request, Answer(200, str(site.web_dir).encode()), writer, keep=False)
        return False
    answer = choose(site, request)
    if site.delay:
        await asyncio.sleep(site.delay)
    keep = request.keeps_alive and not answer.close
    if answer.pace == "at once" or request.method == "HEAD":
        # Logged before it is sent: who has the answer finds it in the log.
        site.log(request, answer.status, 0 if request.method == "HEAD" else len(answer.body), answer.kind)
        await send(request, answer, writer, keep)
    else:
        await send_in_pieces(site, request, answer, writer, keep)
    return keep


def choose(site: Site, request: Request) -> Answer:
    if request.method not in ("GET", "HEAD"):
        return plain(405)
    redirected = request.target.startswith(REDIRECTED + "/")
    target = request.target.removeprefix(REDIRECTED) if redirected else request.target
    entry = site.entry(target)
    if entry is None:
        return plain(404)
    key = canonical_target(request.target)
    answer = answer_for(entry, site.seen[key], request.headers, redirected)
    site.seen[key] += 1
    return answer


def head_of(answer: Answer, keep: bool) -> bytes:
    headers = {"Server": "sandbox", **answer.headers, "Connection": "keep-alive" if keep else "close"}
    if answer.status != HTTPStatus.NOT_MODIFIED:
        headers["Content-Length"] = str(len(answer.body) if answer.declared is None else answer.declared)
    lines = [
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def send(request: Request, answer: Answer, writer: asyncio.StreamWriter, keep: bool) -> None:
    head = head_of(answer, keep)
    writer.write(head if request.method == "HEAD" else head + answer.body)
    await writer.drain()


async def send_in_pieces(
    site: Site, request: Request, answer: Answer, writer: asyncio.StreamWriter, keep: bool
) -> None:
    """Slowly, but complete; or a byte a second until the client gives up. Logged at the end, with the bytes
    sent.
    """
    forever = answer.pace == "drip"
    size = 1 if forever else -(-len(answer.body) // _SLOW_PARTS)
    pause = _DRIP_SECONDS if forever else _SLOW_SECONDS / _SLOW_PARTS
    sent = 0
    try:
        writer.write(head_of(answer, keep))
        while sent < len(answer.body):
            await asyncio.sleep(pause)
            piece = answer.body[sent : sent + size]
            sent += len(piece)
            if sent == len(answer.body):
                break
            writer.write(piece)
            await writer.drain()
            if writer.transport.is_closing():
                raise ConnectionResetError
    finally:
        site.log(request, answer.status, sent, answer.kind)
    writer.write(piece)
    await writer.drain()


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns


async def serve(web_dir: Path, port: int, addresses: list[str]) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    site = Site(web_dir)

    server = await asyncio.start_server(lambda r, w: converse(site, r, w), addresses, port, backlog=512)
    print(f"listening on port {port} of {', '.join(addresses)}", flush=True)
    await stopping.wait()
    server.close()


if __name__ == "__main__":
    os.chdir("/")
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
