"""Measure nodes at scale: `make bench-nodes`, or python -m benchmarks.nodes [--only PART].

Prints tables and writes report.md and results.json to .local/bench-nodes. Exit code 1: a target was missed; 3: it
could not be measured.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict

from rich.console import Console

from benchmarks.common import report
from benchmarks.common.outcome import Part
from include.sandbox.errors import SandboxError

from . import check, push, refill
from .extension import extended
from .settings import BASE, PARTS, Options
from .testbed import BenchmarkError, Testbed

EXIT_MISSED, EXIT_ENVIRONMENT = 1, 3

_TITLE = "Nodes at scale"
_MEASURES: dict[str, Callable[[Options, Testbed], Part]] = {
    "push": push.measure,
    "check": check.measure,
    "refill": refill.measure,
    "scrub": refill.measure_scrub,
}

console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def main() -> int:
    """Measure and return the exit code."""
    options, no_fail = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        with Testbed(options, _say) as testbed:
            parts = _measure(options, testbed)
    except (BenchmarkError, SandboxError) as error:
        console.print(str(error), style="red", markup=False)
        return EXIT_ENVIRONMENT
    missed = [target for part in parts.values() for target in part.targets if not target.met]
    if missed:
        console.print(f"{len(missed)} targets were missed.", style="red")
    return EXIT_MISSED if missed and not no_fail else 0


def _measure(options: Options, testbed: Testbed) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for name in options.parts:
        _say(f"[{name}]")
        parts[name] = _MEASURES[name](options, testbed)
        report.show(parts[name], console)
        report.write(BASE, _TITLE, parts, asdict(options))  # a million files are too dear to be lost with what follows
    table = extended(parts.values(), options)
    if table:
        parts["country"] = table
        report.show(table, console)
    console.print(f"Written: {report.write(BASE, _TITLE, parts, asdict(options))} and results.json beside it")
    return parts


def _say(line: str) -> None:
    console.print(f"  {line}", markup=False, style="dim")


def _options() -> tuple[Options, bool]:
    parser = argparse.ArgumentParser(prog="benchmarks.nodes", description=__doc__)
    parser.add_argument(
        "--images", type=int, default=Options.images, help="images of the check, and files of the push (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=Options.rounds, help="interleaved rounds (%(default)s)")
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--push-images", type=int, default=Options.push_images, help="images pushed (%(default)s)")
    parser.add_argument(
        "--refill-images", type=int, default=Options.refill_images, help="images of refill and scrub (%(default)s)"
    )
    parser.add_argument(
        "--day-images", type=int, default=Options.day_images, help="a day of the table at the end (%(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="leave trees and database as they are at the end")
    parser.add_argument("--no-fail", action="store_true", help="exit 0 though a target was missed")
    given = parser.parse_args()
    options = Options(
        images=given.images,
        rounds=given.rounds,
        parts=tuple(given.only or PARTS),
        push_images=given.push_images,
        refill_images=given.refill_images,
        day_images=given.day_images,
        keep=given.keep,
    )
    return options, given.no_fail


if __name__ == "__main__":
    sys.exit(main())
