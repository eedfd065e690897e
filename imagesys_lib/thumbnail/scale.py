"""Scaling: LANCZOS over a part of a picture."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

from imagesys_lib.thumbnail.pixels import Pixels, as_image, as_pixels

try:
    import cykooz_resizer as simd
except ImportError:  # no wheel for this machine: Pillow does the same at a quarter of the speed
    simd = None

CropBox = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels, fractions allowed."""


def scaled(pixels: Pixels, target: tuple[int, int], box: CropBox) -> Pixels:
    """Return what lies in ``box``, ``target`` (width, height) pixels large."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = box
    # A last digit lost in reckoning the box must not put its edge beside the picture.
    within = (left, top, min(right, width), min(bottom, height))
    return _by_pillow(pixels, target, within) if simd is None else _by_simd(pixels, target, within)


def _by_simd(pixels: Pixels, target: tuple[int, int], box: CropBox) -> Pixels:
    height, width, channels = pixels.shape
    left, top, right, bottom = box
    kind = {1: simd.PixelType.U8, 3: simd.PixelType.U8x3, 4: simd.PixelType.U8x4}[channels]
    made = simd.ImageData(*target, kind)
    crop = simd.CropBox(left, top, right - left, bottom - top)
    _resizer().resize(
        simd.ImageData(width, height, kind, pixels.tobytes()),
        made,
        simd.ResizeOptions(simd.ResizeAlg.convolution(simd.FilterType.lanczos3), use_alpha=False, crop_box=crop),
    )
    return np.frombuffer(made.get_buffer(), np.uint8).reshape(target[1], target[0], channels)


@cache
def _resizer() -> simd.Resizer:
    return simd.Resizer()  # keeps its buffers from one picture to the next


def _by_pillow(pixels: Pixels, target: tuple[int, int], box: CropBox) -> Pixels:
    return as_pixels(as_image(pixels).resize(target, Image.Resampling.LANCZOS, box=box))
