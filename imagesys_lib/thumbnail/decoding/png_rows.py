"""The rows of a PNG: how many of them its deflated data hold, and data completed where rows are lost.

Nothing is ever inflated as a whole: pieces come and go.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator, Sequence

from imagesys_lib.thumbnail.decoding.damage import check_painted
from imagesys_lib.thumbnail.pixels import Pixels

_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: of each pass the first column and row, and the steps across and down."""
_STAND_FOR = ((8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2), (1, 1))
"""How many pixels, across and down, one of a pass stands for until the next passes come."""
_FILTERS = b"\0\1\2\3\4"
_PIECE, _ROOM = 1 << 16, 1 << 20  # bytes, compressed and not


def all_rows(width: int, height: int, bits: int, *, interlaced: bool) -> list[tuple[int, int]]:
    """Return (how many, bytes of each with its filter) of the rows of each pass; ``bits`` of a pixel."""
    if not interlaced:
        return [(height, 1 + math.ceil(width * bits / 8))]
    sizes = (
        (math.ceil((width - left) / across), math.ceil((height - top) / down)) for left, top, across, down in _PASSES
    )
    return [(high, 1 + math.ceil(wide * bits / 8)) for wide, high in sizes if wide > 0 and high > 0]


def complete(
    parts: Sequence[memoryview], rows: Sequence[tuple[int, int]]
) -> tuple[list[bytes | memoryview], list[int] | None]:
    """Return a zlib stream of all rows, and how many of each pass are real; None if all are, and the stream as it was.

    Raises ImageFault if too much is missing of the first pass, which stands for what the others lack.
    """
    total = sum(count * length for count, length in rows)
    good, error = _good_bytes(_inflated(parts, zlib.MAX_WBITS), rows)
    if good == total and error is None:
        return list(parts), None
    raw = _without_header(parts)
    good, error = _good_bytes(_inflated(raw, -zlib.MAX_WBITS), rows)
    known = _known(rows, good)
    check_painted("PNG", 1 - known[0] / rows[0][0], "truncated" if error is None else "decode_error")
    packer, made, left = zlib.compressobj(1), [], good
    for piece in _inflated(raw, -zlib.MAX_WBITS):
        made.append(packer.compress(piece[:left]))
        left -= len(piece)
        if left <= 0:
            break
    lost = (
        b"\0" + b"\xff" * (length - 1) for (count, length), n in zip(rows, known, strict=True) for _ in range(count - n)
    )
    return [*made, *map(packer.compress, lost), packer.flush()], known


def _known(rows: Sequence[tuple[int, int]], good: int) -> list[int]:
    """Return how many rows of each pass the first ``good`` bytes are."""
    known = []
    for count, length in rows:
        known.append(min(count, good // length))
        good -= known[-1] * length
    return known


def spread(pixels: Pixels, known: Sequence[int]) -> Pixels:
    """Return interlaced pixels, where those of a pass that are known stand for those of later ones that are not."""
    made = pixels.copy()
    passes = (
        (one, area)
        for one, area in zip(_PASSES, _STAND_FOR, strict=True)
        if one[0] < pixels.shape[1] and one[1] < pixels.shape[0]
    )
    for ((left, top, across, down), (wide, high)), count in zip(passes, known, strict=True):
        source = pixels[top::down, left::across][:count]
        for y, x in itertools.product(range(high), range(wide)):
            target = made[top + y :: down, left + x :: across][:count]
            target[:] = source[: target.shape[0], : target.shape[1]]
    return made


def _without_header(parts: Sequence[memoryview]) -> list[memoryview]:
    """Return deflated data without zlib's two bytes before them, so that no checksum is asked for behind them."""
    joined, skip = [], 2
    for part in parts:
        joined.append(part[skip:])
        skip = max(0, skip - len(part))
    return joined


def _inflated(parts: Sequence[memoryview], bits: int) -> Iterator[bytes]:
    """Yield what is inflated, at most 1 MB at a time, up to the end or to an error, which is raised: zlib.error."""
    inflate = zlib.decompressobj(bits)
    for part in parts:
        for at in range(0, len(part), _PIECE):
            yield from _inflated_piece(inflate, bytes(part[at : at + _PIECE]))
            if inflate.eof:
                return


def _inflated_piece(inflate: zlib._Decompress, piece: bytes) -> Iterator[bytes]:
    while piece and not inflate.eof:
        before = inflate.copy()
        try:
            made = inflate.decompress(piece, _ROOM)
        except zlib.error:
            for byte in piece:  # what comes before the damage is good
                yield before.decompress(bytes((byte,)))
            return
        piece = inflate.unconsumed_tail
        yield made


def _good_bytes(pieces: Iterator[bytes], rows: Sequence[tuple[int, int]]) -> tuple[int, Exception | None]:
    """Return how many bytes of whole rows come before the end, an error or an unknown filter; and what was wrong."""
    good, ready = 0, bytearray()
    try:
        for count, length in rows:
            left = count
            while left:
                while len(ready) < length:
                    ready += next(pieces)
                some = min(left, len(ready) // length)
                if wrong := bytes(ready[: some * length : length]).lstrip(_FILTERS):
                    return good + (some - len(wrong)) * length, ValueError("no such filter")
                good, left = good + some * length, left - some
                del ready[: some * length]
        any(pieces)  # a wrong checksum shows as they end
    except StopIteration:
        return good, None
    except zlib.error as error:
        return good, error
    return good, None
