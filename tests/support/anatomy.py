"""Where a picture file keeps its blocks, lengths and sizes: what a corpus of damaged files must know to lie well.

Offsets are bytes from the beginning of the file. Nothing here decodes, and none of it fails on a damaged file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Field:
    """A number in a file: ``size`` bytes at ``at``."""

    at: int
    size: int
    order: str  # "big" or "little"
    what: str  # "length" of a block, "dimension" of the picture, "count", "offset"


@dataclass
class Anatomy:
    """The numbers worth lying about, and the blocks (first byte, byte after the last) worth moving about."""

    fields: list[Field] = field(default_factory=list)
    blocks: list[tuple[int, int]] = field(default_factory=list)


def anatomy(kind: str, data: bytes) -> Anatomy:
    """Return the anatomy of a file of Pillow's format ``kind``; empty where nothing is recognised."""
    found = Anatomy()
    _READERS[kind](data, found)
    found.fields = [one for one in found.fields if one.at + one.size <= len(data)]
    found.blocks = [(start, end) for start, end in found.blocks if start < end <= len(data)]
    return found


def with_value(data: bytes, one: Field, value: int) -> bytes:
    """Return the file with another value, cut to its width, in one field."""
    number = (value % (1 << 8 * one.size)).to_bytes(one.size, one.order)  # type: ignore[arg-type]
    return data[: one.at] + number + data[one.at + one.size :]


def with_png_sums(data: bytes) -> bytes:
    """Return a PNG whose chunks carry right checksums, so that what lies in them is believed."""
    mended = bytearray(data)
    for start, end in _png_chunks(data):
        mended[end - 4 : end] = struct.pack(">I", zlib.crc32(data[start + 4 : end - 4]))
    return bytes(mended)


def _jpeg(data: bytes, found: Anatomy) -> None:
    """ISO/IEC 10918-1, annex B: markers, each but a few with a length."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xD9:
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        found.fields.append(Field(at + 2, 2, "big", "length"))
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            found.fields += [Field(at + 5, 2, "big", "dimension"), Field(at + 7, 2, "big", "dimension")]
            found.fields += [Field(at + 4, 1, "big", "count"), Field(at + 9, 1, "big", "count")]
            found.fields += [Field(at + 10 + n, 1, "big", "count") for n in range(9)]
        elif marker in (0xC4, 0xDB, 0xDD, 0xDA):
            found.fields += [Field(at + 4 + n, 1, "big", "count") for n in range(min(17, length))]
        end = at + 2 + length
        if marker == 0xDA:  # a scan's data reach to the next marker that is no restart and no stuffed zero
            while end + 1 < len(data) and not (data[end] == 0xFF and data[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
        found.blocks.append((at, end))
        at = end


def _png_chunks(data: bytes) -> Iterator[tuple[int, int]]:
    at = 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            return
        yield at, end
        at = end


def _png(data: bytes, found: Anatomy) -> None:
    """W3C PNG, 5.3: length, name, data, checksum."""
    for start, end in _png_chunks(data):
        found.blocks.append((start, end))
        found.fields.append(Field(start, 4, "big", "length"))
        if data[start + 4 : start + 8] == b"IHDR":
            found.fields += [Field(start + 8, 4, "big", "dimension"), Field(start + 12, 4, "big", "dimension")]
            found.fields += [Field(start + 16 + n, 1, "big", "count") for n in range(5)]
        elif data[start + 4 : start + 8] in (b"acTL", b"fcTL"):
            found.fields += [Field(at, 4, "big", "count") for at in range(start + 8, end - 7, 4)]


def _gif(data: bytes, found: Anatomy) -> None:
    """GIF89a, 18 to 26: the screen, then blocks of sub-blocks."""
    found.fields += [Field(6, 2, "little", "dimension"), Field(8, 2, "little", "dimension")]
    found.fields += [Field(10, 1, "little", "count"), Field(11, 1, "little", "count")]
    at = 13 + (3 << (data[10] & 7) + 1 if len(data) > 10 and data[10] & 0x80 else 0)
    while at + 2 <= len(data):
        start = at
        if data[at] == 0x2C and at + 10 <= len(data):
            found.fields += [Field(at + n, 2, "little", "dimension") for n in (1, 3, 5, 7)]
            found.fields += [Field(at + 9, 1, "little", "count"), Field(at + 10, 1, "little", "count")]
            at += 11 + (3 << (data[at + 9] & 7) + 1 if data[at + 9] & 0x80 else 0)
        elif data[at] == 0x21:
            at += 2
        else:
            return
        while at < len(data) and data[at]:
            if len(found.fields) < 200:
                found.fields.append(Field(at, 1, "little", "length"))
            at += 1 + data[at]
        at += 1
        found.blocks.append((start, at))


def _webp(data: bytes, found: Anatomy) -> None:
    """RFC 9649: RIFF chunks, padded to even lengths."""
    found.fields.append(Field(4, 4, "little", "length"))
    at = 12
    while at + 8 <= len(data):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        found.fields.append(Field(at + 4, 4, "little", "length"))
        if name == b"VP8X":
            found.fields += [Field(at + 12, 3, "little", "dimension"), Field(at + 15, 3, "little", "dimension")]
            found.fields.append(Field(at + 8, 1, "little", "count"))
        elif name == b"VP8 ":
            found.fields += [Field(at + 14, 2, "little", "dimension"), Field(at + 16, 2, "little", "dimension")]
            found.fields.append(Field(at + 8, 3, "little", "count"))
        elif name == b"VP8L":
            found.fields.append(Field(at + 9, 4, "little", "dimension"))
        elif name == b"ANMF":
            found.fields += [Field(at + 8 + n, 3, "little", "dimension") for n in (0, 3, 6, 9)]
        end = at + 8 + length + (length & 1)
        found.blocks.append((at, end))
        at = end


_BOXES_OF_BOXES = {b"meta": 4, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"iprp": 0, b"ipco": 0}


def _avif(data: bytes, found: Anatomy) -> None:
    """ISO/IEC 14496-12, 4.2: boxes, some of them full of boxes."""
    _boxes(data, 0, len(data), found)


def _boxes(data: bytes, at: int, stop: int, found: Anatomy) -> None:
    while at + 8 <= stop:
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        found.fields.append(Field(at, 4, "big", "length"))
        end = at + length
        if length < 8 or end > stop:
            return
        found.blocks.append((at, end))
        if name in _BOXES_OF_BOXES:
            _boxes(data, at + 8 + _BOXES_OF_BOXES[name], end, found)
        elif name == b"ispe":
            found.fields += [Field(at + 12, 4, "big", "dimension"), Field(at + 16, 4, "big", "dimension")]
        elif name in (b"iloc", b"iinf", b"ipma", b"stsz", b"stco", b"stsc", b"iref"):
            found.fields += [Field(place, 4, "big", "offset") for place in range(at + 8, min(end, at + 88) - 3, 2)]
        elif name in (b"av1C", b"pixi", b"pitm", b"irot", b"imir", b"colr", b"tkhd"):
            found.fields += [Field(place, 1, "big", "count") for place in range(at + 8, min(end, at + 40))]
        at = end


def _bmp(data: bytes, found: Anatomy) -> None:
    """BITMAPFILEHEADER and BITMAPINFOHEADER of the Windows API."""
    found.fields += [
        Field(2, 4, "little", "length"),
        Field(10, 4, "little", "offset"),
        Field(14, 4, "little", "length"),
    ]
    small = data[14:18] == b"\x0c\0\0\0"
    width = 2 if small else 4
    found.fields += [Field(18, width, "little", "dimension"), Field(18 + width, width, "little", "dimension")]
    after = 18 + 2 * width
    found.fields += [Field(after + n, 2, "little", "count") for n in (0, 2)]
    if not small:
        found.fields += [Field(after + n, 4, "little", "count") for n in (4, 8, 20, 24)]
    found.blocks += [(0, 14), (14, after), (after, len(data) // 2), (len(data) // 2, len(data))]


_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def _tiff(data: bytes, found: Anatomy) -> None:
    """TIFF 6.0, section 2, and BigTIFF: directories of entries, chained by offsets."""
    order = "little" if data[:2] == b"II" else "big"
    big = 43 in data[2:4]
    word = 8 if big else 4

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)  # type: ignore[arg-type]

    pointer, seen = (8 if big else 4), set()
    while pointer + word <= len(data) and len(seen) < 8:
        found.fields.append(Field(pointer, word, order, "offset"))
        at = number(pointer, word)
        if at in seen or not 0 < at < len(data):
            return
        seen.add(at)
        head, entry = (8, 20) if big else (2, 12)
        found.fields.append(Field(at, head, order, "count"))
        for n in range(min(number(at, head), 64)):
            place = at + head + entry * n
            found.fields += [Field(place, 2, order, "count"), Field(place + 2, 2, order, "count")]
            found.fields += [Field(place + 4, word, order, "length"), Field(place + 4 + word, word, order, "offset")]
            found.blocks.append((place, place + entry))
            if number(place, 2) in (256, 257):
                short = number(place + 2, 2) == 3
                found.fields.append(Field(place + 4 + word, 2 if short else 4, order, "dimension"))
            size = _TIFF_SIZES.get(number(place + 2, 2), 1) * number(place + 4, word)
            if word < size <= len(data):
                start = number(place + 4 + word, word)
                found.blocks.append((start, start + size))
        pointer = at + head + entry * number(at, head)


_READERS: dict[str, Callable[[bytes, Anatomy], None]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "WEBP": _webp,
    "AVIF": _avif,
    "BMP": _bmp,
    "TIFF": _tiff,
}
