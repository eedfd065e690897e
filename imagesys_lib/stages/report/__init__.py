"""Report: one summary of a run, and the verdict whether work was lost.

Judged by the database and the states of the run's tasks, so that a report made again after repairs tells the truth
again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from imagesys_lib.context import Context
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run
from imagesys_lib.stages.report.disk_forecast import DiskForecast
from imagesys_lib.stages.report.nodes import FullCheck, NodeState
from imagesys_lib.stages.report.rendering import facts, render, run_note
from imagesys_lib.stages.report.summary import (
    Summary,
    Weights,
    compared_figures,
    figures_of,
    forgotten_figures,
    gather,
    kept,
)
from imagesys_lib.stages.report.verdict import anomalies, losses, nodes_alone

__all__ = [
    "DiskForecast",
    "FullCheck",
    "NodeState",
    "Summary",
    "Weights",
    "broke_off",
    "facts",
    "kept",
    "losses",
    "nodes_alone",
    "render",
    "report",
    "run_note",
    "summarize",
]

log = logging.getLogger(__name__)


def summarize(ctx: Context, run: Run, failed_tasks: Sequence[str] = ()) -> Summary:
    """Look the run up in the database and judge it. ``failed_tasks`` are tasks that the scheduler saw fail."""
    summary = gather(ctx, run)
    row = runs.load(ctx.db, run.run_id)
    ingested = row is not None and row.ingested_at is not None
    return replace(
        summary,
        lost=losses(summary, ingested, failed_tasks),
        anomalies=anomalies(summary, compared_figures(summary)),
    )


def report(ctx: Context, run: Run, failed_tasks: Sequence[str] = ()) -> Summary:
    """Summarise a run, keep the summary and its figures, and return it; the caller decides to fail on ``lost``."""
    summary = summarize(ctx, run, failed_tasks)
    runs.finish(ctx.db, run, "failed" if summary.lost else "success", summary.as_json())
    figures = {**forgotten_figures(ctx.db, summary), **figures_of(summary), "lost": len(summary.lost)}
    runs.set_figures(ctx.db, run.run_id, figures)
    log.info(render(summary))
    return summary


def broke_off(ctx: Context, run: Run, why: str) -> str:
    """Record the end of a run that could do nothing at all, and return its note; the day's mail tells of it.

    Its preflight may have failed before it recorded the run's beginning.
    """
    runs.begin(ctx.db, run)
    runs.finish(ctx.db, run, "failed", {"error": why})
    return f"**WORK LOST**\n\n- {why}"
