"""The command that purges by hand, and that answers a proposal."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from imagesys_lib.cli.support import Country, DryRun, Json, Verbose, country_context, show
from imagesys_lib.errors import EXIT_WORK_LOST, UsageError
from imagesys_lib.stages import purge as purge_stage
from imagesys_lib.stages.purge import proposals
from imagesys_lib.stages.purge.rules import PurgeRule


def purge(
    country: Country,
    dry_run: DryRun = False,
    rule: Annotated[PurgeRule | None, typer.Option("--rule", help="Unpublish by this rule alone.")] = None,
    approve: Annotated[int | None, typer.Option("--approve", help="Approve this proposal and carry it out.")] = None,
    reject: Annotated[int | None, typer.Option("--reject", help="Reject this proposal.")] = None,
    verbose: Verbose = False,
    json_output: Json = False,
) -> None:
    """Unpublish images that no listing shows any more or that are too old; delete them once their grace has passed.

    All listings are looked up in the ETL. A half-empty ETL purges nothing. Above the cap a proposal is left, to be
    answered in DAG imagesys_purge_approval or with --approve or --reject. `sync` deletes the files.

    Example: imagesys purge uk --dry-run
    """
    if sum((approve is not None, reject is not None, dry_run)) > 1:
        raise UsageError("Give one of --approve, --reject and --dry-run.")
    with country_context(country, "purge", verbose=verbose, json_output=json_output) as ctx:
        number = approve if approve is not None else reject
        if number is None:
            result = purge_stage.purge(ctx, dry_run=dry_run, rule=rule)
        else:
            decided = proposals.decide(ctx.db, number, approve=approve is not None, by=f"by hand: {getpass.getuser()}")
            wanted = "approved" if approve is not None else "rejected"
            if decided.state != wanted:
                raise UsageError(
                    f"Proposal {number} is {decided.fate} already, by {decided.decided_by or 'a newer one'}."
                )
            if approve is None:
                show({"proposal": number, "state": decided.state}, json_output)
                return
            result = purge_stage.carry_out(ctx, number)
        show(result, json_output)
    if result.refused:
        raise typer.Exit(EXIT_WORK_LOST)
