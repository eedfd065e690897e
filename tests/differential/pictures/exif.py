"""EXIF data, well and ill: what turns a picture and what does not. Shared by the formats that hold EXIF."""

from __future__ import annotations

import struct
from collections.abc import Iterator


def tiff(orientation: int = 6, *, order: str = "<", kind: int = 3, count: int = 1, entries: int = 1) -> bytes:
    """A TIFF header and a directory with the orientation (EXIF 2.3, 4.6.4) alone."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + {1: "Bxxx", 3: "Hxx", 4: "I", 9: "i"}.get(kind, "Hxx"), orientation)
    entry = struct.pack(order + "HHI", 0x0112, kind, count) + value
    return mark + struct.pack(order + "IH", 8, entries) + entry + bytes(4)


def _long(order: str) -> bytes:
    """Four other tags before the orientation, and one behind it."""
    tags = [(0x010E, 2, 4, b"abc\0"), (0x010F, 2, 4, b"def\0"), (0x0110, 2, 4, b"ghi\0")]
    tags += [(0x0112, 3, 1, struct.pack(order + "Hxx", 6)), (0x0131, 2, 4, b"jkl\0")]
    body = b"".join(struct.pack(order + "HHI", tag, kind, count) + value for tag, kind, count, value in tags)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IH", 8, len(tags)) + body + bytes(4)


def _second_directory() -> bytes:
    """The orientation stands in the second directory, the thumbnail's."""
    first = struct.pack("<H", 1) + struct.pack("<HHI4s", 0x010F, 2, 4, b"def\0") + struct.pack("<I", 26)
    return b"II*\0" + struct.pack("<I", 8) + first + struct.pack("<HHHIHxxI", 1, 0x0112, 3, 1, 6, 0)


def _far() -> bytes:
    """The directory lies behind 100 bytes of filling."""
    return b"II*\0" + struct.pack("<I", 108) + bytes(100) + tiff()[8:]


def odd() -> Iterator[tuple[str, bytes]]:
    """(name, TIFF data without the ``Exif`` mark) of what is out of the ordinary."""
    yield "orientation 0", tiff(0)
    yield "orientation 9", tiff(9)
    yield "orientation 6, big-endian", tiff(6, order=">")
    yield "orientation 6 among others", _long("<")
    yield "orientation 6 among others, big-endian", _long(">")
    yield "orientation 6 as a long", tiff(6, kind=4)
    yield "orientation 6 as a byte", tiff(6, kind=1)
    yield "orientation 6 as a signed long", tiff(6, kind=9)
    yield "orientation 6 as text", tiff(6, kind=2)
    yield "orientation 6 twice", tiff(6, count=2)
    yield "orientation 6 nought times", tiff(6, count=0)
    yield "orientation 6, then more entries than there are", tiff(6, entries=500)
    yield "orientation 6 in the second directory", _second_directory()
    yield "orientation 6 in a far directory", _far()
    yield "orientation 6, cut behind the value", tiff(6)[:-4]
    yield "orientation 6, cut in the value", tiff(6)[:-7]
    yield "orientation 6, cut in the entry", tiff(6)[:-10]
    yield "a directory beyond the end", b"II*\0" + struct.pack("<I", 4000) + tiff(6)[8:]
    yield "a directory at 0", b"II*\0" + bytes(4) + tiff(6)[8:]
    yield "no entry", b"II*\0" + struct.pack("<IHI", 8, 0, 0)
    yield "a wrong magic number", b"II+\0" + tiff(6)[4:]
    yield "an unknown byte order", b"XX*\0" + tiff(6)[4:]
    yield "nothing", b""
    yield "a few bytes", b"II"
    yield "noise", bytes(range(200))
