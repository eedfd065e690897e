"""What is done about nodes by hand: fs-check (files against database), db-scan (the live table), both, and repair."""

from __future__ import annotations

import dataclasses
import datetime as dt
from functools import partial
from typing import Annotated, Any

import typer

from imagesys_lib.cli.support import Countries, DryRun, Json, NodeOption, Results, Verbose, country_contexts
from imagesys_lib.config.intervals import UTC, latest_complete_day
from imagesys_lib.context import Context
from imagesys_lib.errors import UsageError
from imagesys_lib.stages.check import WHOLE, Part, daily_part, parts
from imagesys_lib.stages.check import check as check_stage
from imagesys_lib.stages.check import db_scan as db_scan_stage
from imagesys_lib.stages.check import scrub as scrub_stage
from imagesys_lib.stages.repair.repair import repair as repair_stage


def fs_check(
    country: Countries = None,
    node: NodeOption = None,
    part: Annotated[
        str | None, typer.Option("--part", help="A part by first digits of the hash: a, a0 or 24-48.", metavar="PART")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The whole tree: what is done if nothing is said.")] = False,
    today: Annotated[bool, typer.Option("--today", help="The part that today's daily run looks at.")] = False,
    scrub: Annotated[
        int, typer.Option("--scrub", help="Then read so many files and compare checksums.", metavar="N", min=0)
    ] = 0,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    json_output: Json = False,
) -> None:
    """Compare the files on the nodes with the database; what is missing or wrong is marked for repair.

    With --dry-run nothing is marked and no result is kept.

    Example: imagesys fs-check uk --node n2 --part a --scrub 5000
    """
    if (part is not None) + full + today > 1:
        raise UsageError("Say one of --part, --full and --today.")
    done = Results()
    chosen = _part(part)
    for ctx in country_contexts(country, "fs-check", verbose=verbose, json_output=json_output):
        if today:
            chosen = daily_part(ctx, latest_complete_day(dt.datetime.now(UTC), ctx.config.zone))
        _fs_check(ctx, done, node, chosen, scrub, verbose=verbose, dry_run=dry_run)
    done.conclude(json_output)


def _part(text: str | None) -> Part:
    if text is None:
        return WHOLE
    try:
        return parts.named(text)
    except ValueError:
        raise UsageError(f"No part of the tree: {text!r}.", remedy="say a, a0 or 24-48, in hex digits.") from None


def _fs_check(
    ctx: Context, done: Results, node: str | None, part: Part, scrub: int, *, verbose: bool, dry_run: bool
) -> None:
    def shown(work: Any, **options: Any) -> dict[str, Any]:
        checked = work(ctx, name, dry_run=dry_run, **options)
        found = {name: getattr(checked, name) for name in ("part", "files", "bytes", "findings")}
        return found | {"samples": checked.samples if verbose else {}, "ok": checked.clean}

    for name in [node] if node else ctx.config.nodes:
        if done.add(f"{ctx.country} {name}", partial(shown, check_stage, part=part)) and scrub:
            done.add(f"{ctx.country} {name} scrub", partial(shown, scrub_stage, files=scrub))


def db_scan(
    country: Countries = None, dry_run: DryRun = False, verbose: Verbose = False, json_output: Json = False
) -> None:
    """Walk the whole live table and compare it with the work state; --verbose names images to `explain`.

    Example: imagesys db-scan uk
    """
    done = Results()
    for ctx in country_contexts(country, "db-scan", verbose=verbose, json_output=json_output):
        _db_scan(ctx, done, verbose=verbose, dry_run=dry_run)
    done.conclude(json_output)


def _db_scan(ctx: Context, done: Results, *, verbose: bool, dry_run: bool) -> None:
    def shown() -> dict[str, Any]:
        found = db_scan_stage(ctx, dry_run=dry_run)
        samples = {"samples": found.samples} if verbose else {}
        return {"findings": found.findings, **samples, "ok": found.clean}

    done.add(f"{ctx.country} live table", shown)


def check(
    country: Countries = None,
    every: Annotated[bool, typer.Option("--all", help="Both checks: fs-check and db-scan.")] = False,
    also: Annotated[str | None, typer.Option("--country", help="The country in another spelling.")] = None,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    json_output: Json = False,
) -> None:
    """Do both checks: files against database, and the live table.

    Example: imagesys check uk --all --verbose
    """
    if not every:
        raise UsageError("Say --all for both checks, or use fs-check or db-scan.")
    done = Results()
    for ctx in country_contexts(country or also, "fs-check", verbose=verbose, json_output=json_output):
        _fs_check(ctx, done, None, WHOLE, 0, verbose=verbose, dry_run=dry_run)
        _db_scan(ctx, done, verbose=verbose, dry_run=dry_run)
    done.conclude(json_output)


def repair(
    country: Countries = None,
    node: NodeOption = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many images of each node.")] = None,
    delete_extra: Annotated[
        bool, typer.Option("--delete-extra", help="Delete extra files, however many and however lately found.")
    ] = False,
    make_again: Annotated[
        bool, typer.Option("--make-again", help="Queue images that no node holds, however many there are.")
    ] = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    json_output: Json = False,
) -> None:
    """Give nodes what is marked for repair, from staging or a healthy node, and delete files that nothing wants.

    What no node holds is queued to be made again. `fs-check` finds what there is to repair.

    Example: imagesys repair uk --node n2
    """
    done = Results()
    options = {"dry_run": dry_run, "limit": limit, "delete_extra": delete_extra, "make_again": make_again}

    def work(ctx: Context, name: str) -> dict[str, Any]:
        repaired = repair_stage(ctx, name, **options)  # type: ignore[arg-type]
        return dataclasses.asdict(repaired) | {"ok": not repaired.waiting and not repaired.refused}

    for ctx in country_contexts(country, "repair", verbose=verbose, json_output=json_output):
        for name in [node] if node else ctx.config.nodes:
            done.add(f"{ctx.country} {name}", partial(work, ctx, name))
    done.conclude(json_output)
