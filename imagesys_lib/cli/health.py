"""Commands that show how things stand: status, report, doctor and the canary."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from imagesys_lib.alerts.incidents import waits
from imagesys_lib.cli.support import (
    Countries,
    Country,
    Json,
    Verbose,
    country_context,
    country_contexts,
    out,
    show,
)
from imagesys_lib.config.intervals import parse_interval
from imagesys_lib.errors import EXIT_ENVIRONMENT
from imagesys_lib.ops.canary import run_canary
from imagesys_lib.ops.doctor import examine
from imagesys_lib.ops.status import Status
from imagesys_lib.ops.status import status as country_status
from imagesys_lib.stages.report import render
from imagesys_lib.stages.report.digest import last_run


def status(country: Countries = None, json_output: Json = False) -> None:
    """Show how each country stands: live images, reasons, the last run, how far each node is behind.

    Example: imagesys status uk --json
    """
    found = [country_status(ctx) for ctx in country_contexts(country, "status", json_output=True)]
    if json_output:
        show(found, True)
        return
    table = Table("country", "live", "not live", "last run", "nodes (images behind)")
    for row in found:
        table.add_row(*_in_short(row))
    out.print(table)
    for row in found:
        refused = [f"mail to {address} refused: {said}" for address, said in row.mail_refused.items()]
        for line in (*row.waiting_runs, *refused):
            out.print(f"{row.country.upper()}: {line}")


def _in_short(row: Status) -> tuple[str, ...]:
    others = ", ".join(f"{count} {state}" for state, count in sorted(row.states.items()) if state != "live")
    last = row.last_run
    run = f"{last['kind']} {last['state']}, {last['started_at'][:16]}" if last else "never"
    nodes = ", ".join(f"{name} {node.backlog}" for name, node in row.nodes.items())
    return row.country, str(row.live), others or "-", run, nodes


def report(
    country: Countries = None,
    interval: Annotated[
        str | None, typer.Option("--interval", help="Of the last run of this interval: A/B or one local day.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Print the summary of each country's last run that has ended, backfills aside, as its report left it.

    Example: imagesys report uk --interval 2026-03-01
    """
    found = []
    for ctx in country_contexts(country, "report", json_output=True):
        span = parse_interval(interval, ctx.config.zone) if interval is not None else None
        found.append((ctx.country.upper(), last_run(ctx, span), waits(ctx.db)))
    if json_output:
        show([run for _, run, _ in found if run], True)
        return
    for name, run, waiting in found:
        if run is None:
            out.print(f"{name}: no run{' of that interval' if interval else ''} has ended yet")
        else:
            out.print(render(run.summary) if run.summary else f"{name}: {run.lost[0]}")
        for line in waiting:
            out.print(f"{name}: {line}")


def doctor(
    country: Countries = None,
    send_mail: Annotated[bool, typer.Option("--send-mail", help="Send a message to alerts.mail_to.")] = False,
    json_output: Json = False,
) -> None:
    """Check databases, ETL, nodes, clocks, disks, mail and Airflow, and print the remedy for whatever is wrong.

    Example: imagesys doctor uk --send-mail
    """
    results = []
    for finding in examine(country, send_mail=send_mail):
        results.append(finding)
        if not json_output:
            out.print("ok  " if finding.ok else "BAD ", style="green" if finding.ok else "red", end="")
            out.print(str(finding))
    if json_output:
        show(results, True)
    if not all(finding.ok for finding in results):
        raise typer.Exit(EXIT_ENVIRONMENT)


def canary(country: Country, verbose: Verbose = False, json_output: Json = False) -> None:
    """Take a known photo through the whole path to every node and read it back over ssh and HTTP.

    It disturbs nothing. The exit code is 1 if the path takes too long or any node differs or cannot be reached.

    Example: imagesys canary uk
    """
    with country_context(country, "canary", verbose=verbose, json_output=json_output) as ctx:
        done = run_canary(ctx)
    if json_output:
        show(done, True)
    else:
        title = f"{country.upper()}: canary {done.stamp}, {done.seconds:.1f} s of at most {done.limit:g}"
        table = Table("where", "steps", "verdict", title=title, title_justify="left")
        for place in done.places:
            table.add_row(place.name, str(place), "FAILED" if place.fault else "ok")
        out.print(table)
    done.check()
