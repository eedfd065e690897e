"""The ``imagesys`` command. Exit codes: 0 done, 1 work lost or inconsistent, 2 usage, 3 environment."""

from __future__ import annotations

import typer

from imagesys_lib.cli import canary, checks, inspect, maintenance, repair, stages
from imagesys_lib.cli.support import guarded

app = typer.Typer(
    help="Thumbnails of the website: fetched, made, copied to every node, published and kept right.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
stages.register(app)
inspect.register(app)
checks.register(app)
repair.register(app)
canary.register(app)
maintenance.register(app)


def main() -> None:
    """Run the command line."""
    guarded(app)
