"""A run in a process of its own, which may be killed: RUN_ID DAY. Says each step; exit code 2: work was lost."""

from __future__ import annotations

import datetime as dt
import sys

from imagesys_lib.config.intervals import local_day
from imagesys_lib.context import open_context
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.pipeline import run_pipeline
from tests.support.world import COUNTRY


def main() -> int:
    """Run all stages of one day."""
    run_id, day = sys.argv[1:]
    ctx = open_context(COUNTRY)
    try:
        interval = local_day(dt.date.fromisoformat(day), ctx.config.zone)
        run = Run(run_id, RunKind.SCHEDULED, interval)
        return 2 if run_pipeline(ctx, run, lambda line: print(line, flush=True)).lost else 0
    finally:
        ctx.close()


if __name__ == "__main__":
    sys.exit(main())
