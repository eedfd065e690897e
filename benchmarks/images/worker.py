"""What runs in ImageSys's own processes: `plan`, or `batch ID REPORT`, which is one download and one thumbnail task."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
import time
from collections import Counter
from pathlib import Path

from imagesys_lib.config.intervals import Interval
from imagesys_lib.context import Context, open_context
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.thumbnail import thumbnail

from .settings import COUNTRY


def main() -> None:
    """Do what the command line says."""
    level = logging.WARNING if sys.argv[1] == "plan" else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(name)s: %(message)s")
    ctx = open_context(COUNTRY)
    try:
        if sys.argv[1] == "plan":
            sys.stdout.write(json.dumps(make_batches(ctx)) + "\n")
        else:
            work_off(ctx, int(sys.argv[2]), Path(sys.argv[3]))
    finally:
        ctx.close()


def make_batches(ctx: Context) -> list[int]:
    """Ingest the last day and return the batches planned for it."""
    now = dt.datetime.now(dt.timezone.utc)
    run = Run("bench", RunKind.MANUAL, Interval(now - dt.timedelta(days=1), now))
    runs.begin(ctx.db, run)
    ingest(ctx, run)
    return [batch.batch_id for batch in plan(ctx, run)]


def work_off(ctx: Context, batch_id: int, report: Path) -> None:
    """Download and thumbnail one batch as two tasks would, and write down what became of it."""
    began = time.time()
    downloaded = download(ctx, batch_id)
    fetched = time.time()
    made = thumbnail(ctx, batch_id)
    ended = time.time()
    failed = Counter(downloaded.failed) + Counter(made.failed)
    phases = {"began": began, "fetched": fetched, "ended": ended}
    report.write_text(json.dumps({"made": made.made, "failed": failed, "phases": phases}))


if __name__ == "__main__":
    main()
