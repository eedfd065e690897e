"""Commands that do a run's work by hand: the whole pipeline or one stage."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from imagesys_lib.cli.support import (
    Country,
    DryRun,
    IntervalOption,
    Json,
    NodeOption,
    Results,
    Verbose,
    country_context,
    out,
    show,
)
from imagesys_lib.config.intervals import UTC, latest_complete_day, parse_interval, parse_since
from imagesys_lib.context import Context
from imagesys_lib.db.engine import NOW, read
from imagesys_lib.db.schema import lis_batches, lis_images
from imagesys_lib.errors import EXIT_WORK_LOST
from imagesys_lib.images.states import State
from imagesys_lib.ops.retry import retry as requeue
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages import ingest as ingest_stage
from imagesys_lib.stages import pipeline
from imagesys_lib.stages import plan as plan_stage
from imagesys_lib.stages import publish as publish_stage
from imagesys_lib.stages import sync as sync_stage
from imagesys_lib.stages import thumbnail as thumbnail_stage
from imagesys_lib.stages.download import download as download_stage
from imagesys_lib.stages.heal import heal as heal_stage
from imagesys_lib.stages.report import render

_NOTHING_DUE = "No rows gained. No work to do."

BatchOption = Annotated[int | None, typer.Option("--batch", help="One batch by its id; all that are due if not given.")]


def _by_hand(ctx: Context, kind: RunKind, interval: str | None, *, force: bool = False) -> Run:
    zone = ctx.config.zone
    span = parse_interval(interval, zone) if interval is not None else latest_complete_day(dt.datetime.now(UTC), zone)
    return Run(f"by-hand__{dt.datetime.now(UTC).isoformat(timespec='microseconds')}", kind, span, force)


def run(
    country: Country,
    interval: IntervalOption = None,
    force: Annotated[bool, typer.Option("--force", help="Make the interval's live images again.")] = False,
    verbose: Verbose = False,
    json_output: Json = False,
) -> None:
    """Run the whole pipeline in the foreground, without Airflow.

    Without --interval it does what the day's scheduled run does; with it, that interval is read, whatever is due is
    done, and nothing is purged.

    Example: imagesys run uk --interval 2026-03-01
    """
    with country_context(country, "run", verbose=verbose, json_output=json_output) as ctx:
        by_hand = _by_hand(ctx, RunKind.SCHEDULED if interval is None else RunKind.MANUAL, interval, force=force)
        say: Callable[[str], None] = (lambda _line: None) if json_output else out.print
        summary = pipeline.run_pipeline(ctx, by_hand, say)
    if json_output:
        show(summary, True)
    else:
        out.print(render(summary))
    if summary.lost:
        raise typer.Exit(EXIT_WORK_LOST)


def ingest(
    country: Country, interval: IntervalOption = None, verbose: Verbose = False, json_output: Json = False
) -> None:
    """Read the ETL's listings of an interval (and its look-back) into the database.

    Example: imagesys ingest uk --interval 2026-03-01
    """
    with country_context(country, "ingest", verbose=verbose, json_output=json_output) as ctx:
        by_hand = _by_hand(ctx, RunKind.MANUAL, interval)
        runs.begin(ctx.db, by_hand)
        show(ingest_stage.ingest(ctx, by_hand), json_output)


def plan(
    country: Country, interval: IntervalOption = None, verbose: Verbose = False, json_output: Json = False
) -> None:
    """Reserve what is due and cut it into batches.

    Example: imagesys plan uk && imagesys download uk && imagesys thumbnail uk
    """
    with country_context(country, "plan", verbose=verbose, json_output=json_output) as ctx:
        by_hand = _by_hand(ctx, RunKind.MANUAL, interval)
        runs.begin(ctx.db, by_hand)
        batches = plan_stage.plan(ctx, by_hand)
    if json_output:
        show(batches, True)
    else:
        lines = [f"batch {batch.batch_id}: {batch.size} images" for batch in batches]
        out.print("\n".join(lines) or _NOTHING_DUE)


def _batches_with(ctx: Context, state: State) -> list[int]:
    """Return batches that nobody holds (any more) and that have images in ``state``."""
    b, i = lis_batches.c, lis_images.c
    query = (
        sa.select(b.batch_id)
        .where(sa.exists().where(i.batch_id == b.batch_id, i.state == state.value))
        .where(b.holder.is_(None) | (b.lease_until < NOW))
        .where(b.state.not_in(["released"]))
        .order_by(b.batch_id)
        .limit(1000)
    )
    return [row.batch_id for row in read(ctx.db, query)]


def _work_batches(
    work: Callable[[Context, int], Any], state: State, country: str, batch: int | None, verbose: bool, json_output: bool
) -> None:
    with country_context(country, work.__name__, verbose=verbose, json_output=json_output) as ctx:
        batches = [batch] if batch is not None else _batches_with(ctx, state)
        if not batches and not json_output:
            out.print(_NOTHING_DUE)
        show({f"batch {batch_id}": work(ctx, batch_id) for batch_id in batches}, json_output)


def download(country: Country, batch: BatchOption = None, verbose: Verbose = False, json_output: Json = False) -> None:
    """Fetch the originals of planned batches.

    Example: imagesys download uk --verbose
    """
    _work_batches(download_stage.download, State.RESERVED, country, batch, verbose, json_output)


def thumbnail(country: Country, batch: BatchOption = None, verbose: Verbose = False, json_output: Json = False) -> None:
    """Make the thumbnails of downloaded batches.

    Example: imagesys thumbnail uk --batch 17
    """
    _work_batches(thumbnail_stage.thumbnail, State.DOWNLOADED, country, batch, verbose, json_output)


def sync(
    country: Country,
    node: NodeOption = None,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    json_output: Json = False,
) -> None:
    """Bring nodes to the desired state of every image that they have not acknowledged.

    With --dry-run no node is asked or changed: what is said follows from the change log and the staging disk.

    Example: imagesys sync uk --node n2
    """
    done = Results()
    with country_context(country, "sync", verbose=verbose, json_output=json_output) as ctx:
        for name in [node] if node else ctx.config.nodes:
            done.add(name, partial(sync_stage.sync, ctx, name, dry_run=dry_run))
    done.conclude(json_output)


def publish(country: Country, dry_run: DryRun = False, verbose: Verbose = False, json_output: Json = False) -> None:
    """Put images that a quorum of nodes holds into lis_live_images.

    Example: imagesys publish uk --dry-run
    """
    with country_context(country, "publish", verbose=verbose, json_output=json_output) as ctx:
        show({"published": publish_stage.publish(ctx, dry_run=dry_run)}, json_output)


def heal(country: Country, dry_run: DryRun = False, verbose: Verbose = False, json_output: Json = False) -> None:
    """Release stuck batches, correct bad retries, sweep staging.

    Example: imagesys heal uk --dry-run
    """
    with country_context(country, "heal", verbose=verbose, json_output=json_output) as ctx:
        show(heal_stage(ctx, dry_run=dry_run), json_output)


def retry(
    country: Country,
    reason: Annotated[str | None, typer.Option("--reason", help="Only images with this reason code.")] = None,
    datasource: Annotated[int | None, typer.Option("--datasource", help="Only this data source.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only what failed since then: an ISO instant or a local day.")
    ] = None,
    dry_run: DryRun = False,
    json_output: Json = False,
) -> None:
    """Queue failed, rejected and quarantined images again, and live ones that could not be made again.

    The next run takes them.

    Example: imagesys retry uk --reason http_403 --datasource 102 --since 2026-03-01
    """
    with country_context(country, "retry", json_output=json_output) as ctx:
        moment = parse_since(since, ctx.config.zone) if since is not None else None
        count = requeue(ctx, reason=reason, datasource=datasource, since=moment, dry_run=dry_run)
        show({"requeued": count}, json_output)
