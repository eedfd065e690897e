"""Encoding: few bytes for what is seen, and nothing but the picture in the file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import mozjpeg_lossless_optimization
import numpy as np
import pyjpegli
import simplejpeg
from PIL import Image

from imagesys_lib.thumbnail.pixels import Pixels

_LUMA = (
    10,  9, 17, 17, 26, 27, 30, 30,
     9, 12, 17, 19, 27, 25, 32, 32,
    17, 17, 20, 23, 27, 31, 30, 33,
    17, 19, 23, 27, 33, 35, 35, 36,
    26, 27, 27, 33, 36, 39, 44, 43,
    27, 25, 31, 35, 39, 43, 40, 48,
    30, 32, 30, 35, 44, 40, 43, 42,
    30, 32, 33, 36, 43, 48, 42, 34,
)  # fmt: skip
_CHROMA = (
     9,  7, 15, 14, 21, 20, 23, 25,
     7, 11, 15, 14, 19, 17, 22, 23,
    15, 15, 17, 15, 18, 20, 21, 24,
    14, 14, 15, 17, 21, 20, 21, 25,
    21, 19, 18, 21, 17, 25, 19, 24,
    20, 17, 20, 20, 25, 22, 25, 37,
    23, 22, 21, 21, 19, 25, 40, 36,
    25, 23, 24, 25, 24, 37, 36, 255,
)  # fmt: skip
"""jpegli's quantisation tables (libjxl, BSD licence) at its quality 60, in rows."""

_CHROMA_FACTOR = 1.2
"""A little less colour than jpegli keeps: measured, the best of both SSIMULACRA2 and SSIM."""

_STEPS = ((0, 5.0), (60, 1.21), (70, 0.97), (80, 0.69), (85, 0.54), (90, 0.38), (95, 0.2), (100, 0.03))
"""libjpeg's quality, and the factor to the tables that looks as good, below `_LARGE`."""

_LARGE = 300 * 200
"""Pixels from which jpegli itself, repacked by mozjpeg, beats its tables: its adaptive quantisation needs room, and
progressive scans cost small files bytes. It takes five times as long."""

_JPEGLI = ((0, 0.0), (60, 52.0), (75, 73.0), (85, 86.0), (90, 91.0), (95, 95.5), (100, 100.0))
"""libjpeg's quality, and jpegli's that looks as good at 640x480."""

_WEBP = ((0, 0.0), (60, 59.0), (75, 76.0), (85, 85.0), (90, 90.0), (95, 97.0), (100, 100.0))
_AVIF = ((0, 0.0), (60, 54.0), (75, 62.0), (85, 71.0), (90, 81.0), (95, 93.0), (100, 100.0))
"""libjpeg's quality and the sibling's that looks as good."""


def encoded(pixels: Pixels, quality: int, encoder: str = "lean") -> bytes:
    """Return RGB pixels as a baseline or progressive 4:2:0 JPEG.

    ``quality`` is libjpeg's, 1 to 100. ``fast`` is libjpeg itself. ``lean`` looks as good at the same figure for four
    fifths of the bytes: it has jpegli's tables, or for larger sizes is jpegli, and optimises Huffman codes or scans.
    """
    if encoder == "fast":
        plain: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", "420", fastdct=False)
        return plain
    height, width = pixels.shape[:2]
    if width * height < _LARGE:
        image = Image.fromarray(pixels)
        return _saved(image, "JPEG", qtables=_tables(quality), subsampling="4:2:0", optimize=True)
    data = pyjpegli.encode(np.ascontiguousarray(pixels), width, height, round(between(_JPEGLI, quality)))
    repacked: bytes = mozjpeg_lossless_optimization.optimize(data)
    return repacked


def encoded_sibling(pixels: Pixels, quality: int, kind: str) -> bytes:
    """Return RGB pixels as ``webp`` or ``avif`` that looks as good as libjpeg's ``quality``."""
    image = Image.fromarray(pixels)
    if kind == "webp":
        return _saved(image, "WEBP", quality=round(between(_WEBP, quality)), method=4)
    if kind == "avif":
        return _saved(image, "AVIF", quality=round(between(_AVIF, quality)), speed=8)
    raise ValueError(f"no sibling format {kind!r}: webp and avif there are")


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@lru_cache(maxsize=64)
def _tables(quality: int) -> list[list[int]]:
    factor = between(_STEPS, quality)

    def scaled(table: Sequence[int], by: float) -> list[int]:
        return [min(255, max(1, round(step * by))) for step in table]

    return [scaled(_LUMA, factor), scaled(_CHROMA, factor * _CHROMA_FACTOR)]


def between(points: Sequence[tuple[int, float]], at: float) -> float:
    """Return the value of a broken line, given by its corners, at ``at``."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if at <= x1:
            return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    return points[-1][1]
