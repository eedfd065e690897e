"""Pixels as arrays, as they go from decoding to encoding, and as Pillow's images where Pillow does the work."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""8-bit samples, height x width x channels: 1 (grey), 3 (RGB) or 4 (CMYK)."""

_MODES = {1: "L", 3: "RGB", 4: "CMYK"}


def as_image(pixels: Pixels) -> Image.Image:
    """Return pixels as Pillow's image."""
    height, width, channels = pixels.shape
    return Image.frombytes(_MODES[channels], (width, height), pixels.tobytes())


def as_pixels(image: Image.Image) -> Pixels:
    """Return an L, RGB or CMYK image as pixels."""
    return np.asarray(image).reshape(image.height, image.width, -1)
