"""What is made of the measurements: pure, so that the figures of an old results.json can be judged again."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.common.lines import Line

SLOPE_LIMIT, FIXED_LIMIT = 1.1, 1.8
QUIET = 0.25
"""How much of the machine may be busy beside a sound measurement; Airflow at rest takes a tenth of two processors."""

BATCH_STAGES = ("download", "thumbnail")
STAGES = (
    "preflight",
    "heal",
    "ingest",
    "plan",
    "download",
    "thumbnail",
    "sync",
    "publish",
    "purge",
    "purge_node",
    "check",
    "repair",
    "report",
)


@dataclass(frozen=True)
class Task:
    """One task instance; instants in seconds of the epoch. A skipped one may have been queued by nobody."""

    stage: str
    index: int
    scheduled: float
    queued: float
    started: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it ran, with its process's start."""
        return self.ended - self.started


@dataclass(frozen=True)
class Measured:
    """One run of one contender. ``stages`` are seconds by stage, of which the library does one after another."""

    images: int
    seconds: float
    machine_seconds: float
    site_seconds: float
    foreign: float
    stages: dict[str, float] = field(default_factory=dict)
    queued_at: float = 0.0
    ended_at: float = 0.0
    tasks: tuple[Task, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """One limit, and how the measurement stands to it; None: the runs vary too much to say, which counts as missed."""

    what: str
    value: float | None
    limit: float

    @property
    def met(self) -> bool:
        """Whether it is kept."""
        return self.value is not None and self.value <= self.limit


@dataclass(frozen=True)
class Share:
    """One kind of task: how many; seconds of each, of all, and from the first start to the last end.

    ``slot`` is the mean wait from scheduled to queued (a free slot of pool and executor), ``start`` from there to the
    first instant of the task's process, ``idle`` how long no task at all ran before one of these. ``library`` is what
    the library takes for the whole stage.
    """

    stage: str
    count: int
    each: float
    total: float
    span: float
    slot: float
    start: float
    idle: float
    library: float | None


def points(runs: Iterable[Measured]) -> list[tuple[int, float]]:
    """Return what the line goes through."""
    return [(run.images, run.seconds) for run in runs]


def verdicts(airflow: Line, library: Line, empty_seconds: float) -> list[Verdict]:
    """Judge Airflow's line by the library's slope and by the empty run of the same DAG."""
    sound = min(airflow.slope, airflow.fixed, library.slope, library.fixed) > 0  # time grows with images, from above 0
    slope, fixed = (airflow.slope / library.slope, airflow.fixed / empty_seconds) if sound else (None, None)
    return [
        Verdict("slope through Airflow / the library's slope", slope, SLOPE_LIMIT),
        Verdict("fixed part of Airflow / an empty run of the same DAG", fixed, FIXED_LIMIT),
    ]


def shares(run: Measured, library: Measured | None) -> list[Share]:
    """Return the run's tasks by kind, in the order of the pipeline."""
    found, gaps = [], gaps_of(run)
    for stage in sorted({task.stage for task in run.tasks}, key=order):
        tasks = [task for task in run.tasks if task.stage == stage]
        found.append(
            Share(
                stage,
                len(tasks),
                statistics.fmean(task.seconds for task in tasks),
                sum(task.seconds for task in tasks),
                span(run, stage),
                statistics.fmean(task.queued - task.scheduled for task in tasks),
                statistics.fmean(task.started - task.queued for task in tasks),
                gaps.get(stage, 0.0),
                library.stages.get(stage) if library else None,
            )
        )
    return found


def order(stage: str) -> int:
    """Return a stage's place in the pipeline; the unknown come last."""
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


@dataclass(frozen=True)
class Phases:
    """Where a run's wall time goes: until the first batch starts, the batches, from the last batch's end.

    ``idle`` is how long no task at all was running: the scheduler's part, wherever it lies.
    """

    before: float
    batches: float
    after: float
    idle: float


def phases(run: Measured) -> Phases:
    """Take a run through Airflow apart."""
    batches = [task for task in run.tasks if task.stage in BATCH_STAGES]
    first = min((task.started for task in batches), default=run.ended_at)
    last = max((task.ended for task in batches), default=run.ended_at)
    return Phases(first - run.queued_at, last - first, run.ended_at - last, sum(gaps_of(run).values()))


def gaps_of(run: Measured) -> dict[str, float]:
    """Return the seconds in which no task ran, by the stage that ended the gap; "end" is the run's own end."""
    gaps: dict[str, float] = {}
    clock = run.queued_at
    for task in sorted(run.tasks, key=lambda one: one.started):
        if task.started > clock:
            gaps[task.stage] = gaps.get(task.stage, 0.0) + task.started - clock
        clock = max(clock, task.ended)
    gaps["end"] = max(0.0, run.ended_at - clock)
    return gaps


def start_up(empty: Measured, library_empty: Measured) -> float:
    """Return what a task costs beside its work: its mean seconds in an empty run less the library's for the stage.

    Only stages that are one task in Airflow and one step in the library, so that like is compared with like; without
    heal, which in the library has the process's start in it.
    """
    alike = ("ingest", "plan", "publish", "purge")
    differences = [
        task.seconds - library_empty.stages[task.stage]
        for task in empty.tasks
        if task.stage in alike and task.stage in library_empty.stages
    ]
    return statistics.fmean(differences) if differences else 0.0


def span(run: Measured, stage: str) -> float:
    """Return from the first start to the last end of a stage's tasks."""
    tasks = [task for task in run.tasks if task.stage == stage]
    return max(task.ended for task in tasks) - min(task.started for task in tasks) if tasks else 0.0
