"""ThumbHash (evanw.github.io/thumbhash): what a picture looks like at first glance, in some 25 bytes.

A few cosines of brightness and of two colour differences, and the aspect ratio. Pages show it until the file is there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from imagesys_lib.thumbnail.pixels import Pixels

_MOST = 100  # pixels a side that are looked at: more change no cosine
_COSINES = 7  # of brightness, along the longer side

_Floats = np.ndarray[Any, np.dtype[np.float32]]


def thumbhash(pixels: Pixels) -> bytes:
    """Return the ThumbHash of RGB pixels, at most 26 bytes; any decoder of the format shows it."""
    step = -(-max(pixels.shape) // _MOST)
    seen = pixels[::step, ::step]
    height, width = seen.shape[:2]
    longer = max(width, height)
    across, down = (max(1, _rounded(_COSINES * side / longer)) for side in (width, height))
    rows = _cosines(height) @ seen.reshape(height, -1).astype(np.float32)
    red, green, blue = np.moveaxis(_cosines(width) @ rows.reshape(_COSINES, width, 3), 2, 0) / (width * height * 255)
    brightness = _channel((red + green + blue) / 3, max(3, across), max(3, down))
    yellow_blue = _channel((red + green) / 2 - blue, 3, 3)
    red_green = _channel(red - green, 3, 3)
    (l_mean, _, l_scale), (p_mean, _, p_scale), (q_mean, _, q_scale) = brightness, yellow_blue, red_green
    head = _rounded(63 * l_mean) | _rounded(31.5 + 31.5 * p_mean) << 6 | _rounded(31.5 + 31.5 * q_mean) << 12
    head |= _rounded(31 * l_scale) << 18
    wide = int(width > height)
    shape = (down if wide else across) | _rounded(63 * p_scale) << 3 | _rounded(63 * q_scale) << 9 | wide << 15
    levels = [_rounded(15 * one) for _, varying, _ in (brightness, yellow_blue, red_green) for one in varying]
    nibbles = [*levels, 0] if len(levels) % 2 else levels
    packed = bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))
    return b"".join((head.to_bytes(3, "little"), shape.to_bytes(2, "little"), packed))


def _channel(cosines: _Floats, across: int, down: int) -> tuple[float, list[float], float]:
    """Return a channel's mean, how much of each low frequency it has (0 to 1), and their scale."""
    mean, *varying = (
        float(cosines[y, x]) for y in range(down) for x in range(across) if x * down < across * (down - y)
    )
    scale = max(map(abs, varying))
    return mean, [0.5 + 0.5 * one / scale if scale else 0.0 for one in varying], scale


@lru_cache(maxsize=256)
def _cosines(length: int) -> _Floats:
    places = (np.arange(length, dtype=np.float32) + 0.5) * np.float32(np.pi / length)
    waves: _Floats = np.cos(np.outer(np.arange(_COSINES, dtype=np.float32), places))
    return waves


def _rounded(value: float) -> int:
    return int(value + 0.5)
