"""What was measured, as tables that the screen and the report share."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks.common.lines import Line, fit
from include.sandbox.settings import write_atomically

from .contenders import Airflow, Library
from .figures import (
    BATCH_STAGES,
    QUIET,
    Measured,
    Verdict,
    gaps_of,
    phases,
    points,
    shares,
    span,
    start_up,
    verdicts,
)

_DRAFT = "runs-so-far.json"
CONTENDERS = (Library.name, Airflow.name)


@dataclass(frozen=True)
class Grid:
    """A table with a title; the first column is text, the others are figures."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""

    def show(self, console: Console) -> None:
        """Print it."""
        table = Table(title=self.title, title_justify="left", caption=self.note or None, caption_justify="left")
        for number, name in enumerate(self.columns):
            table.add_column(name, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> str:
        """Return it as Markdown."""
        lines = [
            f"## {self.title}",
            "",
            f"| {' | '.join(self.columns)} |",
            "| --- |" + " ---: |" * (len(self.columns) - 1),
        ]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join([*lines, *(["", self.note] if self.note else [])]) + "\n"


@dataclass
class Results:
    """All runs by contender, empty ones apart."""

    runs: dict[str, list[Measured]] = field(default_factory=lambda: {name: [] for name in CONTENDERS})
    empty: dict[str, list[Measured]] = field(default_factory=lambda: {name: [] for name in CONTENDERS})

    def lines(self) -> dict[str, Line]:
        """Return each contender's line."""
        return {name: fit(points(self.runs[name])) for name in CONTENDERS}

    @property
    def empty_seconds(self) -> dict[str, float]:
        """Median of the empty runs."""
        return {name: statistics.median(run.seconds for run in self.empty[name]) for name in CONTENDERS}

    def verdicts(self) -> list[Verdict]:
        """See :func:`figures.verdicts`."""
        lines = self.lines()
        return verdicts(lines[Airflow.name], lines[Library.name], self.empty_seconds[Airflow.name])

    def as_json(self) -> dict[str, Any]:
        """Return everything, so that it can be judged again."""
        return {
            "verdicts": [{**asdict(one), "met": one.met} for one in self.verdicts()],
            "lines": {name: asdict(line) for name, line in self.lines().items()},
            "empty_seconds": self.empty_seconds,
            **self._measured(),
        }

    def keep(self, folder: Path) -> None:
        """Write down what there is so far: a run of 20,000 images is too dear to be lost with the next one."""
        write_atomically(folder / _DRAFT, json.dumps(self._measured(), indent=1) + "\n")

    def _measured(self) -> dict[str, Any]:
        return {
            "runs": {name: [asdict(run) for run in runs] for name, runs in self.runs.items()},
            "empty": {name: [asdict(run) for run in runs] for name, runs in self.empty.items()},
        }

    def grids(self) -> list[Grid]:
        """Return all tables, the verdict last."""
        largest = {name: max(self.runs[name], key=lambda run: run.images) for name in CONTENDERS}
        rest = [
            task_grid("Where an empty run's time goes", self.empty[Airflow.name][-1], self.empty[Library.name][-1]),
            task_grid(
                f"Where the time of {largest['Airflow'].images} images goes",
                largest[Airflow.name],
                largest[Library.name],
            ),
        ]
        return [self._runs_grid(), self._lines_grid(), *rest, self._phases_grid(), self._verdict_grid()]

    def _runs_grid(self) -> Grid:
        rows = []
        for kind in (self.empty, self.runs):
            for name in CONTENDERS:
                rows += [(f"{name}{'' if run.images else ', empty'}", *_run_row(run)) for run in kind[name]]
        columns = ("run", "images", "seconds", "images/s", "processor s", "of it web site", "in sync", "others' load")
        note = "Processor seconds are the whole machine's. Others' load is how busy it was just before or after."
        return Grid("Runs", columns, rows, note)

    def _lines_grid(self) -> Grid:
        rows = []
        for name, line in self.lines().items():
            worst = max((run.seconds - line.at(run.images) for run in self.runs[name]), key=abs)
            empty = f"{self.empty_seconds[name]:.1f}"
            rows.append((name, f"{line.fixed:.1f}", f"{line.slope * 1000:.2f}", f"{worst:+.1f}", empty))
        columns = ("contender", "fixed s", "s per 1,000 images", "largest residual s", "empty run s")
        return Grid("seconds = fixed + slope x images, least squares", columns, rows)

    def _phases_grid(self) -> Grid:
        rows = []
        for run in (*self.empty[Airflow.name], *self.runs[Airflow.name]):
            taken = phases(run)
            figures = (taken.before, taken.batches, taken.after, taken.idle)
            rows.append((str(run.images), *(f"{value:.1f}" for value in figures)))
        columns = ("images", "until first batch", "batches", "after last batch", "no task running")
        return Grid("Phases of the runs through Airflow, seconds", columns, rows, self._overhead())

    def _overhead(self) -> str:
        own = start_up(self.empty[Airflow.name][-1], self.empty[Library.name][-1])
        batches = [task for run in self.runs[Airflow.name] for task in run.tasks if task.stage in BATCH_STAGES]
        started = statistics.fmean(task.started - task.queued for task in batches)
        return (
            f"A mapped batch task: {started:.2f} s from queued to started, and about {own:.2f} s inside it that are "
            "not its stage's (process, DAG, context; measured on the small stages of an empty run)."
        )

    def _verdict_grid(self) -> Grid:
        rows = [
            (
                one.what,
                "noise" if one.value is None else f"{one.value:.2f}",
                f"<= {one.limit:g}",
                "met" if one.met else "MISSED",
            )
            for one in self.verdicts()
        ]
        runs = [run for kind in (self.empty, self.runs) for some in kind.values() for run in some]
        busy = sum(run.foreign > QUIET for run in runs)
        note = f"{busy} of {len(runs)} runs found the machine busy with other work: measure again." if busy else ""
        return Grid("Verdict", ("what", "measured", "limit", ""), rows, note)


def _run_row(run: Measured) -> tuple[str, ...]:
    sync = span(run, "sync") if run.tasks else run.stages.get("sync", 0.0)
    rate = f"{run.images / run.seconds:.1f}" if run.images else ""
    site = f"{run.site_seconds:.1f}"
    return (
        str(run.images),
        f"{run.seconds:.1f}",
        rate,
        f"{run.machine_seconds:.1f}",
        site,
        f"{100 * sync / run.seconds:.0f} %",
        f"{100 * run.foreign:.0f} %",
    )


def task_grid(title: str, run: Measured, library: Measured | None) -> Grid:
    """Return a run's tasks by kind, beside the library's seconds for the same stage."""
    rows: list[tuple[str, ...]] = []
    for share in shares(run, library):
        figures = (share.each, share.total, share.span, share.library, share.slot, share.start, share.idle)
        rows.append((share.stage, str(share.count), *("" if value is None else f"{value:.2f}" for value in figures)))
    rows.append(("(end)", *[""] * 7, f"{gaps_of(run)['end']:.2f}"))
    columns = ("task", "count", "each s", "all s", "span s", "library s", "slot wait s", "to start s", "idle before s")
    note = (
        "Span: first start to last end. Slot wait: scheduled to queued, no overhead where batches wait for batches. To "
        "start: queued to started. Idle before: no task at all ran. The library's heal has its process's start in it."
    )
    return Grid(title, columns, rows, note)


def batch_size_grid(runs: Sequence[tuple[int, Measured]]) -> Grid:
    """Return how one day goes with different batch sizes."""
    rows = []
    for size, run in runs:
        batches = [task for task in run.tasks if task.stage in BATCH_STAGES]
        mean = statistics.fmean(task.seconds for task in batches)
        taken = phases(run)
        figures = (run.seconds, taken.batches, taken.idle, mean, run.machine_seconds)
        rows.append((str(size), str(len(batches)), *(f"{value:.1f}" for value in figures)))
    columns = (
        "batch size",
        "batch tasks",
        "seconds",
        "of it batches",
        "no task running",
        "s a batch task",
        "processor s",
    )
    return Grid(f"{runs[0][1].images} images through Airflow, by batch.size", columns, rows)


def save(folder: Path, name: str, grids: Sequence[Grid], data: object) -> Path:
    """Write the tables as Markdown and everything as JSON; returns the Markdown file."""
    report = folder / f"{name}.md"
    write_atomically(report, "# What the scheduler costs\n\n" + "\n".join(grid.markdown() for grid in grids))
    data_name = "results" if name == "report" else name
    write_atomically(folder / f"{data_name}.json", json.dumps(data, indent=1) + "\n")
    (folder / _DRAFT).unlink(missing_ok=True)
    return report


def save_chart(folder: Path, results: Results) -> Path:
    """Draw both lines."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="images of the day", ylabel="seconds of wall time", title="A daily run")
    for name, line in results.lines().items():
        some = points(results.runs[name])
        most = max(images for images, _ in some)
        (drawn,) = axes.plot([0, most], [line.fixed, line.at(most)], label=name)
        axes.scatter([x for x, _ in some], [y for _, y in some], color=drawn.get_color())
    axes.legend()
    path = folder / "chart.png"
    figure.savefig(path, dpi=150)
    return path
