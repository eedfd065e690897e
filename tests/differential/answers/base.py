"""What all generated answers share."""

from __future__ import annotations

from tests.differential.pictures.base import encoded, flat

JPEG = encoded(flat(200, 160), "JPEG", quality=92)
SIZED = b"Content-Length: %d\r\n\r\n%b" % (len(JPEG), JPEG)


def answer(*lines: bytes, status: bytes = b"200 OK", body: bytes = JPEG, length: int | None = None) -> bytes:
    """A whole answer with its length; ``length`` may lie."""
    size = len(body) if length is None else length
    return unsized(*lines, b"Content-Length: %d" % size, status=status, body=body)


def unsized(*lines: bytes, status: bytes = b"200 OK", body: bytes = JPEG) -> bytes:
    """A whole answer with these header lines alone."""
    return b"\r\n".join((b"HTTP/1.1 " + status, *lines)) + b"\r\n\r\n" + body
