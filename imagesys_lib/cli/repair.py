"""The command that repairs nodes by hand."""

from __future__ import annotations

import dataclasses
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
from imagesys_lib.errors import EXIT_WORK_LOST
from imagesys_lib.nodes import NodeFault
from imagesys_lib.stages.repair import Repaired
from imagesys_lib.stages.repair import repair as repair_node


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(repair)


def repair(
    country: CountryOption = None,
    node: Annotated[str | None, typer.Option("--node", help="One node; all if not given.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many images of each node.")] = None,
    delete_extra: Annotated[
        bool, typer.Option("--delete-extra", help="Delete extra files, however many and however lately found.")
    ] = False,
    make_again: Annotated[
        bool, typer.Option("--make-again", help="Queue images that no node holds, however many there are.")
    ] = False,
    dry_run: DryRunOption = False,
    verbose: VerboseOption = False,
    json_output: JsonOption = False,
) -> None:
    """Give nodes what is marked for repair, from staging or a healthy node, and delete files that nothing wants.

    What no node holds is queued to be made again. `fs-check` finds what there is to repair.

    Example: imagesys repair --country uk --node n2
    """
    codes: list[int] = []
    results: dict[str, Any] = {}
    for name in countries(country):
        with country_context(name, "repair", verbose=verbose, json_output=json_output) as ctx:
            for one in [node] if node else ctx.config.nodes:
                try:
                    done = repair_node(
                        ctx, one, dry_run=dry_run, limit=limit, delete_extra=delete_extra, make_again=make_again
                    )
                    results[f"{name} {one}"] = dataclasses.asdict(done) | {"ok": _is_whole(done)}
                    codes += [] if _is_whole(done) else [EXIT_WORK_LOST]
                except NodeFault as fault:
                    results[f"{name} {one}"] = {"ok": False, "fault": str(fault)}
                    codes.append(fault.exit_code)
    show(results, json_output)
    if codes:
        raise typer.Exit(max(codes))


def _is_whole(done: Repaired) -> bool:
    """Say whether nothing was left undone."""
    return not done.waiting and not done.refused
