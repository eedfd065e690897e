"""The command that runs a canary by hand."""

from __future__ import annotations

import json
import sys

import typer
from rich.table import Table

from imagesys_lib.canary import run_canary
from imagesys_lib.cli.support import CountryArgument, JsonOption, VerboseOption, country_context, out, plain


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(canary)


def canary(country: CountryArgument, verbose: VerboseOption = False, json_output: JsonOption = False) -> None:
    """Take a known photo through the whole path to every node and read it back over ssh and HTTP.

    It disturbs nothing. The exit code is 1 if the path takes too long or any node differs or cannot be reached.

    Example: imagesys canary uk
    """
    with country_context(country, "canary", verbose=verbose, json_output=json_output) as ctx:
        done = run_canary(ctx)
    if json_output:
        sys.stdout.write(json.dumps(plain(done)) + "\n")
    else:
        title = f"{country.upper()}: canary {done.stamp}, {done.seconds:.1f} s of at most {done.limit:g}"
        table = Table("where", "steps", "verdict", title=title, title_justify="left")
        for place in done.places:
            table.add_row(place.name, str(place), "FAILED" if place.fault else "ok")
        out.print(table)
    done.check()
