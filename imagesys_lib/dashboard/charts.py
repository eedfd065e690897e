"""Charts over days or runs: series of numbers that the browser draws."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from imagesys_lib.dashboard.tables import Kind, Tone


class Style(str, Enum):
    """How series are drawn."""

    LINES = "lines"
    STACKED = "stacked"  # bars upon each other


@dataclass(frozen=True)
class Series:
    """One number a place, None where there is none. ``tone`` colours what is good or bad; others take their turn."""

    label: str
    values: tuple[float | None, ...]
    tone: Tone = Tone.NONE


@dataclass(frozen=True)
class Chart:
    """Series over the same days (ISO dates, ascending); ``kind`` says what the numbers are."""

    name: str
    title: str
    days: tuple[str, ...]
    series: tuple[Series, ...]
    kind: Kind = Kind.NUMBER
    style: Style = Style.LINES

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(value for series in self.series for value in series.values)

    def as_json(self) -> str:
        """Return what the page's script draws."""
        series = [{"label": one.label, "values": one.values, "tone": one.tone.value} for one in self.series]
        return json.dumps({"days": self.days, "series": series, "kind": self.kind.value, "style": self.style.value})


def series_of(days: Sequence[str], label: str, found: Mapping[str, float], tone: Tone = Tone.NONE) -> Series:
    """Return a series of what was found by day."""
    return Series(label, tuple(found.get(day) for day in days), tone)
