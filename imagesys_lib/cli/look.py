"""Commands that look: status, report, explain, doctor, the canary, and the names of images."""

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
    countries,
    country_context,
    country_contexts,
    err,
    out,
    show,
)
from imagesys_lib.config.intervals import parse_interval
from imagesys_lib.errors import EXIT_ENVIRONMENT, EnvironmentFault, UsageError
from imagesys_lib.images.hash_and_path import lis_hash_for_url, lis_path_for_hash
from imagesys_lib.ops.canary import run_canary
from imagesys_lib.ops.classify import classify as classify_image
from imagesys_lib.ops.doctor import examine
from imagesys_lib.ops.explain import Explanation, hashes_for
from imagesys_lib.ops.explain import explain as explain_image
from imagesys_lib.ops.explain.screen import MOST_LINES, several
from imagesys_lib.ops.status import Status
from imagesys_lib.ops.status import status as country_status
from imagesys_lib.output.printable import printable
from imagesys_lib.stages.report import render
from imagesys_lib.stages.report.digest import last_run


def explain(
    what: Annotated[str, typer.Argument(help="A URL, an image hash or a listing id.", metavar="URL|HASH|LISTING")],
    country: Countries = None,
    nodes: Annotated[bool, typer.Option("--nodes/--no-nodes", help="Look at the files on each node.")] = True,
    json_output: Json = False,
) -> None:
    """Say everything known of an image or a listing: why is it not live, why is it not on a node?

    Example: imagesys explain http://photos.example.com/1.jpg uk
    """
    found: list[Explanation] = []
    for name in countries(country):
        try:
            with country_context(name, "explain", json_output=True) as ctx:
                found += explain_image(ctx, hashes_for(ctx, what), ask_nodes=nodes)
        except EnvironmentFault as fault:
            if country:
                raise
            err.print(f"{name}: {fault}")  # the other countries can still answer
    if not found:
        raise UsageError(
            f"Nothing is known of {what!r} in {', '.join(countries(country))}.",
            remedy="check the spelling; a URL counts byte by byte, and is known only after ingest.",
        )
    if json_output:
        show(found, True)
    elif len(found) == 1:
        out.print(_all_of(found[0]))
    else:
        out.print("\n".join(several(found, out.width, out.height if out.is_terminal else MOST_LINES)))


def _all_of(image: Explanation) -> Table:
    table = Table(title=f"{image.country.upper()}: {image.verdict}", show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")  # else a long URL would be cut
    for name, text in image.facts:
        table.add_row(name, printable(text))
    return table


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


def hash_(url: Annotated[str, typer.Argument(help="An image URL, byte by byte as the ETL has it.")]) -> None:
    """Print the hash of a URL.

    Example: imagesys hash http://photos.example.com/1.jpg
    """
    typer.echo(lis_hash_for_url(url))


def path(image_hash: Annotated[str, typer.Argument(help="An image hash.", metavar="HASH")]) -> None:
    """Print the path of a hash, below <root>/<country> and without .<n>.jpg.

    Example: imagesys path 0917c1f0b2a6c6d6e5f4a3b2c1d0e9f8a7b6c5d4
    """
    try:
        typer.echo(lis_path_for_hash(image_hash))
    except ValueError as error:
        raise UsageError(str(error)) from error


def classify(
    image_hash: Annotated[str, typer.Argument(help="A live image.", metavar="HASH")],
    image_class: Annotated[str, typer.Argument(help="What it shows, such as kitchen.", metavar="CLASS")],
    country: Country = "uk",
) -> None:
    """Record what a person has seen on a live image.

    Example: imagesys classify 0917c1f0b2a6c6d6e5f4a3b2c1d0e9f8a7b6c5d4 kitchen uk
    """
    with country_context(country, "classify") as ctx:
        classify_image(ctx, image_hash, image_class)
