"""BMPs: every depth, header and compression, and damage."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np

from tests.differential.pictures.base import BLUE, GREEN, RED, SIZE, YELLOW, Picture, damaged, encoded, flat, textured

_WIDTH, _HEIGHT = SIZE
_INDEX = (np.arange(_HEIGHT)[:, None] // 96 * 2 + np.arange(_WIDTH)[None, :] // 120).astype(np.uint8)
_TABLE = b"".join(bytes((*colour[::-1], 0)) for colour in (RED, GREEN, BLUE, YELLOW))
_RGB = np.asarray(flat()).astype(np.uint32)


def bmp(
    bits: int,
    rows: bytes,
    *,
    compression: int = 0,
    masks: Sequence[int] = (),
    table: bytes = b"",
    header: int = 40,
    height: int = _HEIGHT,
    extra: bytes = b"",
    offset: int | None = None,
    colours: int = 0,
) -> bytes:
    """A file; ``masks`` lie in the header where that has room for them, else behind it."""
    info = struct.pack("<IiiHHIIiiII", header, _WIDTH, height, 1, bits, compression, len(rows), 2835, 2835, colours, 0)
    words = struct.pack(f"<{len(masks)}I", *masks)
    body = (info + words + extra).ljust(header, b"\0") if header > 40 else info + words
    start = 14 + len(body) + len(table)
    size = start + len(rows)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, start if offset is None else offset) + body + table + rows


def bottom_up(rows: np.ndarray) -> bytes:
    """Rows from the last to the first, each padded to four bytes."""
    flat_rows = rows.reshape(rows.shape[0], -1).view(np.uint8)
    return np.pad(flat_rows, ((0, 0), (0, -flat_rows.shape[1] % 4)))[::-1].tobytes()


def top_down(rows: np.ndarray) -> bytes:
    return bottom_up(rows[::-1])


def indexed(bits: int) -> np.ndarray:
    ones = ((_INDEX & (1 << bits) - 1)[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(ones.astype(np.uint8).reshape(_HEIGHT, -1), axis=1)


def masked(masks: Sequence[int], bits: int, alpha: int = 255) -> np.ndarray:
    """Pixels of the quarters as bit fields."""
    words = np.zeros((_HEIGHT, _WIDTH), np.uint32)
    for number, mask in enumerate(masks):
        if not mask:
            continue
        shift, width = (mask & -mask).bit_length() - 1, bin(mask).count("1")
        values = _RGB[:, :, number] if number < 3 else np.full_like(words, alpha)
        scaled = values.astype(np.uint64) * ((1 << width) - 1) // 255
        words |= (scaled << np.uint64(shift)).astype(np.uint32)
    return words.astype("<u2") if bits == 16 else words.astype("<u4")


def runs(*, end: bool = True, lines: int = _HEIGHT, absolute: bool = False, four: bool = False) -> bytes:
    """BI_RLE8 or BI_RLE4 codes of the quarters."""
    codes = bytearray()
    for y in reversed(range(_HEIGHT - lines, _HEIGHT)):
        for half in (0, 1):
            value = int(_INDEX[y, half * 120])
            value = value << 4 | value if four else value
            if absolute:
                codes += bytes((0, 120)) + bytes((value,)) * (60 if four else 120)
            else:
                codes += bytes((120, value))
        codes += b"\0\0"
    return bytes(codes) + (b"\0\1" if end else b"")


def _depths() -> Iterator[tuple[str, bytes]]:
    rgb = np.asarray(flat())[:, :, ::-1].copy()
    for bits in (1, 4, 8):
        yield (
            f"BMP of {bits} bits",
            bmp(bits, bottom_up(indexed(bits)), table=_TABLE[: 4 << bits].ljust(4 << bits, b"\0")),
        )
        yield (
            f"BMP of {bits} bits, top down",
            bmp(bits, top_down(indexed(bits)), table=_TABLE[: 4 << bits].ljust(4 << bits, b"\0"), height=-_HEIGHT),
        )
    yield "BMP of 2 bits", bmp(2, bottom_up(indexed(2)), table=_TABLE)
    yield "BMP of 8 bits, 4 colours used", bmp(8, bottom_up(indexed(8)), table=_TABLE, colours=4)
    yield "BMP of 8 bits, 300 colours used", bmp(8, bottom_up(indexed(8)), table=_TABLE.ljust(1200, b"\0"), colours=300)
    yield "BMP of 24 bits, top down", bmp(24, top_down(rgb), height=-_HEIGHT)
    yield "BMP of 24 bits with a palette", bmp(24, bottom_up(rgb), table=_TABLE, colours=4)
    five = masked((0x7C00, 0x3E0, 0x1F), 16)
    yield "BMP of 16 bits", bmp(16, bottom_up(five))
    for alpha in (0, 128, 255):
        four = np.dstack([rgb, np.full((_HEIGHT, _WIDTH), alpha, np.uint8)])
        yield f"BMP of 32 bits, fourth byte {alpha}", bmp(32, bottom_up(four))
        yield f"BMP of 32 bits, fourth byte {alpha}, V4", bmp(32, bottom_up(four), header=108)
        yield f"BMP of 32 bits, fourth byte {alpha}, V5", bmp(32, bottom_up(four), header=124)
    core = struct.pack("<IHHHH", 12, _WIDTH, _HEIGHT, 1, 24)
    yield "BMP of OS/2, 24 bits", b"BM" + struct.pack("<IHHI", 0, 0, 0, 26) + core + bottom_up(rgb)
    table = b"".join(bytes(colour[::-1]) for colour in (RED, GREEN, BLUE, YELLOW)).ljust(768, b"\0")
    core = struct.pack("<IHHHH", 12, _WIDTH, _HEIGHT, 1, 8)
    yield "BMP of OS/2, 8 bits", b"BM" + struct.pack("<IHHI", 0, 0, 0, 794) + core + table + bottom_up(indexed(8))
    yield "BMP of OS/2 2, 24 bits", bmp(24, bottom_up(rgb), header=64)


_FIELDS = {
    "565": (16, (0xF800, 0x7E0, 0x1F)),
    "555": (16, (0x7C00, 0x3E0, 0x1F)),
    "444": (16, (0xF00, 0xF0, 0xF)),
    "4444": (16, (0xF00, 0xF0, 0xF, 0xF000)),
    "1555": (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
    "888 as usual": (32, (0xFF0000, 0xFF00, 0xFF)),
    "888 reversed": (32, (0xFF, 0xFF00, 0xFF0000)),
    "888 high": (32, (0xFF000000, 0xFF0000, 0xFF00)),
    "10 bits": (32, (0x3FF00000, 0xFFC00, 0x3FF)),
    "8888": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    "8888 reversed": (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    "of 3 3 2": (16, (0xE0, 0x1C, 0x3)),
    "without green": (32, (0xFF0000, 0, 0xFF)),
    "of 0": (32, (0, 0, 0)),
    "with a gap": (32, (0xFE00FF, 0xFF00, 0xFF000000)),
}


def _bit_fields() -> Iterator[tuple[str, bytes]]:
    for name, (bits, masks) in _FIELDS.items():
        rows = bottom_up(masked(masks, bits))
        if len(masks) == 3:
            yield f"BMP fields {name}", bmp(bits, rows, compression=3, masks=masks)
        else:
            yield f"BMP fields {name}, behind the header", bmp(bits, rows, compression=6, masks=masks)
            yield f"BMP fields {name}, V3", bmp(bits, rows, compression=3, masks=masks, header=56)
            half = bottom_up(masked(masks, bits, alpha=128))
            yield f"BMP fields {name}, V5, half clear", bmp(bits, half, compression=3, masks=masks, header=124)
            nought = bottom_up(masked(masks, bits, alpha=0))
            yield f"BMP fields {name}, V5, all clear", bmp(bits, nought, compression=3, masks=masks, header=124)
        for kind, header in (("V2", 52), ("V4", 108), ("V5", 124)):
            if len(masks) == 3 or header > 52:
                yield f"BMP fields {name}, {kind}", bmp(bits, rows, compression=3, masks=masks, header=header)


def _run_lengths() -> Iterator[tuple[str, bytes]]:
    table = _TABLE.ljust(1024, b"\0")
    for bits, kind, name in ((8, 1, "RLE8"), (4, 2, "RLE4")):
        colours = table if bits == 8 else table[:64]
        four = bits == 4
        yield f"BMP {name}", bmp(bits, runs(four=four), compression=kind, table=colours)
        yield f"BMP {name} of absolute runs", bmp(bits, runs(four=four, absolute=True), compression=kind, table=colours)
        yield f"BMP {name} without an end", bmp(bits, runs(four=four, end=False), compression=kind, table=colours)
        for lines in (190, 180, 90, 30):
            part = runs(four=four, lines=lines)
            yield f"BMP {name} that ends after {lines} rows", bmp(bits, part, compression=kind, table=colours)
        yield f"BMP {name} that moves on", bmp(bits, b"\0\2\x0a\x0a" + runs(four=four), compression=kind, table=colours)
        yield f"BMP {name}, top down", bmp(bits, runs(four=four), compression=kind, table=colours, height=-_HEIGHT)
        yield (
            f"BMP {name} with runs beyond the row",
            bmp(bits, runs(four=four).replace(bytes((120,)), bytes((200,))), compression=kind, table=colours),
        )
    yield "BMP RLE8 of 24 bits", bmp(24, runs(), compression=1)


def _odd() -> Iterator[tuple[str, bytes]]:
    rows = bottom_up(np.asarray(textured())[:, :, ::-1].copy())
    plain = bmp(24, rows)
    yield "BMP with a file length of 0", plain[:2] + bytes(4) + plain[6:]
    yield "BMP with a file length too small", plain[:2] + struct.pack("<I", 500) + plain[6:]
    yield "BMP with pixels at 0", bmp(24, rows, offset=0)
    yield "BMP with pixels in its header", bmp(24, rows, offset=20)
    yield "BMP with pixels beyond its end", bmp(24, rows, offset=10_000_000)
    yield "BMP with a gap before its pixels", bmp(24, rows, table=bytes(100))
    yield "BMP with 0 planes", plain[:26] + b"\0\0" + plain[28:]
    yield "BMP with an unknown header", bmp(24, rows, header=99)
    yield "BMP with an unknown compression", bmp(24, rows, compression=9)
    yield "BMP of 7 bits", bmp(7, rows)
    yield "BMP that holds a JPEG", bmp(0, encoded(textured(), "JPEG"), compression=4)
    yield "BMP that holds a PNG", bmp(0, encoded(textured(), "PNG"), compression=5)
    yield "BMP a row higher than its pixels", bmp(24, rows, height=_HEIGHT + 1)
    yield "BMP half as high as its pixels", bmp(24, rows, height=_HEIGHT // 2)
    gamma = bytes(16) + bytes(4) + bytes(36) + struct.pack("<III", 1 << 16, 1 << 16, 1 << 16)
    yield "BMP with a gamma of 1.0, V4", bmp(24, rows, header=108, extra=gamma)
    yield "BMP with sRGB, V5", bmp(24, rows, header=124, extra=bytes(16) + b"BGRs")


def pictures() -> Iterator[Picture]:
    """All BMPs."""
    yield from damaged("BMP of 24 bits", bmp(24, bottom_up(np.asarray(textured())[:, :, ::-1].copy())))
    yield from damaged("BMP RLE8 to be damaged", bmp(8, runs(), compression=1, table=_TABLE.ljust(1024, b"\0")))
    for name, data in (*_depths(), *_bit_fields(), *_run_lengths(), *_odd()):
        yield Picture(name, data, "BMP RLE8" if " ends after " in name else "")
