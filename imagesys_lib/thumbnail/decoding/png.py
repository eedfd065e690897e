"""PNGs: the chunks that make the picture, and nothing else of the file, for the decoder.

What stands beside the pixels is read here, where it is sound, or left out: no text, time or profile, whatever its
length, checksum or contents, costs the picture. (W3C PNG, third edition.)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from imagesys_lib.thumbnail.decoding.colour import PRIMARIES, matrix_profile
from imagesys_lib.thumbnail.decoding.png_rows import all_rows, complete

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_USED = frozenset((b"PLTE", b"tRNS", b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"eXIf", b"acTL"))
_MOST_COLOURS = 256
_MAX_PROFILE_BYTES = 16 << 20
_SRGB_GAMMA, _TOLERANCE = 1 / 2.2, 0.05
_CURVES = {1: 2.4, 4: 2.2, 5: 2.8, 6: 2.4, 8: 1.0, 13: None, 14: 2.4, 15: 2.4}
"""Of cICP (H.273): exponents, None for sRGB's curve. PQ and HLG would need tone mapping."""


@dataclass
class Png:
    """What a PNG's chunks say. ``data`` are pieces of one zlib stream; ``frame`` is where an animation begins."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool
    data: list[memoryview] = field(default_factory=list)
    beside: dict[bytes, bytes] = field(default_factory=dict)
    """The first sound chunk of each name that is used, before the pixels."""
    starts_animation: bool = False
    frame: tuple[int, int, int, int] | None = None
    """Left, top, width, height on the canvas of an animation whose first frame is not the picture itself."""

    @property
    def is_palette(self) -> bool:
        """Whether pixels are numbers of colours."""
        return self.colour == 3

    @property
    def exif(self) -> bytes | None:
        """A TIFF structure."""
        return self.beside.get(b"eXIf")

    def key(self) -> tuple[int, ...] | None:
        """Return the grey level or colour that is transparent, in samples of ``depth`` bits."""
        count = _CHANNELS[self.colour]
        chunk = self.beside.get(b"tRNS", b"")
        if self.colour not in (0, 2) or len(chunk) < 2 * count:
            return None
        most = 0xFFFF if self.depth == 16 else 0xFF
        return tuple(sample & most for sample in struct.unpack_from(f">{count}H", chunk))

    def profile(self) -> bytes | None:
        """Return what the PNG's colours mean as an ICC profile, None for sRGB: by cICP, iCCP, sRGB or gAMA and cHRM."""
        cicp = self.beside.get(b"cICP", b"")
        if len(cicp) == 4 and cicp[0] in PRIMARIES and cicp[1] in _CURVES and cicp[2:] == b"\0\1":
            return matrix_profile(PRIMARIES[cicp[0]], _CURVES[cicp[1]])
        profile = _inflated_profile(self.beside.get(b"iCCP", b""))
        if profile or self.beside.get(b"sRGB") in (b"\0", b"\1", b"\2", b"\3"):
            return profile
        gamma, around = self.beside.get(b"gAMA", b""), self.beside.get(b"cHRM", b"")
        value = int.from_bytes(gamma[:4], "big") / 100_000
        if len(gamma) != 4 or not value:
            return None
        if len(around) == 32:
            return matrix_profile([at / 100_000 for at in struct.unpack(">8I", around)], 1 / value)
        return None if abs(value / _SRGB_GAMMA - 1) < _TOLERANCE else matrix_profile(PRIMARIES[1], 1 / value)

    def for_decoder(self) -> tuple[bytes, list[int] | None]:
        """Return the picture as a PNG of right checksums and all rows, those that are lost white.

        With it comes how many rows of each pass are real, None if all are. Raises ImageFault if too much is lost:
        ``truncated``, or ``decode_error`` if the data are damaged.
        """
        width, height = (self.width, self.height) if self.frame is None else self.frame[2:]
        header = struct.pack(">IIBBBBB", width, height, self.depth, self.colour, 0, 0, self.interlaced)
        parts = [_SIGNATURE, *_chunk(b"IHDR", header)]
        if self.is_palette:
            palette = self.beside.get(b"PLTE", b"")[: 3 << self.depth]
            palette = palette[: len(palette) // 3 * 3]
            if not palette:
                raise ValueError("no palette")
            # Numbers beyond the palette mean its last colour, as in a browser.
            parts += _chunk(b"PLTE", palette + palette[-3:] * ((1 << self.depth) - len(palette) // 3))
            alpha = self.beside.get(b"tRNS", b"")
            if 0 < len(alpha) <= _MOST_COLOURS:
                parts += _chunk(b"tRNS", alpha[: len(palette) // 3])
        rows = all_rows(width, height, self.depth * _CHANNELS[self.colour], interlaced=self.interlaced)
        stream, known = complete(self.data, rows)
        parts += _chunk(b"IDAT", *stream)
        return b"".join((*parts, *_chunk(b"IEND"))), known


def read_png(data: bytes) -> Png:
    """Read the chunks of a PNG. Raises ValueError if its header or palette is damaged, EOFError if it has none."""
    chunks = _chunks(data)
    first = next(chunks, None)
    if first is None:
        raise EOFError("the file ends within its header")
    png = _header(*first)
    for name, body, sound in chunks:
        if name == b"IEND":
            break
        if name == b"IDAT":
            png.data.append(body)
        elif not png.data:
            _note(png, name, body, sound=sound)
        elif not _first_frame(png, name, body, sound=sound):
            break
    return png


def _note(png: Png, name: bytes, body: memoryview, *, sound: bool) -> None:
    """Keep a chunk that comes before the pixels, if it is sound."""
    if name == b"PLTE" and not sound:
        raise ValueError("the palette's checksum is wrong")
    if name == b"fcTL":
        png.starts_animation = True
    if sound and name in _USED and not (name == b"tRNS" and png.is_palette and b"PLTE" not in png.beside):
        png.beside.setdefault(name, bytes(body))


def _first_frame(png: Png, name: bytes, body: memoryview, *, sound: bool) -> bool:
    """Take the first frame of an animation that the picture itself is no part of; return whether there may be more."""
    if png.starts_animation or len(png.beside.get(b"acTL", b"")) != 8:
        return True  # pixels may follow
    if name == b"fcTL" and sound and len(body) == 26:
        width, height, left, top = struct.unpack_from(">4I", body, 4)
        if png.frame or not (0 < width <= png.width - left and 0 < height <= png.height - top):
            return False
        png.frame = left, top, width, height
        png.data = [memoryview(b"")]  # those of the picture itself are not shown
    elif name == b"fdAT" and png.frame:
        png.data.append(body[4:])
    return True


def _header(name: bytes, body: memoryview, sound: bool) -> Png:
    if name != b"IHDR" or len(body) != 13 or not sound:
        raise ValueError("the header is damaged")
    width, height, depth, colour, compression, method, interlaced = struct.unpack(">IIBBBBB", body)
    if colour not in _CHANNELS or depth not in (1, 2, 4, 8, 16) or compression or method or interlaced > 1:
        raise ValueError("a header of no known kind")
    return Png(width, height, depth, colour, bool(interlaced))


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, bool]]:
    """Yield (name, body, whether its checksum is right); the last body may be cut."""
    view, at = memoryview(data), len(_SIGNATURE)
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(view[at : at + 4], "big")
        name, body = bytes(view[at + 4 : at + 8]), view[at + 8 : end]
        # Pixels have a checksum of their own, which is not looked at either: only what can be seen counts.
        sound = name == b"IDAT" or zlib.crc32(view[at + 4 : end]) == int.from_bytes(view[end : end + 4], "big")
        yield name, body, sound
        at = end + 4


def _chunk(name: bytes, *bodies: bytes | memoryview) -> list[bytes | memoryview]:
    crc = zlib.crc32(name)
    for body in bodies:
        crc = zlib.crc32(body, crc)
    return [struct.pack(">I", sum(map(len, bodies))), name, *bodies, struct.pack(">I", crc)]


def _inflated_profile(chunk: bytes) -> bytes | None:
    """Return the profile of an iCCP chunk that is sound: a name of 1 to 80 bytes, method 0, a whole zlib stream."""
    name, _, rest = chunk.partition(b"\0")
    if not 1 <= len(name) <= 80 or rest[:1] != b"\0":
        return None
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(rest[1:], _MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if inflate.eof else None
