"""Contenders in turn, round after round, and what the tables show of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from .testbed import Figure

Contenders = Mapping[str, Callable[[], Figure]]
Figures = dict[str, list[Figure]]


def interleaved(contenders: Contenders, rounds: int, say: Callable[[str], None]) -> Figures:
    """Measure each contender once a round; who begins changes from round to round."""
    figures: Figures = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            figure = contenders[name]()
            figures[name].append(figure)
            say(f"{name}: {figure.wall:.2f} s")
    return figures


def median(figures: Sequence[Figure], what: str = "wall") -> float:
    """Return the median of ``wall``, ``cpu``, ``machine`` or ``peak_mb``."""
    return statistics.median(getattr(figure, what) for figure in figures)


def spread(figures: Sequence[Figure]) -> str:
    """Return the least and the most seconds, as text."""
    seconds = [figure.wall for figure in figures]
    return f"{min(seconds):.2f}-{max(seconds):.2f}"


def as_data(figures: Mapping[str, Sequence[Figure]]) -> dict[str, list[dict[str, float]]]:
    """Return all measurements for results.json."""
    kept = ("wall", "cpu", "machine", "peak_mb")
    return {name: [{what: getattr(one, what) for what in kept} for one in some] for name, some in figures.items()}
