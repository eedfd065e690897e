"""What a large country would take: lines through the measured sizes, drawn out to its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from benchmarks.common.lines import fit
from benchmarks.common.outcome import Grid, Part

from .settings import COUNTRY_FILES, FILES_AN_IMAGE, Options


def extended(parts: Iterable[Part], options: Options) -> Part | None:
    """Return the table of everything that was measured at two sizes or more; None if nothing was."""
    points: dict[str, list[tuple[int, float]]] = {}
    for part in parts:
        points |= part.data.get("points", {})
    points = {name: some for name, some in points.items() if len({size for size, _ in some}) > 1}
    if not points:
        return None
    part = Part(f"What {COUNTRY_FILES} files would take")
    part.grids.append(_grid(points, _sizes(options)))
    part.notes.append(
        "seconds = fixed + slope x files, least squares. Off the line: the measured point that lies worst, as a share. "
        "It all happens in one machine's memory: on nodes of their own, disks and the network may set the pace."
    )
    return part


def _sizes(options: Options) -> dict[str, tuple[str, int]]:
    day = options.day_images * FILES_AN_IMAGE
    return {
        "push": (f"push of a day of {options.day_images} images to one node", day),
        "check": ("full check of one node", COUNTRY_FILES),
        "scrub": ("scrub of all files of one node", COUNTRY_FILES),
        "refill": ("refill of an empty node", COUNTRY_FILES),
    }


def _grid(points: Mapping[str, list[tuple[int, float]]], sizes: Mapping[str, tuple[str, int]]) -> Grid:
    table = []
    for name, some in points.items():
        line = fit(some)
        what, files = sizes[name]
        measured = ", ".join(f"{size}: {seconds:.1f} s" for size, seconds in some)
        off = f"{100 * line.residual(some):.0f} %"
        slope = f"{1_000_000 * line.slope:.1f}"
        table.append([what, measured, f"{line.fixed:.2f}", slope, off, str(files), _time(line.at(files))])
    columns = ("what", "measured files", "fixed s", "s per million files", "off the line", "files", "would take")
    return Grid("From the measured slopes", columns, table)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
