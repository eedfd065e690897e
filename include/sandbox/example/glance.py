"""A ThumbHash as a tiny picture: what a browser can show before the thumbnail is there."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

_SIDE = 32  # pixels, of the longer side
_VIVID = 1.25  # makes up for colours that were rounded away


def data_uri(thumbhash: str) -> str:
    """Return a PNG of a ThumbHash (base64) as a ``data:`` URI."""
    buffer = io.BytesIO()
    _picture(base64.b64decode(thumbhash)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _picture(data: bytes) -> Image.Image:
    head, shape = (int.from_bytes(part, "little") for part in (data[:3], data[3:5]))
    across, down = (7, shape & 7) if shape >> 15 else (shape & 7, 7)
    nibbles = (nibble for byte in data[5:] for nibble in (byte & 15, byte >> 4))
    width, height = (max(1, round(_SIDE * side / max(across, down))) for side in (across, down))
    means = (head & 63) / 63, (head >> 6 & 63) / 31.5 - 1, (head >> 12 & 63) / 31.5 - 1
    scales = (head >> 18 & 31) / 31, _VIVID * (shape >> 3 & 63) / 63, _VIVID * (shape >> 9 & 63) / 63
    sizes = (max(3, across), max(3, down)), (3, 3), (3, 3)
    brightness, yellow, redness = (
        _drawn(_waves(*size, mean, scale, nibbles), width, height)
        for size, mean, scale in zip(sizes, means, scales, strict=True)
    )
    blue = brightness - 2 / 3 * yellow
    red = (3 * brightness - blue + redness) / 2
    pixels = np.dstack([red, red - redness, blue])
    return Image.fromarray((255 * pixels.clip(0, 1)).round().astype(np.uint8))


def _waves(across: int, down: int, mean: float, scale: float, nibbles: Iterator[int]) -> np.ndarray:
    """Return how much a channel has of each frequency; the high ones are left out."""
    waves = np.zeros((down, across))
    waves[0, 0] = mean
    for y in range(down):
        for x in range(across):
            if (x or y) and x * down < across * (down - y):
                waves[y, x] = 2 * scale * (next(nibbles) / 7.5 - 1)
    return waves


def _drawn(waves: np.ndarray, width: int, height: int) -> np.ndarray:
    rows, columns = (
        np.cos(np.outer(np.arange(count), np.arange(length) + 0.5) * np.pi / length)
        for count, length in zip(waves.shape, (height, width), strict=True)
    )
    return rows.T @ waves @ columns
