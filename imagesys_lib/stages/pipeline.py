"""The whole pipeline in the foreground, without Airflow: what ``imagesys run`` does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

from imagesys_lib.context import Context
from imagesys_lib.errors import ImageSysError, LockLost
from imagesys_lib.nodes import NodeFault
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.check import check, daily_part, scrub
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.heal import heal
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.publish import publish
from imagesys_lib.stages.purge import purge
from imagesys_lib.stages.repair.repair import repair
from imagesys_lib.stages.report import Summary, report
from imagesys_lib.stages.sync import sync
from imagesys_lib.stages.thumbnail import thumbnail

log = logging.getLogger(__name__)

Say = Callable[[str], None]


def run_pipeline(ctx: Context, run: Run, say: Say = log.info) -> Summary:
    """Run every stage in order and return the summary.

    A batch or a node that fails is named and passed over, as the DAG does; the summary's ``lost`` names it.
    """
    failed: list[str] = []

    @contextmanager
    def passing(task: str, *faults: type[ImageSysError]) -> Iterator[None]:
        try:
            yield
        except faults as fault:
            say(f"{task} failed: {fault}")
            failed.append(task)

    runs.begin(ctx.db, run)
    try:
        return _stages(ctx, run, say, failed, passing)
    except BaseException as error:
        # A run that counted as under way for ever would keep the next one from taking its batches over.
        runs.finish(ctx.db, run, "failed", {"error": str(error)})
        raise


def _stages(
    ctx: Context, run: Run, say: Say, failed: list[str], passing: Callable[..., AbstractContextManager[None]]
) -> Summary:
    say(f"heal: {heal(ctx, run)}")
    say(f"ingest: {ingest(ctx, run)}")
    batches = plan(ctx, run)
    say(f"plan: {len(batches)} batches of {sum(batch.size for batch in batches)} images")
    for batch in batches:
        with passing(f"process.download[{batch.seq}]", ImageSysError):
            say(f"batch {batch.seq} download: {download(ctx, batch.batch_id)}")
            say(f"batch {batch.seq} thumbnail: {thumbnail(ctx, batch.batch_id)}")
    reached = _sync(ctx, run, say, passing)
    say(f"publish: {publish(ctx, run)} images went live")
    if run.kind is not RunKind.BACKFILL:
        purged = purge(ctx, run=run)
        say(f"purge: {purged}")
        if purged.deleted:
            reached = _sync(ctx, run, say, passing)
        for node in reached:
            with passing(f"check[{node}]", NodeFault, LockLost):
                checked = check(ctx, node, run.run_id, daily_part(ctx, run.interval))
                findings = {**checked.findings, **scrub(ctx, node, run.run_id).findings}
                say(f"check {node}: {checked.files} files, {findings or 'as the database says'}")
                say(f"repair {node}: {repair(ctx, node, run.run_id)}")
    return report(ctx, run, failed)


def _sync(ctx: Context, run: Run, say: Say, passing: Callable[..., AbstractContextManager[None]]) -> list[str]:
    """Sync all nodes at once; return those that were reached."""

    def attempt(node: str) -> str | None:
        with passing(f"sync[{node}]", NodeFault, LockLost):
            say(f"sync {node}: {sync(ctx, node, run)}")
            return node
        return None

    with ThreadPoolExecutor(len(ctx.config.nodes)) as pool:
        return [node for node in pool.map(attempt, ctx.config.nodes) if node]
