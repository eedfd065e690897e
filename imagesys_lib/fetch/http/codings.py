"""Content codings, undone here under caps: curl would inflate layer in layer, without an end, inside one call.

As Chromium does it: where a header names anything that is no coding (``base64``, ``UTF-8``, ``aws-chunked``), the body
is taken as it is. What follows a stream's end is passed over, its checksum and length are not looked at, and a stream
that is cut gives what it has.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable

from imagesys_lib.images.reasons import ImageFault

MAX_LAYERS = 2
_INFLATED = frozenset({"gzip", "x-gzip", "deflate"})
_KNOWN = _INFLATED | {"br", "zstd"}
_SLICE = 4096  # bytes inflated at once: at most some 4 MB come out
_MOST_CPU = 0.4  # seconds a layer, all in all: 32 MB take 0.1, and the fetcher does nothing else meanwhile
_LONGEST_HEADER = 65_536  # bytes; a file's name and a comment may be there
_EXTRA, _NAME, _COMMENT, _CRC = 4, 8, 16, 2  # RFC 1952, 2.3.1


class BodyDecoder:
    """Undoes the codings of one body, no more than ``most`` bytes in any layer. Raises ImageFault, without a host."""

    def __init__(self, header: str, most: int) -> None:
        names = [name.strip(" \t").lower() for name in header.split(",")]
        if not _KNOWN.issuperset(names):
            names = []
        if len(names) > MAX_LAYERS:
            raise ImageFault("protocol", f"{len(names)} content codings, at most {MAX_LAYERS} are undone")
        if wrong := sorted(set(names) - _INFLATED):
            raise ImageFault("protocol", f"content coding {', '.join(wrong)}, though none was asked for")
        self._layers = [_Layer(name, most) for name in reversed(names)]

    @property
    def at_end(self) -> bool:
        """Whether a stream has ended, so that what still comes means nothing."""
        return any(layer.at_end for layer in self._layers)

    def decoded(self, data: bytes) -> Iterable[bytes]:
        """Yield what ``data``, the next bytes of the body, comes to."""
        pieces: Iterable[bytes] = (data,)
        for layer in self._layers:
            pieces = layer.inflated(pieces)
        return pieces


class _Layer:
    def __init__(self, name: str, most: int) -> None:
        self._name, self._left, self._cpu_left = name, most, _MOST_CPU
        self._head: bytes | None = b""  # None once the header is read
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def at_end(self) -> bool:
        return self._stream.eof

    def inflated(self, pieces: Iterable[bytes]) -> Iterable[bytes]:
        for piece in pieces:
            data = piece if self._head is None else self._without_header(self._head + piece)
            for start in range(0, len(data), _SLICE):
                if self._stream.eof:
                    return
                began = time.thread_time()
                try:
                    out = self._stream.decompress(data[start : start + _SLICE])
                except zlib.error as error:
                    raise ImageFault("protocol", f"content coding {self._name}: {error}") from None
                self._cpu_left -= time.thread_time() - began
                if self._cpu_left < 0:  # blocks that are all tables and no data
                    raise ImageFault("too_large", f"content coding {self._name}: it takes too long to undo")
                self._left -= len(out)
                if self._left < 0:
                    raise ImageFault("too_large", f"content coding {self._name}: more than allowed comes out")
                if out:
                    yield out

    def _without_header(self, data: bytes) -> bytes:
        """Return what follows the header; nothing while it is not there as a whole."""
        end = _gzip_header(data) if "gzip" in self._name else _zlib_header(data)
        if end is None and len(data) > _LONGEST_HEADER:
            raise ImageFault("protocol", f"content coding {self._name}: an endless header")
        self._head = data if end is None else None
        return b"" if end is None else data[end:]


def _gzip_header(data: bytes) -> int | None:
    """Return a gzip header's length, or None while it is not complete (RFC 1952, 2.3)."""
    if not b"\x1f\x8b\x08".startswith(data[:3]):
        raise ImageFault("protocol", "a body that is called gzip and is not")
    if len(data) < 12:
        return None
    flags, end = data[3], 10
    if flags & _EXTRA:
        end += 2 + int.from_bytes(data[10:12], "little")
    for flag in (_NAME, _COMMENT):
        if flags & flag:
            end = data.find(b"\0", end) + 1
            if not end:
                return None
    end += 2 if flags & _CRC else 0
    return end if end <= len(data) else None


def _zlib_header(data: bytes) -> int | None:
    """Return the length of zlib's header: many send deflate without one (RFC 9110, 8.4.1.2)."""
    if len(data) < 2:
        return None
    return 2 if data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0 else 0
