"""What PNGs are put together from."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

from tests.differential.pictures.base import BLUE, GREEN, RED, SIZE, YELLOW, textured

START, _WIDTH, _HEIGHT = b"\x89PNG\r\n\x1a\n", *SIZE
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(kind: bytes, data: bytes, *, damage: int = 0, length: int | None = None) -> bytes:
    """A chunk; ``damage`` is added to its CRC, ``length`` may lie."""
    crc = (zlib.crc32(kind + data) + damage) & 0xFFFFFFFF
    return struct.pack(">I", len(data) if length is None else length) + kind + data + struct.pack(">I", crc)


def head(bits: int = 8, colour: int = 2, interlaced: int = 0, width: int = _WIDTH, height: int = _HEIGHT) -> bytes:
    return struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)


def file(*chunks: bytes) -> bytes:
    return START + b"".join(chunks) + chunk(b"IEND", b"")


def quarters(samples: Sequence[Sequence[int]]) -> np.ndarray:
    """Samples (height, width, channels) of four quarters."""
    made = np.zeros((_HEIGHT, _WIDTH, len(samples[0])), np.uint16)
    for number, one in enumerate(samples):
        made[number // 2 * _HEIGHT // 2 :, number % 2 * _WIDTH // 2 :] = one
        if number == 2:
            made[_HEIGHT // 2 :, _WIDTH // 2 :] = samples[3]
    made[: _HEIGHT // 2, _WIDTH // 2 :] = samples[1]
    return made


def packed(samples: np.ndarray, bits: int, *, interlaced: bool = False) -> bytes:
    """Unfiltered rows."""
    parts = [samples[top::down, left::across] for left, top, across, down in _PASSES] if interlaced else [samples]
    rows = bytearray()
    for part in parts:
        flat_rows = part.reshape(part.shape[0], -1)
        for row in flat_rows:
            if bits == 16:
                rows += b"\0" + row.astype(">u2").tobytes()
            elif bits == 8:
                rows += b"\0" + row.astype(np.uint8).tobytes()
            else:
                ones = (row[:, None] >> np.arange(bits - 1, -1, -1)) & 1
                rows += b"\0" + np.packbits(ones.astype(np.uint8).reshape(-1)).tobytes()
    return bytes(rows)


def typed(colour: int, bits: int, *, interlaced: bool = False, before: bytes = b"") -> bytes:
    """Four quarters in a colour type and depth."""
    rows = packed(quarters(samples(colour, bits)), bits, interlaced=interlaced)
    table = chunk(b"PLTE", palette(bits)) if colour == 3 else b""
    start = chunk(b"IHDR", head(bits, colour, int(interlaced)))
    return file(start, table, before, chunk(b"IDAT", zlib.compress(rows)))


def palette(bits: int) -> bytes:
    return bytes((*RED, *GREEN, *BLUE, *YELLOW))[: 3 << bits]


def samples(colour: int, bits: int) -> list[tuple[int, ...]]:
    top = (1 << bits) - 1
    if colour == 3:
        return [(n & top,) for n in range(4)]
    if colour in (0, 4):
        greys = [0, top, top // 3, top * 2 // 3]
        return [(grey,) if colour == 0 else (grey, (top, top // 2, top // 4, 0)[n]) for n, grey in enumerate(greys)]
    scale = 257 if bits == 16 else 1
    alphas = (top, top // 2, top // 4, 0)
    return [
        (*(value * scale for value in rgb), *([alphas[n]] if colour == 6 else []))
        for n, rgb in enumerate((RED, GREEN, BLUE, YELLOW))
    ]


PIXELS = zlib.compress(b"".join(b"\0" + row.tobytes() for row in np.asarray(textured())))
HEAD, IDAT = chunk(b"IHDR", head()), chunk(b"IDAT", PIXELS)


def with_chunks(*before: bytes) -> bytes:
    """The textured quarters with chunks before their pixels."""
    return file(HEAD, *before, IDAT)
