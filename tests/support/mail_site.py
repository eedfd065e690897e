"""A mail server that does as it is told: refuses recipients, talks without end, falls silent or hangs up."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

OK = b"250 ok\r\n"


@dataclass
class MailSite:
    """``replies``: what it says to a recipient (``RCPT``), by address, or to a command; b"" hangs up.

    ``taken``: each mail as (recipients, text) once it was taken.
    """

    replies: dict[str, bytes] = field(default_factory=dict)
    taken: list[tuple[list[str], str]] = field(default_factory=list)
    port: int = 0
    drip_seconds: float = 0.0

    def got(self, address: str) -> int:
        """Count the mails that somebody has got."""
        return sum(address in to for to, _ in self.taken)

    def reply(self, key: str, default: bytes) -> bytes:
        """What it says."""
        return self.replies.get(key, default)


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.site: MailSite = self.server.site  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):
            self.talk()

    def say(self, reply: bytes) -> None:
        if not reply:
            raise ConnectionResetError
        if self.site.drip_seconds:
            for byte in reply:
                self.wfile.write(bytes([byte]))
                time.sleep(self.site.drip_seconds)
        else:
            self.wfile.write(reply)

    def talk(self) -> None:
        self.say(self.site.reply("greeting", b"220 here\r\n"))
        to: list[str] = []
        for line in self.rfile:
            command = line.split()[0].upper().decode()
            if command == "RCPT":
                address = line.partition(b"<")[2].partition(b">")[0].decode()
                reply = self.site.reply(address, OK)
                to += [address] if reply.startswith(b"250") else []
                self.say(reply)
            elif command == "DATA":
                self.data(to)
                to = []
            elif command == "QUIT":
                return
            else:
                self.say(self.site.reply(command, OK))

    def data(self, to: list[str]) -> None:
        reply = self.site.reply("DATA", b"354 go on\r\n")
        self.say(reply)
        if not reply.startswith(b"354"):
            return
        if self.site.reply("body", OK) == b"":
            self.rfile.readline()
            raise ConnectionResetError
        lines = []
        for line in self.rfile:
            if line == b".\r\n":
                break
            lines.append(line)
        reply = self.site.reply("body", OK)
        if reply.startswith(b"250"):
            self.site.taken.append((to, b"".join(lines).decode()))
        self.say(reply)


@contextlib.contextmanager
def mail_site(**replies: bytes) -> Iterator[MailSite]:
    """Run one on a port of its own."""
    site = MailSite(dict(replies))

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        site: MailSite

    with Server(("127.0.0.1", 0), _Handler) as server:
        server.site, site.port = site, server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
