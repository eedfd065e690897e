"""Tables on the terminal, report.md and results.json."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .outcome import Grid, Part

_VERDICTS = ("target", "wanted", "measured", "verdict")


def show(part: Part, console: Console) -> None:
    """Print a part's tables."""
    for grid in _grids(part):
        table = Table(*grid.columns, title=grid.title, title_justify="left")
        for row in grid.rows:
            colour = {"PASS": "green", "FAIL": "red"}.get(row[-1])
            table.add_row(*row, style=colour if grid.columns == _VERDICTS else None)
        console.print(table)
    for note in part.notes:
        console.print(note, style="dim")


def write(
    folder: Path, title: str, parts: Mapping[str, Part], options: Mapping[str, Any], charts: Sequence[Path] = ()
) -> Path:
    """Write results.json and report.md into ``folder``, and return the latter."""
    machine = _machine()
    results = {
        "machine": machine,
        "options": options,
        "parts": {
            name: {**part.data, "targets": [target.row() for target in part.targets]} for name, part in parts.items()
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1, default=str) + "\n")
    lines = [f"# {title}", "", f"{machine['when']} · {machine['processor']} · Python {machine['python']}", ""]
    for part in parts.values():
        lines += [f"## {part.title}", ""]
        for grid in _grids(part):
            lines += [*markdown(grid), ""]
        lines += [f"- {note}" for note in part.notes]
        lines += [""]
    lines += [f"![{chart.stem}]({chart.name})" for chart in charts]
    target = folder / "report.md"
    target.write_text("\n".join(lines) + "\n")
    return target


def markdown(grid: Grid) -> list[str]:
    """Return a grid as the lines of a Markdown table under its title."""
    return [
        f"**{grid.title}**",
        "",
        "| " + " | ".join(grid.columns) + " |",
        "|" + " --- |" * len(grid.columns),
        *("| " + " | ".join(row) + " |" for row in grid.rows),
    ]


def _grids(part: Part) -> list[Grid]:
    verdicts = Grid(f"Targets: {part.title}", _VERDICTS, [target.row() for target in part.targets])
    return [*part.grids, *([verdicts] if part.targets else [])]


def _machine() -> dict[str, str]:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": f"{len(names)} x {names[0] if names else platform.machine()}",
        "python": platform.python_version(),
    }
