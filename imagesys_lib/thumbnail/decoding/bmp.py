"""BMPs: those of 16 and 32 bits, whose samples lie where masks say; for the others, what Pillow does not know."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from imagesys_lib.thumbnail.decoding.damage import check_painted
from imagesys_lib.thumbnail.pixels import Pixels

_RGB, _BITFIELDS, _ALPHABITFIELDS = 0, 3, 6  # BITMAPINFOHEADER.biCompression
_PLAIN = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_WITH_ALPHA = 56  # bytes of the smallest header that has a mask of it
_READ = (40, 52, 56)  # sizes of headers that are read as they are
_BAND = 1 << 20  # pixels at a time


@dataclass(frozen=True)
class MaskedBmp:
    """Where the pixels lie and what their bits mean."""

    width: int
    height: int
    bits: int
    upside_down: bool
    start: int
    masks: tuple[int, ...]

    def decoded(self, data: bytes) -> Pixels:
        """Return RGB or RGBA. What is missing becomes white, if it is little, or else ImageFault is raised."""
        stride = (self.width * self.bits // 8 + 3) // 4 * 4
        there = max(0, len(data) - self.start)
        check_painted("BMP", 1 - min(1.0, there / (stride * self.height)))
        masks = self.masks if self.masks[3] else self.masks[:3]
        made = np.full((self.height, self.width, len(masks)), 255, np.uint8)
        rows = made if self.upside_down else made[::-1]
        kind = np.dtype(f"<u{self.bits // 8}")
        band = max(1, _BAND // self.width)
        for top in range(0, min(self.height, there // stride), band):
            count = min(band, self.height - top, there // stride - top)
            stored = np.frombuffer(data, np.uint8, count * stride, self.start + top * stride).reshape(count, stride)
            words = np.ascontiguousarray(stored[:, : self.width * kind.itemsize]).view(kind)
            for channel, mask in enumerate(masks):
                rows[top : top + count, :, channel] = _samples(words, mask)
        return made


def _samples(words: np.ndarray[Any, np.dtype[Any]], mask: int) -> Pixels:
    """Return the samples under a mask, brought to 8 bits."""
    if not mask:
        return np.zeros(words.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    if most > 255:  # the lower bits go unseen
        shift, most = shift + most.bit_length() - 8, most >> (most.bit_length() - 8)
    levels: Pixels = np.array([min(255, level * 255 // most) for level in range(256)], np.uint8)
    made: Pixels = levels[(words >> shift) & most]
    return made


def masked_bmp(data: bytes) -> MaskedBmp | None:
    """Return what the header says of a BMP of 16 or 32 bits, None for any other.

    Raises struct.error if it is cut, ValueError if a mask has gaps.
    """
    start, size = struct.unpack_from("<II", data, 10)
    if size < 40:
        return None
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if bits not in _PLAIN or compression not in (_RGB, _BITFIELDS, _ALPHABITFIELDS) or width <= 0 or not height:
        return None
    has_alpha = size >= _WITH_ALPHA or compression == _ALPHABITFIELDS
    masks = struct.unpack_from("<4I", data, 54) if size > 40 or compression != _RGB else _PLAIN[bits]
    if compression == _RGB:
        masks = (*_PLAIN[bits][:3], masks[3] if bits == 32 else 0)
    if not has_alpha:
        masks = (*masks[:3], 0)
    masks = tuple(mask & ((1 << bits) - 1) for mask in masks)
    if any("01" in f"{mask:b}" for mask in masks):
        raise ValueError("a mask with a gap")
    return MaskedBmp(width, abs(height), bits, height < 0, start or 14 + size, masks)


def embedded_profile(data: bytes) -> bytes | None:
    """Return the ICC profile of a BITMAPV5HEADER."""
    if data[14:18] != b"\x7c\0\0\0" or data[70:74] != b"DEBM":
        return None
    start, size = struct.unpack_from("<II", data, 126)
    return data[14 + start : 14 + start + size]


def with_usual_header(data: bytes) -> bytes:
    """Return a BMP whose header is a shortened one of OS/2 with one of Windows, whose first fields are the same.

    Raises struct.error if it is cut.
    """
    start, size = struct.unpack_from("<II", data, 10)
    if size in _READ or not 16 <= size < 64:
        return data
    fields = data[18 : 14 + min(size, 40)].ljust(36, b"\0")
    return data[:10] + struct.pack("<II", max(0, start + 40 - size), 40) + fields + data[14 + size :]


def with_fewer_colours(data: bytes) -> bytes:
    """Return a BMP that claims no more colours than its pixels can have; the default is just as many."""
    if data[14:18] == b"\x0c\0\0\0":
        return data  # this header has no such number
    bits, colours = int.from_bytes(data[28:30], "little"), int.from_bytes(data[46:50], "little")
    return data[:46] + bytes(4) + data[50:] if bits <= 8 and colours > 1 << bits else data
