"""Straight lines through what was measured at several sizes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """``seconds = fixed + slope x size``, by least squares; a size is a number of images or of files."""

    fixed: float
    slope: float

    def at(self, size: int) -> float:
        """Return what the line says of a size."""
        return self.fixed + self.slope * size

    def residual(self, points: Sequence[tuple[int, float]]) -> float:
        """Return how far the worst of the points (size, seconds) lies off the line, as a share of the line's value."""
        return max(abs(seconds - self.at(size)) / abs(self.at(size)) for size, seconds in points)


def fit(points: Sequence[tuple[int, float]]) -> Line:
    """Return the line through points (size, seconds) of at least two sizes."""
    slope, fixed = statistics.linear_regression([x for x, _ in points], [y for _, y in points])
    return Line(fixed, slope)
