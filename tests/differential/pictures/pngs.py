"""PNGs: every colour type and depth, animations, and damage to what a decoder cannot do without."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from tests.differential.pictures import png_chunks
from tests.differential.pictures.base import BLUE, GREEN, RED, Picture, damaged, encoded, flat, textured
from tests.differential.pictures.png_parts import (
    HEAD,
    IDAT,
    PIXELS,
    START,
    chunk,
    file,
    head,
    packed,
    palette,
    quarters,
    samples,
    typed,
    with_chunks,
)


def _depths() -> Iterator[tuple[str, bytes]]:
    for colour, depths in ((0, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (1, 2, 4, 8)), (4, (8, 16)), (6, (8, 16))):
        for bits in depths:
            yield f"PNG of type {colour}, {bits} bits", typed(colour, bits)
            yield f"PNG of type {colour}, {bits} bits, interlaced", typed(colour, bits, interlaced=True)


def _transparent() -> Iterator[tuple[str, bytes]]:
    for bits in (1, 2, 4, 8, 16):
        for quarter in range(2 if bits == 1 else 3):
            key = struct.pack(">H", *samples(0, bits)[quarter])
            yield f"PNG grey of {bits} bits, tRNS of quarter {quarter}", typed(0, bits, before=chunk(b"tRNS", key))
        spare = struct.pack(">H", samples(0, bits)[1][0] | 0xFF00 if bits < 16 else 0x8000)
        yield f"PNG grey of {bits} bits, tRNS with high bits", typed(0, bits, before=chunk(b"tRNS", spare))
    for bits in (8, 16):
        key = struct.pack(">HHH", *samples(2, bits)[0])
        yield f"PNG RGB of {bits} bits, tRNS", typed(2, bits, before=chunk(b"tRNS", key))
        yield f"PNG RGB of {bits} bits, tRNS, interlaced", typed(2, bits, before=chunk(b"tRNS", key), interlaced=True)
    low = struct.pack(">HHH", *(value + 1 for value in samples(2, 16)[0]))
    yield "PNG RGB of 16 bits, tRNS that differs in a low byte", typed(2, 16, before=chunk(b"tRNS", low))
    for bits in (1, 2, 4, 8):
        yield f"PNG palette of {bits} bits, tRNS", typed(3, bits, before=chunk(b"tRNS", b"\x80\0"))
    for colour, wrong in ((0, b""), (0, b"\0"), (0, bytes(8)), (2, b"\0\1"), (2, bytes(9)), (3, b""), (3, bytes(300))):
        yield f"PNG of type {colour} with {len(wrong)} bytes of tRNS", typed(colour, 8, before=chunk(b"tRNS", wrong))
    for colour in (4, 6):
        yield f"PNG of type {colour} with a tRNS", typed(colour, 8, before=chunk(b"tRNS", bytes(6)))
    early = chunk(b"tRNS", b"\0")
    rows = zlib.compress(packed(quarters(samples(3, 8)), 8))
    table = chunk(b"PLTE", palette(8))
    yield "PNG palette, tRNS before it", file(chunk(b"IHDR", head(8, 3)), early, table, chunk(b"IDAT", rows))
    yield "PNG palette, tRNS behind the pixels", file(chunk(b"IHDR", head(8, 3)), table, chunk(b"IDAT", rows), early)


def _broken() -> Iterator[tuple[str, bytes]]:
    start, end = HEAD, chunk(b"IEND", b"")
    for name, damaged_one in (
        ("IHDR", file(chunk(b"IHDR", head(), damage=1), IDAT)),
        ("IDAT", file(start, chunk(b"IDAT", PIXELS, damage=1))),
        ("IEND", START + start + IDAT + chunk(b"IEND", b"", damage=1)),
    ):
        yield f"PNG with a wrong CRC of {name}", damaged_one
    adler = PIXELS[:-1] + bytes((PIXELS[-1] ^ 1,))
    yield "PNG with a wrong Adler-32", file(start, chunk(b"IDAT", adler))
    yield "PNG without its Adler-32", file(start, chunk(b"IDAT", PIXELS[:-4]))
    yield "PNG with half its Adler-32", file(start, chunk(b"IDAT", PIXELS[:-2]))
    yield "PNG with bytes behind its stream", file(start, chunk(b"IDAT", PIXELS + b"noise"))
    yield "PNG with another IDAT behind its stream", file(start, IDAT, chunk(b"IDAT", b"noise"))
    yield "PNG with an empty IDAT first", file(start, chunk(b"IDAT", b""), IDAT)
    yield "PNG with an empty IDAT last", file(start, IDAT, chunk(b"IDAT", b""))
    some = [chunk(b"IDAT", PIXELS[at : at + 100]) for at in range(0, len(PIXELS), 100)]
    yield "PNG in many IDATs", file(start, *some)
    yield (
        "PNG in many IDATs, one with a wrong CRC",
        file(start, *some[:50], chunk(b"IDAT", PIXELS[5000:5100], damage=1), *some[51:]),
    )
    yield "PNG with a text between its IDATs", file(start, *some[:50], chunk(b"tEXt", b"C\0hello"), *some[50:])
    yield "PNG in one-byte IDATs", file(start, *[chunk(b"IDAT", PIXELS[n : n + 1]) for n in range(len(PIXELS))])
    yield "PNG without IEND", START + start + IDAT
    yield "PNG with its end before its pixels", START + start + end + IDAT
    yield "PNG without pixels", file(start)
    yield "PNG with its head twice", file(start, start, IDAT)
    yield "PNG with a text before its head", file(chunk(b"tEXt", b"C\0hello"), start, IDAT)
    yield "PNG with a head of 12 bytes", file(chunk(b"IHDR", head()[:12]), IDAT)
    yield "PNG with a head of 14 bytes", file(chunk(b"IHDR", head() + b"\0"), IDAT)
    for name, width, height in (("0 wide", 0, 192), ("0 high", 240, 0), ("2^31 wide", 1 << 31, 192)):
        yield f"PNG {name}", file(chunk(b"IHDR", head(width=width, height=height)), IDAT)
    yield "PNG twice as high as its pixels", file(chunk(b"IHDR", head(height=384)), IDAT)
    yield "PNG a row higher than its pixels", file(chunk(b"IHDR", head(height=193)), IDAT)
    yield "PNG half as high as its pixels", file(chunk(b"IHDR", head(height=96)), IDAT)
    for name, at in (
        ("bit depth 3", 8),
        ("colour type 5", 9),
        ("compression 1", 10),
        ("filter method 1", 11),
        ("interlace 2", 12),
    ):
        wrong = head()[:at] + {8: b"\3", 9: b"\5", 12: b"\2"}.get(at, b"\1") + head()[at + 1 :]
        yield f"PNG of {name}", file(chunk(b"IHDR", wrong), IDAT)
    rows = bytearray(zlib.decompress(PIXELS))
    for share in (50, 95):
        rows[721 * (192 * share // 100)] = 9
        yield f"PNG with an unknown filter at {share} %", file(start, chunk(b"IDAT", zlib.compress(bytes(rows))))
        rows[721 * (192 * share // 100)] = 0
    yield "PNG with a small window", file(start, chunk(b"IDAT", b"\x08\x1d" + PIXELS[2:]))
    yield "PNG with a wrong zlib header", file(start, chunk(b"IDAT", b"\x78\x00" + PIXELS[2:]))
    yield "PNG whose line ends were changed", with_chunks().replace(b"\r\n", b"\n", 1)
    yield "PNG with a palette too short", file(
        chunk(b"IHDR", head(8, 3)), chunk(b"PLTE", bytes((*RED, *GREEN, *BLUE))),
        chunk(b"IDAT", zlib.compress(packed(quarters(samples(3, 8)), 8))),
    )  # fmt: skip
    yield (
        "PNG without its palette",
        file(chunk(b"IHDR", head(8, 3)), chunk(b"IDAT", zlib.compress(packed(quarters(samples(3, 8)), 8)))),
    )


def _animated() -> Iterator[tuple[str, bytes]]:
    def control(number: int, width: int = 240, height: int = 192, left: int = 0, top: int = 0) -> bytes:
        return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, left, top, 10, 1, 0, 0))

    other = zlib.compress(b"".join(b"\0" + row.tobytes() for row in np.asarray(flat().rotate(180))))
    two, frame = chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"fdAT", struct.pack(">I", 2) + other)
    yield "PNG animated", file(HEAD, two, control(0), IDAT, control(1), frame)
    yield (
        "PNG animated, its first picture not part of it",
        file(
            HEAD,
            chunk(b"acTL", struct.pack(">II", 1, 0)),
            IDAT,
            control(0),
            chunk(b"fdAT", struct.pack(">I", 1) + other),
        ),
    )
    yield "PNG animated, frames in the wrong order", file(HEAD, two, control(5), IDAT, control(1), frame)
    yield "PNG animated, one frame missing", file(HEAD, two, control(0), IDAT)
    yield "PNG animated, no frames announced", file(HEAD, chunk(b"acTL", bytes(8)), control(0), IDAT)
    yield "PNG animated, a frame outside", file(HEAD, two, control(0), IDAT, control(1, left=100), frame)
    yield "PNG animated, a first frame that is small", file(HEAD, two, control(0, 120, 96), IDAT, control(1), frame)
    yield "PNG animated, control of 3 bytes", file(HEAD, two, chunk(b"fcTL", b"abc"), IDAT)
    yield "PNG animated, last frame cut", file(HEAD, two, control(0), IDAT, control(1), frame)[:-2000]


def pictures() -> Iterator[Picture]:
    """All PNGs."""
    yield from damaged("PNG RGB", with_chunks())
    yield from damaged("PNG by Pillow", encoded(textured(), "PNG"))
    yield from damaged("PNG palette", encoded(textured().quantize(64), "PNG"))
    yield from damaged("PNG interlaced", file(
        chunk(b"IHDR", head(interlaced=1)),
        chunk(b"IDAT", zlib.compress(packed(np.asarray(textured()).astype(np.uint16), 8, interlaced=True))),
    ))  # fmt: skip
    for name, data in (*_depths(), *_transparent(), *png_chunks.pictures(), *_animated()):
        yield Picture(name, data)
    for name, data in _broken():
        yield Picture(name, data, "PNG RGB")
