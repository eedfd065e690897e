"""A run beside the runs before it: which figures are unusual. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

MOST_RUNS = 7
"""How many earlier runs of its kind a run is compared with: a week of daily ones."""

LEAST_RUNS = 3

BYTES_SAVED = "bytes_saved"
"""The figure of the bytes by which thumbnails are less than their originals."""

_FACTOR = 3.0
_FLOOR = 50  # images or files: below it a difference is chance
_FLOOR_OF_BYTES = _FLOOR * 250_000  # what so many photos weigh
_WATCHED = ("images", "state.", "reason.", "backlog.", "missing.", "check.", "purge.", "heal.", "rows.", BYTES_SAVED)
_LOW_IS_BAD = frozenset({"images", "state.live", BYTES_SAVED})
_HIGH_IS_WELL = frozenset({BYTES_SAVED})

Figures = Mapping[str, int]


def medians(names: Sequence[str], earlier: Sequence[Figures]) -> dict[str, float]:
    """Return the median of each figure over earlier runs, where one without it counts as 0; {} of too few runs."""
    if len(earlier) < LEAST_RUNS:
        return {}
    return {
        name: statistics.median(figures.get(name, 0) for figures in earlier)
        for name in names
        if name.startswith(_WATCHED)
    }


def is_unusual(name: str, value: int, median: float) -> bool:
    """Say whether a figure is beyond thrice its median (or, where few are bad, below a third) and far off by number."""
    if abs(value - median) <= (_FLOOR_OF_BYTES if name == BYTES_SAVED else _FLOOR):
        return False
    high = name not in _HIGH_IS_WELL and value > _FACTOR * median
    return high or (name in _LOW_IS_BAD and value < median / _FACTOR)
