"""Commands that do a run's work by hand: the whole pipeline or one stage."""

from __future__ import annotations

import datetime as dt
import json
import shlex
import subprocess
from collections.abc import Callable
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from imagesys_lib import pipeline, runs
from imagesys_lib.cli.backfills import queued_runs, way_out
from imagesys_lib.cli.purging import purge
from imagesys_lib.cli.support import (
    CountryArgument,
    CountryOption,
    DryRunOption,
    JsonOption,
    VerboseOption,
    airflow_command,
    countries,
    country_context,
    err,
    out,
    show,
)
from imagesys_lib.config import country_config
from imagesys_lib.context import Context, open_context
from imagesys_lib.db import upgrade as migrations
from imagesys_lib.db.engine import NOW, read
from imagesys_lib.db.schema import lis_batches, lis_images
from imagesys_lib.errors import EXIT_DONE, EXIT_WORK_LOST, ImageSysError, UsageError
from imagesys_lib.intervals import UTC, backfill_instants, latest_complete_day, parse_interval, parse_since
from imagesys_lib.nodes import NodeFault
from imagesys_lib.requeue import retry as requeue
from imagesys_lib.runs import Kind, Run
from imagesys_lib.stages import download as download_stage
from imagesys_lib.stages import ingest as ingest_stage
from imagesys_lib.stages import plan as plan_stage
from imagesys_lib.stages import publish as publish_stage
from imagesys_lib.stages import sync as sync_stage
from imagesys_lib.stages import thumbnail as thumbnail_stage
from imagesys_lib.stages.heal import heal as heal_stage
from imagesys_lib.stages.report import render
from imagesys_lib.states import State

IntervalOption = Annotated[
    str | None,
    typer.Option("--interval", help="A/B (ISO instants) or one local day; the latest complete day if not given."),
]
BatchOption = Annotated[int | None, typer.Option("--batch", help="One batch by its id; all that are due if not given.")]
NodeOption = Annotated[str | None, typer.Option("--node", help="One node; all if not given.")]


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    database = typer.Typer(help="The database schemas.", no_args_is_help=True)
    database.command("upgrade")(db_upgrade)
    app.add_typer(database, name="db")
    for command in (run, ingest, plan, download, thumbnail, sync, publish, purge, heal, backfill, retry):
        app.command()(command)


def db_upgrade(country: CountryOption = None) -> None:
    """Bring the schemas of all countries, and the shared one, to the newest version.

    Example: imagesys db upgrade
    """
    names = countries(country)
    for name in names:
        ctx = open_context(name)
        before, after = migrations.upgrade(ctx.db, "country")
        out.print(f"{ctx.db.url.database}: {before or 'empty'} -> {after}")
        if name == names[0]:
            before, after = migrations.upgrade(ctx.shared, "shared")
            out.print(f"{ctx.shared.url.database}: {before or 'empty'} -> {after}")
        ctx.close()


def _by_hand(ctx: Context, kind: Kind, interval: str | None, *, force: bool = False) -> Run:
    zone = ctx.config.zone
    span = parse_interval(interval, zone) if interval is not None else latest_complete_day(dt.datetime.now(UTC), zone)
    return Run(f"by-hand__{dt.datetime.now(UTC).isoformat(timespec='microseconds')}", kind, span, force)


def run(
    country: CountryArgument,
    interval: IntervalOption = None,
    force: Annotated[bool, typer.Option("--force", help="Make the interval's live images again.")] = False,
    verbose: VerboseOption = False,
    json_output: JsonOption = False,
) -> None:
    """Run the whole pipeline in the foreground, without Airflow.

    Without --interval it does what the day's scheduled run does; with it, that interval is read, whatever is due is
    done, and nothing is purged.

    Example: imagesys run uk --interval 2026-03-01
    """
    with country_context(country, "run", verbose=verbose, json_output=json_output) as ctx:
        own = _by_hand(ctx, Kind.SCHEDULED if interval is None else Kind.MANUAL, interval, force=force)
        say: Callable[[str], None] = (lambda _line: None) if json_output else out.print
        summary = pipeline.run_pipeline(ctx, own, say)
    if json_output:
        show(summary, True)
    else:
        out.print(render(summary))
    if summary.lost:
        raise typer.Exit(EXIT_WORK_LOST)


def ingest(
    country: CountryArgument,
    interval: IntervalOption = None,
    verbose: VerboseOption = False,
    json_output: JsonOption = False,
) -> None:
    """Read the ETL's listings of an interval (and its look-back) into the database.

    Example: imagesys ingest uk --interval 2026-03-01
    """
    with country_context(country, "ingest", verbose=verbose, json_output=json_output) as ctx:
        own = _by_hand(ctx, Kind.MANUAL, interval)
        runs.begin(ctx.db, own)
        show(ingest_stage.ingest(ctx, own), json_output)


def plan(country: CountryArgument, verbose: VerboseOption = False, json_output: JsonOption = False) -> None:
    """Reserve what is due and cut it into batches.

    Example: imagesys plan uk && imagesys download uk && imagesys thumbnail uk
    """
    with country_context(country, "plan", verbose=verbose, json_output=json_output) as ctx:
        own = _by_hand(ctx, Kind.MANUAL, None)
        runs.begin(ctx.db, own)
        batches = plan_stage.plan(ctx, own)
        if json_output:
            show(batches, True)
        for batch in batches:
            if not json_output:
                out.print(f"batch {batch.batch_id}: {batch.size} images")
        if not batches and not json_output:
            out.print("No rows gained. No work to do.")


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
    country: str,
    label: str,
    state: State,
    work: Callable[[Context, int], Any],
    batch: int | None,
    verbose: bool,
    json_output: bool,
) -> None:
    with country_context(country, label, verbose=verbose, json_output=json_output) as ctx:
        batches = [batch] if batch is not None else _batches_with(ctx, state)
        if not batches and not json_output:
            out.print("No rows gained. No work to do.")
        results = {batch_id: work(ctx, batch_id) for batch_id in batches}
        show({f"batch {batch_id}": result for batch_id, result in results.items()}, json_output)


def download(
    country: CountryArgument,
    batch: BatchOption = None,
    verbose: VerboseOption = False,
    json_output: JsonOption = False,
) -> None:
    """Fetch the originals of planned batches.

    Example: imagesys download uk --verbose
    """
    _work_batches(country, "download", State.RESERVED, download_stage.download, batch, verbose, json_output)


def thumbnail(
    country: CountryArgument,
    batch: BatchOption = None,
    verbose: VerboseOption = False,
    json_output: JsonOption = False,
) -> None:
    """Make the thumbnails of downloaded batches.

    Example: imagesys thumbnail uk --batch 17
    """
    _work_batches(country, "thumbnail", State.DOWNLOADED, thumbnail_stage.thumbnail, batch, verbose, json_output)


def sync(
    country: CountryArgument,
    node: NodeOption = None,
    dry_run: DryRunOption = False,
    verbose: VerboseOption = False,
    json_output: JsonOption = False,
) -> None:
    """Bring nodes to the desired state of every image that they have not acknowledged.

    With --dry-run no node is asked or changed: what is said follows from the change log and the staging disk.

    Example: imagesys sync uk --node n2
    """
    faults: list[NodeFault] = []
    with country_context(country, "sync", verbose=verbose, json_output=json_output) as ctx:
        results: dict[str, Any] = {}
        for name in [node] if node else ctx.config.nodes:
            try:
                results[name] = sync_stage.sync(ctx, name, dry_run=dry_run)
            except NodeFault as fault:
                faults.append(fault)
                results[name] = str(fault)
        show(results, json_output)
    if faults:
        raise typer.Exit(max(fault.exit_code for fault in faults))


def publish(
    country: CountryArgument,
    dry_run: DryRunOption = False,
    verbose: VerboseOption = False,
    json_output: JsonOption = False,
) -> None:
    """Put images that a quorum of nodes holds into lis_live_images.

    Example: imagesys publish uk --dry-run
    """
    with country_context(country, "publish", verbose=verbose, json_output=json_output) as ctx:
        show({"published": publish_stage.publish(ctx, dry_run=dry_run)}, json_output)


def heal(
    country: CountryArgument,
    dry_run: DryRunOption = False,
    verbose: VerboseOption = False,
    json_output: JsonOption = False,
) -> None:
    """Release stuck batches, correct bad retries, sweep staging.

    Example: imagesys heal uk --dry-run
    """
    with country_context(country, "heal", verbose=verbose, json_output=json_output) as ctx:
        show(heal_stage(ctx, dry_run=dry_run), json_output)


def retry(
    country: CountryArgument,
    reason: Annotated[str | None, typer.Option("--reason", help="Only images with this reason code.")] = None,
    datasource: Annotated[int | None, typer.Option("--datasource", help="Only this data source.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only what failed since then: an ISO instant or a local day.")
    ] = None,
    dry_run: DryRunOption = False,
    json_output: JsonOption = False,
) -> None:
    """Queue failed, rejected and quarantined images again, and live ones that could not be made again.

    The next run takes them.

    Example: imagesys retry uk --reason http_403 --datasource 102 --since 2026-03-01
    """
    with country_context(country, "retry", json_output=json_output) as ctx:
        moment = parse_since(since, ctx.config.zone) if since is not None else None
        count = requeue(ctx, reason=reason, datasource=datasource, since=moment, dry_run=dry_run)
        show({"requeued": count}, json_output)


def backfill(
    country: CountryArgument,
    first_day: Annotated[str, typer.Argument(help="First local day, YYYY-MM-DD.")],
    last_day: Annotated[str, typer.Argument(help="Last local day, inclusive.")],
    force: Annotated[bool, typer.Option("--force", help="Make live images again.")] = False,
    backwards: Annotated[bool, typer.Option("--backwards", help="The last day first.")] = False,
    reprocess: Annotated[
        str | None,
        typer.Option(
            "--reprocess-behavior",
            help="Days that have run: none, failed or completed. Without it completed with --force, else none.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
) -> None:
    """Ask Airflow for a run of each local day from FIRST_DAY to LAST_DAY.

    The days are the country's own, midnight to midnight; the instants that Airflow wants are computed here.
    Days that have run already are done again if --reprocess-behavior says so, which --force implies. Days whose runs
    are queued, such as cleared ones of a backfill that was cancelled, are left alone and named, with the way out.

    Example: imagesys backfill uk 2026-03-01 2026-03-03
    """
    options = {"force": force, "backwards": backwards, "dry_run": dry_run}
    command = backfill_command(country, first_day, last_day, reprocess=reprocess, **options)
    out.print(shlex.join(command))
    queued = queued_runs(country, dt.date.fromisoformat(first_day), dt.date.fromisoformat(last_day))
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    if "AlreadyRunningBackfill" in done.stderr:
        raise ImageSysError(
            f"A backfill of imagesys_{country} is still open.",
            remedy="wait for it (Airflow closes one within half a minute after its last run), or cancel it in the UI; "
            "runs of a cancelled one that are cleared stay queued for ever.",
        )
    err.print(done.stderr, end="")
    if queued and not done.returncode:
        err.print(way_out(country, queued, force=force))
    raise typer.Exit(EXIT_WORK_LOST if done.returncode or queued else EXIT_DONE)


def backfill_command(
    country: str,
    first_day: str,
    last_day: str,
    *,
    force: bool,
    backwards: bool = False,
    reprocess: str | None = None,
    dry_run: bool,
) -> list[str]:
    """Return the `airflow backfill create` call for inclusive local days.

    Airflow makes no run for a day that has one, the daily DAG's own included, unless it is to reprocess it: then it
    clears that run. So live images are made again only if days that have ended well are reprocessed.
    """
    zone = country_config(country).zone
    try:
        first, last = dt.date.fromisoformat(first_day), dt.date.fromisoformat(last_day)
    except ValueError as error:
        raise UsageError(f"Not a day: {error}.", remedy="write days as YYYY-MM-DD.") from error
    reprocess = reprocess or ("completed" if force else "none")
    if reprocess not in ("none", "failed", "completed"):
        raise UsageError(f"Unknown --reprocess-behavior {reprocess!r}: none, failed or completed.")
    start, end = backfill_instants(first, last, zone)
    command = [airflow_command(), "backfill", "create", "--dag-id", f"imagesys_{country}"]
    command += ["--from-date", start.isoformat(), "--to-date", end.isoformat()]
    command += ["--reprocess-behavior", reprocess]
    # Said in either case: a run that is cleared keeps what it was last given.
    command += ["--dag-run-conf", json.dumps({"force": force})]
    command += ["--run-backwards"] if backwards else []
    return command + (["--dry-run"] if dry_run else [])
