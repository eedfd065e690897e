"""The checks by hand: fs-check (files against database), db-scan (the live table), and both at once."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import typer

from imagesys_lib.cli.support import (
    CountryOption,
    DryRunOption,
    JsonOption,
    VerboseOption,
    countries,
    country_context,
    show,
)
from imagesys_lib.context import Context
from imagesys_lib.errors import EXIT_WORK_LOST, UsageError
from imagesys_lib.intervals import latest_complete_day
from imagesys_lib.nodes import NodeFault
from imagesys_lib.stages.check import WHOLE, Checked, Part, daily_part, parts, scrub
from imagesys_lib.stages.check import check as check_node
from imagesys_lib.stages.check import db_scan as scan


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    app.command()(check)
    app.command("fs-check")(fs_check)
    app.command("db-scan")(db_scan)


def fs_check(
    country: CountryOption = None,
    node: Annotated[str | None, typer.Option("--node", help="One node; all if not given.")] = None,
    part: Annotated[
        str | None, typer.Option("--part", help="A part by first digits of the hash: a, a0 or 24-48.", metavar="PART")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The whole tree: what is done if nothing is said.")] = False,
    today: Annotated[bool, typer.Option("--today", help="The part that today's daily run looks at.")] = False,
    scrub_files: Annotated[
        int, typer.Option("--scrub", help="Then read so many files and compare checksums.", metavar="N", min=0)
    ] = 0,
    dry_run: DryRunOption = False,
    verbose: VerboseOption = False,
    json_output: JsonOption = False,
) -> None:
    """Compare the files on the nodes with the database; what is missing or wrong is marked for repair.

    With --dry-run nothing is marked and no result is kept.

    Example: imagesys fs-check --country uk --node n2 --part a --scrub 5000
    """
    if (part is not None) + full + today > 1:
        raise UsageError("Say one of --part, --full and --today.")
    results: dict[str, Any] = {}
    chosen = _part(part)
    for name in countries(country):
        with country_context(name, "fs-check", verbose=verbose, json_output=json_output) as ctx:
            day = latest_complete_day(dt.datetime.now(dt.timezone.utc), ctx.config.zone)
            own = daily_part(ctx, day) if today else chosen
            results |= _on_nodes(ctx, node, own, scrub_files, verbose=verbose, dry_run=dry_run)
    _conclude(results, json_output)


def _part(text: str | None) -> Part:
    if text is None:
        return WHOLE
    try:
        return parts.named(text)
    except ValueError:
        raise UsageError(f"No part of the tree: {text!r}.", remedy="say a, a0 or 24-48, in hex digits.") from None


def _on_nodes(
    ctx: Context, node: str | None, part: Part, scrub_files: int, *, verbose: bool, dry_run: bool
) -> dict[str, Any]:
    """Check one node or all of a country; a node that cannot be reached holds up no other."""
    results: dict[str, Any] = {}
    for one in [node] if node else ctx.config.nodes:
        name = f"{ctx.country} {one}"
        try:
            results[name] = _shown(check_node(ctx, one, part=part, dry_run=dry_run), verbose)
            if scrub_files:
                results[f"{name} scrub"] = _shown(scrub(ctx, one, files=scrub_files, dry_run=dry_run), verbose)
        except NodeFault as fault:
            results[name] = {"ok": False, "fault": str(fault)}
    return results


def _shown(checked: Checked, verbose: bool) -> dict[str, Any]:
    return {
        "part": checked.part,
        "files": checked.files,
        "bytes": checked.bytes,
        "findings": dict(checked.findings),
        "samples": checked.samples if verbose else {},
        "ok": checked.clean,
    }


def db_scan(
    country: CountryOption = None,
    dry_run: DryRunOption = False,
    verbose: VerboseOption = False,
    json_output: JsonOption = False,
) -> None:
    """Walk the whole live table and compare it with the work state; --verbose names images to `explain`.

    Example: imagesys db-scan --country uk
    """
    _conclude(_db_scan(country, dry_run=dry_run, verbose=verbose, json_output=json_output), json_output)


def _db_scan(country: str | None, *, dry_run: bool, verbose: bool, json_output: bool) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for name in countries(country):
        with country_context(name, "db-scan", verbose=verbose, json_output=json_output) as ctx:
            found = scan(ctx, dry_run=dry_run)
            samples = {"samples": found.samples} if verbose else {}
            results[f"{name} live table"] = {"findings": dict(found.findings), **samples, "ok": found.clean}
    return results


def check(
    every: Annotated[bool, typer.Option("--all", help="Both checks: fs-check and db-scan.")] = False,
    country: CountryOption = None,
    dry_run: DryRunOption = False,
    verbose: VerboseOption = False,
    json_output: JsonOption = False,
) -> None:
    """Do both checks: files against database, and the live table.

    Example: imagesys check --all --country uk --verbose
    """
    if not every:
        raise UsageError("Say --all for both checks, or use fs-check or db-scan.")
    results: dict[str, Any] = {}
    for name in countries(country):
        with country_context(name, "fs-check", verbose=verbose, json_output=json_output) as ctx:
            results |= _on_nodes(ctx, None, WHOLE, 0, verbose=verbose, dry_run=dry_run)
    scanned = _db_scan(country, dry_run=dry_run, verbose=verbose, json_output=json_output)
    _conclude(results | scanned, json_output)


def _conclude(results: dict[str, Any], json_output: bool) -> None:
    show(results, json_output)
    if not all(result["ok"] for result in results.values()):
        raise typer.Exit(EXIT_WORK_LOST)
