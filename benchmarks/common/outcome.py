"""What a part of the benchmark hands back: tables, targets with their verdict, and the figures behind them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_COMPARE = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Cost:
    """Seconds of wall clock, and of CPU (user and system) including all children."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Target:
    """A wanted figure beside the measured one; None where the contender failed, which misses it."""

    name: str
    comparison: str
    wanted: float
    measured: float | None
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.measured is not None and bool(_COMPARE[self.comparison](self.measured, self.wanted))

    @property
    def verdict(self) -> str:
        return "PASS" if self.met else "FAIL"

    def row(self) -> list[str]:
        """Return name, wanted, measured and verdict as text."""
        measured = "failed" if self.measured is None else f"{self.measured:.3g} {self.unit}".strip()
        return [self.name, f"{self.comparison} {self.wanted:g} {self.unit}".strip(), measured, self.verdict]


@dataclass(frozen=True)
class Grid:
    """A table as text: shown by rich and written as Markdown."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass
class Part:
    """One part's results. ``data`` goes to results.json and to the charts."""

    title: str
    grids: list[Grid] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
