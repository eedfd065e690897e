"""How figures are named and shown to people."""

from __future__ import annotations

from imagesys_lib.stages.report.trend import BYTES_SAVED


def label(figure: str) -> str:
    """Return a figure's name as people read it: ``state.failed`` is ``failed``, ``backlog.n1`` is ``backlog n1``."""
    return figure.removeprefix("state.").replace(".", " ").replace("_", " ")


def amount(figure: str, value: float) -> str:
    """Return a figure as people read it."""
    return megabytes(value) if figure == BYTES_SAVED else f"{value:.10g}"


def megabytes(size: float) -> str:
    """Return a number of bytes as people read it."""
    return f"{size / 1e9:,.1f} GB" if abs(size) >= 1e9 else f"{size / 1e6:,.1f} MB"


def listed(words: list[str]) -> str:
    """Join words as a sentence does: ``a, b and c``."""
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), *words[-1:]])
