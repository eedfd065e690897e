"""What a picture is: a photo, a graphic (floor plan, map, logo, text) or blank, by a sample of its brightness.

A graphic has flat areas and hard edges between them, on one paper; a photo has slopes and texture nearly everywhere.
Seven measures of that are weighed (logistic regression); :mod:`benchmarks.classes` has the pictures that the weights
are from, others that they are tried on, and the cost.
"""

from __future__ import annotations

import numpy as np

from imagesys_lib.thumbnail.messages import Kind
from imagesys_lib.thumbnail.pixels import Pixels

_SIDE = 160  # pixels a side that are looked at
_BLOCK = 8  # pixels a side: some strokes of a plan, a small piece of a room
_BLANK = 2.0  # standard deviation; of what is faintest in fog it is 5, of JPEG's traces on one colour below 1
_FLAT = 0.9  # share of pixels that equal their neighbours; in photos it is 0.8 where most is clipped to white
_CONTRAST = 24  # levels between a block's darkest and brightest pixel, from which on it has an edge
_PAPER = 31  # levels that the shades of one paper span
_SLOPE, _EDGE = 6, 32  # levels between neighbours: up to noise and soft light; from where two colours meet

WEIGHTS = {
    "contrast": 0.0675,
    "edges": 13.6,
    "hard": -15.0,
    "paper": -4.67,
    "smooth": 12.7,
    "strokes": 92.0,
    "two_toned": -14.4,
}
_BIAS = 0.91


def class_of(pixels: Pixels) -> Kind:
    """Return what RGB or grey pixels show; they are of a thumbnail that is not sharpened yet."""
    found = measures(pixels)
    if found["contrast"] < _BLANK:
        return "blank"
    if found["flat"] > _FLAT:
        return "graphic"
    return "photo" if _BIAS + sum(weight * found[name] for name, weight in WEIGHTS.items()) > 0 else "graphic"


def measures(pixels: Pixels) -> dict[str, float]:
    """Return what tells a graphic from a photo: shares from 0 to 1, and ``contrast`` in levels of brightness."""
    step = -(-max(pixels.shape[:2]) // _SIDE)
    grey = np.ascontiguousarray(pixels[::step, ::step, pixels.shape[2] // 2])  # green is nearly brightness
    levels = grey[::2].ravel().astype(np.float32)
    mean = float(levels.mean())
    contrast = max(0.0, float(levels @ levels) / levels.size - mean * mean) ** 0.5
    return {"contrast": contrast, **_neighbours(grey), **_blocks(grey)}


def _neighbours(grey: Pixels) -> dict[str, float]:
    """Measure steps to the pixels on the right and below, and strokes, along every second row."""
    rows, below = grey[:-1:2], grey[1::2]
    here = rows[:, :-1]
    step = np.maximum(_apart(here, rows[:, 1:]), _apart(here, below[:, :-1]))
    total = max(1, step.size)
    hard, uneven = int(np.count_nonzero(step >= _EDGE)), int(np.count_nonzero(step > _SLOPE + 2))
    # A pen's stroke: both sides are alike, what is between them is not.
    left, middle, right = (rows[:, at : at + rows.shape[1] - 4].astype(np.int16) for at in (0, 2, 4))
    stroke = (np.abs(left - right) <= _SLOPE) & (np.abs(2 * middle - left - right) >= _EDGE)
    return {
        "smooth": np.count_nonzero(step <= _SLOPE) / total,
        "flat": np.count_nonzero(step <= 1) / total,
        "edges": hard / total,
        "hard": hard / max(_BLOCK, uneven),  # of all that is uneven: in a photo most is not
        "strokes": np.count_nonzero(stroke) / max(1, stroke.size),
    }


def _blocks(grey: Pixels) -> dict[str, float]:
    """Measure every second row of small blocks: have those with an edge two tones, have all the same paper?"""
    height, width = (side // _BLOCK for side in grey.shape)
    if not height or not width:
        return {"two_toned": 0.5, "paper": 0.5}
    rows = grey[: height * _BLOCK, : width * _BLOCK].reshape(height, _BLOCK, -1)[::2]
    bright, dark = _joined(np.maximum, rows), _joined(np.minimum, rows)
    near = np.maximum(_SLOPE, (bright - dark) // 7)
    lights, darks = bright - np.minimum(near, bright), dark + np.minimum(near, 255 - dark)
    share = np.maximum(
        _joined(np.add, (rows >= _wide(lights)).view(np.uint8)), _joined(np.add, (rows <= _wide(darks)).view(np.uint8))
    )
    edged = share[bright - dark > _CONTRAST]
    sums = np.cumsum(np.bincount(bright.ravel(), minlength=256 + _PAPER))
    return {
        "two_toned": float(edged.mean()) / _BLOCK**2 if edged.size else 0.5,
        "paper": int((sums[_PAPER:] - sums[:-_PAPER]).max()) / bright.size,
    }


def _joined(how: np.ufunc, rows: Pixels) -> Pixels:
    """Return one value for each block of rows, joining halves: numpy is slow along short rows."""
    joined: Pixels = how.reduce(rows, axis=1, dtype=np.uint8)
    while joined.shape[1] > rows.shape[2] // _BLOCK:
        joined = how(joined[:, ::2], joined[:, 1::2])
    return joined


def _wide(blocks: Pixels) -> Pixels:
    return np.repeat(blocks, _BLOCK, axis=1)[:, None, :]


def _apart(one: Pixels, other: Pixels) -> Pixels:
    return np.maximum(one, other) - np.minimum(one, other)
