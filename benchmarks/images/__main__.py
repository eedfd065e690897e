"""Measure the image engine beside its peers: `make bench-images`, or python -m benchmarks.images [--only PART].

Prints tables and writes report.md, results.json and charts to .local/bench-images. Exit code 1: a target was missed.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from benchmarks.common import report
from benchmarks.common.outcome import Part

from . import cpu, end_to_end, fidelity, leanness, memory
from .pinning import pin
from .settings import BASE, HERE, PARTS, Options

_TITLE = "Image benchmark"
_MEASURES: dict[str, Callable[[Options], Part]] = {
    "end-to-end": end_to_end.measure,
    "cpu": cpu.measure,
    "leanness": leanness.measure,
    "fidelity": fidelity.measure,
    "memory": memory.measure,
}


def main() -> int:
    """Measure and return the exit code."""
    options, no_fail = _options()
    pin()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    BASE.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 140)
    parts: dict[str, Part] = {}
    for name in options.parts:
        with console.status(f"measuring {name}"):
            parts[name] = _MEASURES[name](options)
        report.show(parts[name], console)
        report.write(BASE, _TITLE, parts, asdict(options))
    charts = _charts()
    if "fidelity" in parts:
        charts.append(BASE / "contact-sheet.png")
    written = report.write(BASE, _TITLE, parts, asdict(options), charts)
    console.print(f"Written: {written} and results.json, {', '.join(chart.name for chart in charts)} beside it")
    missed = [target for part in parts.values() for target in part.targets if not target.met]
    if missed:
        console.print(f"{len(missed)} targets were missed.", style="red")
    return 1 if missed and not no_fail else 0


def _options() -> tuple[Options, bool]:
    parser = argparse.ArgumentParser(prog="benchmarks.images", description=__doc__)
    parser.add_argument("--photos", type=int, default=Options.photos, help="different photographs (%(default)s)")
    parser.add_argument("--urls", type=int, default=Options.urls, help="of the list from end to end (%(default)s)")
    parser.add_argument("--rounds", type=int, default=Options.rounds, help="interleaved rounds (%(default)s)")
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help=f"one of {', '.join(PARTS)}")
    parser.add_argument(
        "--quality-photos", type=int, default=Options.quality_photos, help="compared by pixels (%(default)s)"
    )
    parser.add_argument("--memory-images", type=int, default=Options.memory_images, help="in one batch (%(default)s)")
    parser.add_argument("--no-calibration", action="store_true", help="take img2dataset's settings as they are")
    parser.add_argument("--no-fail", action="store_true", help="exit 0 though a target was missed")
    given = parser.parse_args()
    options = Options(
        photos=given.photos,
        urls=given.urls,
        rounds=given.rounds,
        parts=tuple(given.only or PARTS),
        quality_photos=given.quality_photos,
        memory_images=given.memory_images,
        calibrate=not given.no_calibration,
    )
    return options, given.no_fail


def _charts() -> list[Path]:
    command = [sys.executable, HERE / "charts.py", BASE / "results.json", BASE]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [Path(line) for line in result.stdout.splitlines()]


if __name__ == "__main__":
    sys.exit(main())
