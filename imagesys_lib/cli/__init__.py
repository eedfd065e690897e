"""The ``imagesys`` command. Exit codes: 0 done, 1 work lost or inconsistent, 2 usage, 3 environment."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from imagesys_lib.cli import backfill, checks, health, images, maintenance, purging, stages
from imagesys_lib.cli.support import guarded, out

_PANELS = {
    "See how things stand": (
        *(health.status, health.report, images.explain, health.doctor, health.canary),
        *(images.hash_, images.path),
    ),
    "Do a run's work by hand": (
        *(stages.run, stages.ingest, stages.plan, stages.download, stages.thumbnail, stages.sync, stages.publish),
        *(purging.purge, stages.heal),
    ),
    "Do it again": (backfill.backfill, stages.retry),
    "Check and repair nodes": (checks.check, checks.fs_check, checks.db_scan, checks.repair),
    "Keep house": (maintenance.maintenance, images.classify),
}

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")
database = typer.Typer(help="The database schemas.", no_args_is_help=True)
for panel, commands in _PANELS.items():
    for command in commands:
        app.command(command.__name__.strip("_").replace("_", "-"), rich_help_panel=panel)(command)
database.command()(maintenance.upgrade)
app.add_typer(database, name="db", rich_help_panel="Keep house")


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"imagesys {version('imagesys')}")
        raise typer.Exit


@app.callback()
def imagesys(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Thumbnails of the website: fetched, made, copied to every node, published and kept right.

    A command takes one country; where that is in brackets in its usage, all countries if it is left out.
    """


def main() -> None:
    """Run the command line."""
    guarded(app)
