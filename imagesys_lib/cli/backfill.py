"""The command that asks Airflow for runs of past days."""

from __future__ import annotations

import datetime as dt
import json
import shlex
import subprocess
from typing import Annotated

import typer

from imagesys_lib.cli.support import Country, DryRun, err, out
from imagesys_lib.config import country_config
from imagesys_lib.config.intervals import backfill_instants
from imagesys_lib.errors import EXIT_DONE, EXIT_WORK_LOST, ImageSysError, UsageError
from imagesys_lib.ops.doctor import airflow_setup


def backfill(
    country: Country,
    first_day: Annotated[str, typer.Argument(help="First local day, YYYY-MM-DD.")],
    last_day: Annotated[str, typer.Argument(help="Last local day, inclusive.")],
    force: Annotated[bool, typer.Option("--force", help="Make live images again.")] = False,
    backwards: Annotated[bool, typer.Option("--backwards", help="The last day first.")] = False,
    reprocess: Annotated[
        str | None,
        typer.Option(
            "--reprocess-behavior",
            help="Days that have run: none, failed or completed. Without it completed with --force, else none.",
        ),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Ask Airflow for a run of each local day from FIRST_DAY to LAST_DAY.

    The days are the country's own, midnight to midnight; the instants that Airflow wants are computed here.
    Days that have run already are done again if --reprocess-behavior says so, which --force implies. Days whose runs
    are queued, such as cleared ones of a backfill that was cancelled, are left alone and named, with the way out.

    Example: imagesys backfill uk 2026-03-01 2026-03-03
    """
    options = {"force": force, "backwards": backwards, "dry_run": dry_run}
    command = backfill_command(country, first_day, last_day, reprocess=reprocess, **options)
    out.print(shlex.join(command))
    queued = _queued_runs(country, dt.date.fromisoformat(first_day), dt.date.fromisoformat(last_day))
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    if "AlreadyRunningBackfill" in done.stderr:
        raise ImageSysError(
            f"A backfill of imagesys_{country} is still open.",
            remedy="wait for it (Airflow closes one within half a minute after its last run), or cancel it in the UI; "
            "runs of a cancelled one that are cleared stay queued for ever.",
        )
    err.print(done.stderr, end="")
    if queued and not done.returncode:
        err.print(_way_out(country, queued, force=force))
    raise typer.Exit(EXIT_WORK_LOST if done.returncode or queued else EXIT_DONE)


def backfill_command(
    country: str,
    first_day: str,
    last_day: str,
    *,
    force: bool,
    backwards: bool = False,
    reprocess: str | None = None,
    dry_run: bool,
) -> list[str]:
    """Return the `airflow backfill create` call for inclusive local days.

    Airflow makes no run for a day that has one, the daily DAG's own included, unless it is to reprocess it: then it
    clears that run. So live images are made again only if days that have ended well are reprocessed.
    """
    zone = country_config(country).zone
    try:
        first, last = dt.date.fromisoformat(first_day), dt.date.fromisoformat(last_day)
    except ValueError as error:
        raise UsageError(f"Not a day: {error}.", remedy="write days as YYYY-MM-DD.") from error
    reprocess = reprocess or ("completed" if force else "none")
    if reprocess not in ("none", "failed", "completed"):
        raise UsageError(f"Unknown --reprocess-behavior {reprocess!r}: none, failed or completed.")
    start, end = backfill_instants(first, last, zone)
    command = [airflow_setup.airflow_command(), "backfill", "create", "--dag-id", f"imagesys_{country}"]
    command += ["--from-date", start.isoformat(), "--to-date", end.isoformat()]
    command += ["--reprocess-behavior", reprocess]
    # Said in either case: a run that is cleared keeps what it was last given.
    command += ["--dag-run-conf", json.dumps({"force": force})]
    command += ["--run-backwards"] if backwards else []
    return command + (["--dry-run"] if dry_run else [])


def _queued_runs(country: str, first: dt.date, last: dt.date) -> dict[dt.date, str]:
    """Return the ids of a country's queued runs of some local days, by day. Raises EnvironmentFault."""
    zone = country_config(country).zone
    found = {
        dt.datetime.fromisoformat(row["logical_date"]).astimezone(zone).date(): str(row["run_id"])
        for row in airflow_setup.rows("dags", "list-runs", f"imagesys_{country}", "--state", "queued")
        if row["logical_date"]
    }
    return {day: found[day] for day in sorted(found) if first <= day <= last}


def _way_out(country: str, queued: dict[dt.date, str], *, force: bool) -> str:
    """Return what to do about days whose runs were queued before a backfill was made, which leaves them alone.

    No other backfill was open, or Airflow would not have made this one. So a run of a backfill belongs to one that was
    cancelled. Airflow never starts it, and only a run that has ended can be given to another backfill.
    """
    again = ["imagesys", "backfill", country, f"{min(queued)}", f"{max(queued)}", "--reprocess-behavior", "failed"]
    runs = "\n".join(f"  {day}: {run_id}" for day, run_id in queued.items())
    return (
        f"Left alone: these runs of DAG imagesys_{country} were queued already.\n{runs}\n"
        "A run of a backfill that was cancelled stays queued for ever once it is cleared. Mark each of these failed "
        "(open it in Airflow, Mark Run as..., failed), wait until this backfill has ended, and call:\n"
        f"  {shlex.join([*again, '--force'] if force else again)}"
    )
