"""What the scheduler costs: daily runs of country uk through a real Airflow, beside `imagesys run` on the same work.

Each size is a local day of its own with so many new images, each URL with bytes of its own. Before every run the
databases, trees and staging are emptied; while the library runs, Airflow is stopped. A run after which not every image
is live, with its files on every node, ends the benchmark. Usage: python -m benchmarks.airflow_overhead
[--images 1000,5000,20000] [--rounds 3] [--no-fail], or --batch-sizes 500,1000,2000,5000 to compare settings of
batch.size on one day.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
from collections.abc import Callable

from rich.console import Console

from include.sandbox.errors import SandboxError

from .contenders import Airflow, Library
from .figures import Measured
from .results import Grid, Results, batch_size_grid, save, save_chart
from .testbed import BASE, BenchmarkError, Day, Testbed

EXIT_MISSED, EXIT_ENVIRONMENT = 1, 3

console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def main() -> int:
    """Measure, print and judge."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that what was started is stopped
    sizes = [options.batch_images] if options.batch_sizes else options.images
    try:
        testbed = Testbed.begin(options.patience)
        try:
            days = testbed.seed(sizes, _say)
            if options.batch_sizes:
                return _compare_batch_sizes(testbed, days[0], options.batch_sizes, options.rounds)
            return _compare_contenders(testbed, days, options.rounds, fail=not options.no_fail)
        finally:
            testbed.end()
    except (BenchmarkError, SandboxError) as error:
        console.print(str(error), style="red", markup=False)
        return EXIT_ENVIRONMENT


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=_numbers, default=[1000, 5000, 20000], help="images a day, two sizes or more")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patience", type=float, default=60, help="seconds that a run waits for a quiet machine")
    parser.add_argument("--no-fail", action="store_true", help="exit 0 also where a limit is missed")
    parser.add_argument("--batch-sizes", type=_numbers, default=[], help="compare these on one day, and nothing else")
    parser.add_argument("--batch-images", type=int, default=5000, help="images of that day")
    options = parser.parse_args()
    if len(set(options.images)) < 2:
        parser.error("--images needs two different numbers: a line has to go through them")
    return options


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _compare_contenders(testbed: Testbed, days: list[Day], rounds: int, *, fail: bool) -> int:
    results, library, airflow = Results(), Library(testbed), Airflow(testbed)
    turns: list[Callable[[Day], None]] = [
        lambda day: _turn(library, day, results),
        lambda day: _airflow_turn(airflow, day, results),
    ]
    for number in range(rounds):
        for day in days:
            for turn in turns if number % 2 == 0 else reversed(turns):
                turn(day)
    path = save(BASE, "report", grids := results.grids(), results.as_json())
    chart = save_chart(BASE, results)
    _show(grids, path)
    if chart:
        _say(f"chart: {chart}")
    missed = [one for one in results.verdicts() if not one.met]
    return EXIT_MISSED if missed and fail else 0


def _turn(contender: Library | Airflow, day: Day, results: Results) -> None:
    for measured, one in ((results.empty, contender.testbed.empty_day()), (results.runs, day)):
        measured[contender.name].append(_say_measured(contender.name, contender.measure(one)))
        results.keep(BASE)


def _airflow_turn(airflow: Airflow, day: Day, results: Results) -> None:
    try:
        airflow.start()
        _turn(airflow, day, results)
    finally:
        airflow.stop()


def _compare_batch_sizes(testbed: Testbed, day: Day, sizes: list[int], rounds: int) -> int:
    airflow = Airflow(testbed)
    measured: dict[int, list[Measured]] = {size: [] for size in sizes}
    airflow.start()
    for number in range(rounds):
        for size in sizes if number % 2 == 0 else reversed(sizes):
            testbed.use_batches_of(size)
            measured[size].append(_say_measured(f"batches of {size}", airflow.measure(day)))
    middle = [(size, _median_run(runs)) for size, runs in measured.items()]
    grids = [batch_size_grid(middle)]
    data = {str(size): [run.seconds for run in runs] for size, runs in measured.items()}
    _show(grids, save(BASE, "batch-sizes", grids, {"images": day.images, "seconds": data}))
    return 0


def _median_run(runs: list[Measured]) -> Measured:
    median = statistics.median_low(run.seconds for run in runs)
    return next(run for run in runs if run.seconds == median)


def _say_measured(who: str, run: Measured) -> Measured:
    _say(f"{who}: {run.images} images in {run.seconds:.1f} s")
    return run


def _say(line: str) -> None:
    console.print(f"  {line}", markup=False)


def _show(grids: list[Grid], path: object) -> None:
    for grid in grids:
        console.print()
        grid.show(console)
    console.print(f"\n{path}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
