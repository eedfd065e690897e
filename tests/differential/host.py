"""The host that both are shown: pictures, raw answers, and a photo for whatever else it is asked."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from itertools import groupby

from tests.differential.answers.base import answer
from tests.support.raw_host import RawHost
from tests.support.site import Answer, raw, whole

_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WebP": "image/webp",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "SVG": "image/svg+xml",
    "ICO": "image/x-icon",
    "HTML": "text/html",
}
_COUNTED = re.compile(r"/case/\d+/(\d+)$")


class Host(RawHost):
    """It remembers what it was asked for. ``page`` is the URL of an empty page of it."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.otherwise = _countdown
        self.page = self.put("/page", _typed(b"<!doctype html>", "text/html; charset=utf-8"))

    def put_picture(self, number: int, name: str, data: bytes) -> str:
        """Show a picture by the type of its format; returns its URL."""
        return self.put(
            f"/picture/{number}", _typed(data, _TYPES.get(name.partition(" ")[0], "application/octet-stream"))
        )

    def put_answer(self, number: int, data: bytes, other: RawHost) -> str:
        """Give a raw answer and close the connection; returns its URL."""
        for mark, text in ((b"{HERE}", self.host), (b"{OTHER}", other.host), (b"{PORT}", self.port), (b"{N}", number)):
            data = data.replace(mark, str(text).encode())
        return self.put(f"/case/{number}/first", raw(data))

    def filled(self, url: str, number: int) -> str:
        """Return a URL whose marks are replaced."""
        return url.replace("{HERE}", self.host).replace("{PORT}", str(self.port)).replace("{N}", str(number))

    @contextlib.contextmanager
    def listening(self) -> Iterator[Callable[[], list[str]]]:
        """Yield what tells the request targets since; one that is asked for again at once counts once."""
        since = len(self.asked)
        yield lambda: [
            path for path, _ in groupby(one.path for one in self.asked[since:] if one.path != "/favicon.ico")
        ]


def _typed(data: bytes, kind: str) -> Answer:
    def kept(sock: socket.socket, _path: str) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\nContent-Type: {kind}\r\n\r\n"
        sock.sendall(head.encode() + data)

    return kept


def _countdown(sock: socket.socket, path: str) -> None:
    """A photo, or where the path ends in a number above 0 a redirect to the next lower one."""
    left = _COUNTED.match(path)
    if left and left[1] != "0":
        whole(b"", f"Location: {int(left[1]) - 1}", status="302 X")(sock, path)
    else:
        sock.sendall(answer(b"Content-Type: image/jpeg"))


_countdown.__name__ = "kept"
