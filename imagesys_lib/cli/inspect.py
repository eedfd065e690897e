"""Commands that look: explain, status, doctor, and the names of images."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.table import Table

from imagesys_lib.alerts.incidents import waits
from imagesys_lib.classify import classify as classify_image
from imagesys_lib.cli.support import (
    CountryArgument,
    CountryOption,
    JsonOption,
    countries,
    country_context,
    err,
    out,
    plain,
)
from imagesys_lib.doctor import examine
from imagesys_lib.errors import EXIT_ENVIRONMENT, EnvironmentFault, UsageError
from imagesys_lib.explain import Explanation, hashes_for
from imagesys_lib.explain import explain as explain_image
from imagesys_lib.explain.screen import MOST_LINES, several
from imagesys_lib.hashing import lis_hash_for_url, lis_path_for_hash
from imagesys_lib.stages.report import render
from imagesys_lib.stages.report.digest import last_run
from imagesys_lib.status import status as country_status
from imagesys_lib.text import printable


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    for command in (explain, status, report, doctor, path, classify):
        app.command()(command)
    app.command("hash")(hash_url)


def explain(
    what: Annotated[str, typer.Argument(help="A URL, an image hash or a listing id.", metavar="URL|HASH|LISTING")],
    country: CountryOption = None,
    nodes: Annotated[bool, typer.Option("--nodes/--no-nodes", help="Look at the files on each node.")] = True,
    json_output: JsonOption = False,
) -> None:
    """Say everything known of an image or a listing: why is it not live, why is it not on a node?

    Example: imagesys explain http://photos.example.com/1.jpg
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
        sys.stdout.write(json.dumps(plain(found)) + "\n")
        return
    if len(found) == 1:
        out.print(_one(found[0]))
    else:
        height = out.height if out.is_terminal else MOST_LINES
        out.print("\n".join(several(found, out.width, height)))


def _one(explanation: Explanation) -> Table:
    """Return all that is known of one image."""
    title = f"{explanation.country.upper()}: {explanation.verdict}"
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")  # else a long URL would be cut
    for name, text in explanation.facts:
        table.add_row(name, printable(text))
    return table


def status(country: CountryOption = None, json_output: JsonOption = False) -> None:
    """Show how each country stands: live images, reasons, the last run, how far each node is behind.

    Example: imagesys status --country uk --json
    """
    found = []
    for name in countries(country):
        with country_context(name, "status", json_output=True) as ctx:
            found.append(country_status(ctx))
    if json_output:
        sys.stdout.write(json.dumps(plain(found)) + "\n")
        return
    table = Table("country", "live", "not live", "last run", "nodes (images behind)")
    for row in found:
        others = ", ".join(f"{count} {state}" for state, count in sorted(row.states.items()) if state != "live")
        last = (
            f"{row.last_run['kind']} {row.last_run['state']}, {row.last_run['started_at'][:16]}"
            if row.last_run
            else "never"
        )
        nodes = ", ".join(f"{name} {node.backlog}" for name, node in row.nodes.items())
        table.add_row(row.country, str(row.live), others or "-", last, nodes)
    out.print(table)
    for row in found:
        refused = [f"mail to {address} refused: {said}" for address, said in row.mail_refused.items()]
        for line in (*row.waiting_runs, *refused):
            out.print(f"{row.country.upper()}: {line}")


def report(country: CountryOption = None, json_output: JsonOption = False) -> None:
    """Print the summary of each country's last run that has ended, backfills aside, as its report left it.

    Example: imagesys report --country uk
    """
    found = []
    for name in countries(country):
        with country_context(name, "report", json_output=True) as ctx:
            found.append((name, last_run(ctx), waits(ctx.db)))
    if json_output:
        sys.stdout.write(json.dumps(plain([run for _, run, _ in found if run])) + "\n")
        return
    for name, run, waiting in found:
        if run is None:
            out.print(f"{name.upper()}: no run has ended yet")
        else:
            out.print(render(run.summary) if run.summary else f"{name.upper()}: {run.lost[0]}")
        for line in waiting:
            out.print(f"{name.upper()}: {line}")


def doctor(
    country: CountryOption = None,
    send_mail: Annotated[bool, typer.Option("--send-mail", help="Send a message to alerts.mail_to.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Check databases, ETL, nodes, clocks, disks, mail and Airflow, and print the remedy for whatever is wrong.

    Example: imagesys doctor --country uk --send-mail
    """
    results = []
    for finding in examine(country, send_mail=send_mail):
        results.append(finding)
        if not json_output:
            out.print("ok  " if finding.ok else "BAD ", style="green" if finding.ok else "red", end="")
            out.print(str(finding))
    if json_output:
        sys.stdout.write(json.dumps(plain(results)) + "\n")
    if not all(finding.ok for finding in results):
        raise typer.Exit(EXIT_ENVIRONMENT)


def hash_url(url: Annotated[str, typer.Argument(help="An image URL, byte by byte as the ETL has it.")]) -> None:
    """Print the hash of a URL.

    Example: imagesys hash http://photos.example.com/1.jpg
    """
    sys.stdout.write(lis_hash_for_url(url) + "\n")


def path(image_hash: Annotated[str, typer.Argument(help="An image hash.", metavar="HASH")]) -> None:
    """Print the path of a hash, below <root>/<country> and without .<n>.jpg.

    Example: imagesys path 0917c1f0b2a6c6d6e5f4a3b2c1d0e9f8a7b6c5d4
    """
    try:
        sys.stdout.write(lis_path_for_hash(image_hash) + "\n")
    except ValueError as error:
        raise UsageError(str(error)) from error


def classify(
    image_hash: Annotated[str, typer.Argument(help="A live image.", metavar="HASH")],
    image_class: Annotated[str, typer.Argument(help="What it shows, such as kitchen.", metavar="CLASS")],
    country: CountryArgument = "uk",
) -> None:
    """Record what a person has seen on a live image.

    Example: imagesys classify 0917c1f0b2a6c6d6e5f4a3b2c1d0e9f8a7b6c5d4 kitchen
    """
    with country_context(country, "classify") as ctx:
        classify_image(ctx, image_hash, image_class)
