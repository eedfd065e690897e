"""A canary run: fetch the known photo, make its thumbnails, then bring them to all nodes at once and read them back.

Its files lie in a folder of their own on the worker and on each node, under the name of the time, so that no stale file
passes for a new one. Only the newest stay, on the nodes; what a killed run leaves, the next one sweeps.
"""

from __future__ import annotations

import datetime as dt
import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from imagesys_lib.config import Canary
from imagesys_lib.config.intervals import UTC
from imagesys_lib.context import Context
from imagesys_lib.db.locks import named_lock
from imagesys_lib.errors import CanaryWaits, UsageError
from imagesys_lib.fetch.http.fetcher import Fetcher
from imagesys_lib.fetch.http.jobs import Fetched
from imagesys_lib.fetch.politeness.host_limits import SharedLimiter
from imagesys_lib.images.hash_and_path import canary_folder, lis_path_for_hash
from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.nodes import Node
from imagesys_lib.ops.canary.node import Files, bring_to_node
from imagesys_lib.ops.canary.timed_steps import WORKER, CanaryRun, Limit, Place, Step, Wrong, run_steps
from imagesys_lib.runs.runs import set_figures
from imagesys_lib.stages.thumbnail import making
from imagesys_lib.thumbnail.messages import ThumbnailJob
from imagesys_lib.thumbnail.processes.pool import Decoders

log = logging.getLogger(__name__)

_CHECK_SECONDS = 0.25  # between checks of the limit
_NO_DATASOURCE = 0  # its photo is nobody's: the country's own process details hold


def run_canary(ctx: Context) -> CanaryRun:
    """Take the country's known photo through the whole path; what fails of it, :meth:`CanaryRun.check` raises.

    Raises UsageError where no canary is configured, CanaryWaits while the photo's host is to be left alone,
    EnvironmentFault where database or staging disk fail, LockHeld if another canary run of the country does not end.
    """
    settings = ctx.config.canary
    if settings is None:
        raise UsageError(f"Country {ctx.country} has no canary.", remedy="configure one: docs/canary.md.")
    lock = f"imagesys.{ctx.country}.canary"
    with (
        named_lock(ctx.db, lock, timeout=settings.seconds, on_wait=lambda _seconds: ctx.check_stop()),
        _folder(ctx) as folder,
    ):
        run = _run(ctx, settings, folder)
    figures = {"canary.ms": round(1000 * run.seconds), "canary.failed": sum(bool(place.fault) for place in run.places)}
    for place in run.places:
        log.info("%s canary, %s: %s", ctx.country.upper(), place.name, place)
        figures |= {f"canary.ms.{place.name}.{step}": round(1000 * took) for step, took in place.seconds.items()}
    set_figures(ctx.db, f"canary-{run.stamp}", figures)
    return run


def _run(ctx: Context, settings: Canary, folder: Path) -> CanaryRun:
    nodes = [ctx.node(name) for name in ctx.config.nodes]
    limit = Limit(ctx.stop, settings.seconds)
    stamp = f"{dt.datetime.now(UTC):%Y%m%d%H%M%S%f}"
    files = Files(folder / "out", {})

    def make(step: Step) -> None:
        with step("fetch"):
            _fetch(ctx, settings, folder / "original", limit)
        with step("thumbnail"):
            files.sums.update(_thumbnails(ctx, folder / "original", files.out, stamp, limit))

    def bring(node: Node) -> Place:
        return run_steps(ctx.country, node.name, limit, partial(bring_to_node, ctx, node, files, limit))

    places = [run_steps(ctx.country, WORKER, limit, make)]
    if not places[0].fault:
        with ThreadPoolExecutor(len(nodes)) as pool:
            places += pool.map(bring, nodes)
    return CanaryRun(ctx.country, stamp, settings.seconds, round(limit.passed, 3), tuple(places))


@contextmanager
def _folder(ctx: Context) -> Iterator[Path]:
    """Give the run's folder on the staging disk, empty."""
    ctx.staging.require_space()
    folder = ctx.staging.settings.root / f"canary-{ctx.country}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fetch(ctx: Context, settings: Canary, target: Path, limit: Limit) -> None:
    with SharedLimiter(ctx.shared, ctx.config.fetch) as limiter, Fetcher(ctx.config.fetch, limiter, limit) as fetcher:
        try:
            fetched = fetcher.fetch(settings.url, target)
        except ImageFault as fault:
            # A status that asks for a pause is an answer, and not the photo; here nobody was asked.
            if fault.retry_after is None or fault.reason.code != "connect":
                raise
            raise CanaryWaits(
                f"{ctx.country.upper()} canary not tried: {fault.detail}, for another {fault.retry_after:.0f} s.",
                remedy="none: it is tried again when the pause is over; keep canary.url off the hosts of the feed.",
            ) from None
    assert isinstance(fetched, Fetched)
    if fetched.sha1 != settings.sha1:
        what = f"{fetched.size} bytes of type {fetched.content_type or 'unknown'}"
        raise Wrong(f"not the known photo: {what}, SHA-1 {fetched.sha1}, not {settings.sha1}")


def _thumbnails(ctx: Context, original: Path, out: Path, stamp: str, limit: Limit) -> dict[str, str]:
    """Make the thumbnails below ``out`` and return their checksums."""
    settings = ctx.config.thumbnail
    stem = f"{canary_folder(ctx.country)}/{lis_path_for_hash(stamp.zfill(40))}"
    with Decoders(1, settings.memory_mb, settings.seconds) as decoders:
        future = decoders.submit([ThumbnailJob(0, original, out, stem, making(ctx.config, _NO_DATASOURCE))])
        while not wait([future], _CHECK_SECONDS).done:
            limit.check()
    (made,) = future.result()
    if not made.thumbs:
        raise Wrong(f"{made.code}: {made.detail}" if made.code else "the photo is gone from staging")
    return {str(thumb["path"]): str(thumb["sha1"]) for thumb in made.thumbs}
