"""Runs that a backfill cannot have: they are queued already, and those of a backfill that was cancelled stay so."""

from __future__ import annotations

import datetime as dt
import shlex
import subprocess

from imagesys_lib.cli.support import airflow_command
from imagesys_lib.config import country_config
from imagesys_lib.doctor.airflow_setup import rows_in
from imagesys_lib.errors import EnvironmentFault


def queued_runs(country: str, first: dt.date, last: dt.date) -> dict[dt.date, str]:
    """Return the ids of a country's queued runs of some local days, by day. Raises EnvironmentFault."""
    command = [airflow_command(), "dags", "list-runs", f"imagesys_{country}", "--state", "queued", "--output", "json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise EnvironmentFault(
            f"`{shlex.join(command[1:])}` failed: {done.stderr.strip()[-300:]}.",
            remedy="look at `imagesys doctor`; nothing was asked for.",
        )
    zone = country_config(country).zone
    found = {
        dt.datetime.fromisoformat(row["logical_date"]).astimezone(zone).date(): str(row["run_id"])
        for row in rows_in(done.stdout)
        if row["logical_date"]
    }
    return {day: found[day] for day in sorted(found) if first <= day <= last}


def way_out(country: str, queued: dict[dt.date, str], *, force: bool) -> str:
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
