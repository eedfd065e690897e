"""The canary's way: fetch the known photo, make its thumbnails, then visit all nodes at once.

Its files lie in a folder of their own on the worker and on each node, under the name of the time, so that no stale file
passes for a new one. Only the newest stay, on the nodes; what a killed flight leaves, the next one sweeps.
"""

from __future__ import annotations

import datetime as dt
import logging
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from imagesys_lib.canary.legs import WORKER, Flight, Leg, Limit, Step, Wrong, fly_leg
from imagesys_lib.canary.visit import Cargo, visit
from imagesys_lib.config import Canary
from imagesys_lib.context import Context
from imagesys_lib.db.engine import named_lock
from imagesys_lib.errors import CanaryWaits, UsageError
from imagesys_lib.fetch import Fetched, Fetcher
from imagesys_lib.hashing import canary_folder, lis_path_for_hash
from imagesys_lib.hosts import SharedGate
from imagesys_lib.intervals import UTC
from imagesys_lib.nodes import Node
from imagesys_lib.reasons import ImageFault
from imagesys_lib.runs import set_figures
from imagesys_lib.stages.thumbnail import making
from imagesys_lib.thumbnail.jobs import Job
from imagesys_lib.thumbnail.pool import Decoders

log = logging.getLogger(__name__)

_LOOK = 0.25  # seconds between looks at the limit
_NO_DATASOURCE = 0  # its photo is nobody's: the country's own process details hold


def fly(ctx: Context) -> Flight:
    """Take the country's known photo through the whole path; what fails of it, :meth:`Flight.check` raises.

    Raises UsageError where no canary is configured, CanaryWaits while the photo's host is to be left alone,
    EnvironmentFault where the ground is not sound, LockHeld if another flight of the country does not end.
    """
    settings = ctx.config.canary
    if settings is None:
        raise UsageError(f"Country {ctx.country} has no canary.", remedy="configure one: docs/canary.md.")
    nodes = [ctx.node(name) for name in ctx.config.nodes]
    lock = f"imagesys.{ctx.country}.canary"
    with (
        named_lock(ctx.db, lock, timeout=settings.seconds, on_wait=lambda _seconds: ctx.check_stop()),
        _folder(ctx) as folder,
    ):
        flight = _flown(ctx, settings, nodes, folder)
    for leg in flight.legs:
        log.info("%s canary, %s: %s", ctx.country.upper(), leg.place, shown(leg))
    set_figures(ctx.db, f"canary-{flight.stamp}", _figures(flight))
    return flight


def _flown(ctx: Context, settings: Canary, nodes: Sequence[Node], folder: Path) -> Flight:
    limit = Limit(ctx.stop, settings.seconds)
    stamp = f"{dt.datetime.now(UTC):%Y%m%d%H%M%S%f}"
    cargo = Cargo(folder / "out", {})

    def make(step: Step) -> None:
        with step("fetch"):
            _fetch(ctx, settings, folder / "original", limit)
        with step("thumbnail"):
            cargo.sums.update(_thumbnails(ctx, folder / "original", cargo.out, stamp, limit))

    def to(node: Node) -> Leg:
        return fly_leg(ctx.country, node.name, limit, partial(visit, ctx, node, cargo, limit))

    legs = [fly_leg(ctx.country, WORKER, limit, make)]
    if not legs[0].fault:
        with ThreadPoolExecutor(len(nodes)) as pool:
            legs += pool.map(to, nodes)
    return Flight(ctx.country, stamp, settings.seconds, round(limit.passed, 3), tuple(legs))


def shown(leg: Leg) -> str:
    """Return a leg's steps and seconds in one line."""
    return ", ".join(f"{step} {seconds:.2f} s" for step, seconds in leg.seconds.items())


@contextmanager
def _folder(ctx: Context) -> Iterator[Path]:
    """Give the flight's folder on the staging disk, empty."""
    ctx.staging.require_space()
    folder = ctx.staging.settings.root / f"canary-{ctx.country}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fetch(ctx: Context, settings: Canary, target: Path, limit: Limit) -> None:
    with SharedGate(ctx.shared, ctx.config.fetch) as gate, Fetcher(ctx.config.fetch, gate, limit) as fetcher:
        try:
            fetched = fetcher.fetch(settings.url, target)
        except ImageFault as fault:
            # A status that asks for a pause is an answer, and not the photo; this is the gate, and nobody was asked.
            if fault.retry_after is None or fault.reason.code != "connect":
                raise
            raise CanaryWaits(
                f"{ctx.country.upper()} canary not tried: {fault.detail}, for another {fault.retry_after:.0f} s.",
                remedy="none: it flies when the pause is over; keep canary.url off the hosts of the feed.",
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
        future = decoders.submit([Job(0, original, out, stem, making(ctx.config, _NO_DATASOURCE))])
        while not wait([future], _LOOK).done:
            limit.check()
    (made,) = future.result()
    if not made.thumbs:
        raise Wrong(f"{made.code}: {made.detail}" if made.code else "the photo is gone from staging")
    return {str(thumb["path"]): str(thumb["sha1"]) for thumb in made.thumbs}


def _figures(flight: Flight) -> dict[str, int]:
    """Return what ``lis_metrics`` keeps of a flight: milliseconds of each step, and how many legs failed."""
    figures = {"canary.ms": round(1000 * flight.seconds), "canary.failed": sum(bool(leg.fault) for leg in flight.legs)}
    for leg in flight.legs:
        figures |= {f"canary.ms.{leg.place}.{step}": round(1000 * seconds) for step, seconds in leg.seconds.items()}
    return figures
