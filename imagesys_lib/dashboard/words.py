"""Figures as people read them."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB")


def number(value: float) -> str:
    """Return ``1,234,567``; of what is no whole number two significant places."""
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"


def size(value: float) -> str:
    """Return bytes as ``1.2 GB``."""
    for unit in _UNITS:
        if abs(value) < 1000 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{value:,.0f} {unit}" if unit == "B" or abs(value) >= 100 else f"{value:.1f} {unit}"


def share(value: float) -> str:
    """Return 0.123 as ``12.3 %``."""
    return f"{100 * value:.1f} %"


def duration(seconds: float) -> str:
    """Return ``4.2 s``, ``3 min 05 s``, ``7 h 12 min`` or ``3 d 4 h``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def ago(seconds: float) -> str:
    """Return how long ago something was, by its largest unit: ``5 min ago``."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= (2 if unit == "d" else 1) * length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


def count(value: int, one: str, several: str = "") -> str:
    """Return ``1 image``, ``2 images``."""
    return f"{number(value)} {one if value == 1 else several or one + 's'}"
