"""When a disk will be full, by what was free on it in the last runs."""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations

from imagesys_lib.context import Context
from imagesys_lib.db.engine import Row, database_now
from imagesys_lib.errors import EnvironmentFault
from imagesys_lib.replication.node_records import FREE_FIGURES
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run
from imagesys_lib.stages.report.trend import LEAST_RUNS

STAGING = "staging"
"""What the staging disk is called beside the nodes."""

_LEAST_DAYS = 2.0  # a shorter trend is the coming and going of one day's files


@dataclass(frozen=True)
class DiskForecast:
    """What was free on a disk, and in how many days that is down to its floor, if it goes on as in the last runs."""

    free_bytes: int
    full_in_days: float | None = None


def forecasts(ctx: Context, run: Run, history: Sequence[Row]) -> dict[str, DiskForecast]:
    """Return what is left on the staging disk now, and on each node as this run's sync found it."""
    now = database_now(ctx.db)
    free = runs.figures(ctx.db, run.run_id, FREE_FIGURES)
    current = {name: free[name] for name in ctx.config.nodes if name in free}
    with suppress(EnvironmentFault):  # a machine without the staging disk, such as the triggerer's
        current = {STAGING: ctx.staging.free_bytes(), **current}
    seen: dict[str, list[tuple[dt.datetime, int]]] = {}
    for row in history:
        if row.name.startswith(FREE_FIGURES):
            seen.setdefault(row.name.removeprefix(FREE_FIGURES), []).append((row.measured_at, row.value))
    floors = {STAGING: ctx.config.staging.min_free_mb << 20}
    node_floor = ctx.config.transfer.node_min_free_mb << 20
    disks = {}
    for name, size in current.items():
        points = [((at - now) / dt.timedelta(days=1), then) for at, then in [*seen.get(name, []), (now, size)]]
        disks[name] = DiskForecast(size, days_until(points, floors.get(name, node_floor)))
    return disks


def days_until(points: Sequence[tuple[float, int]], floor: int) -> float | None:
    """Return in how many days after the last of ``points`` (day, free bytes) a disk has ``floor`` free; None if never.

    By the median of the slopes between any two points, which one clean-up of the disk does not move.
    """
    points = sorted(points)
    if len(points) <= LEAST_RUNS or points[-1][0] - points[0][0] < _LEAST_DAYS:
        return None
    slope = statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] > a[0])
    return max(0.0, (points[-1][1] - floor) / -slope) if slope < 0 else None
