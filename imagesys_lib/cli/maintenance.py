"""The command that prunes what is kept for a time only."""

from __future__ import annotations

import subprocess
from configparser import Error as ConfigParserError
from configparser import RawConfigParser
from pathlib import Path
from typing import Annotated, Any

import typer

from imagesys_lib import logs
from imagesys_lib.cli.support import (
    CountryOption,
    DryRunOption,
    JsonOption,
    VerboseOption,
    airflow_command,
    countries,
    country_context,
    show,
)
from imagesys_lib.config import load_config
from imagesys_lib.errors import EnvironmentFault, ImageSysError
from imagesys_lib.maintenance import LOG_OPTIONS, log_folders, prune_logs, tend


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(maintenance)


def maintenance(
    country: CountryOption = None,
    log_folder: Annotated[
        list[Path] | None, typer.Option("--logs", help="Folder of Airflow's logs; Airflow is asked if not given.")
    ] = None,
    dry_run: DryRunOption = False,
    verbose: VerboseOption = False,
    json_output: JsonOption = False,
) -> None:
    """Prune Airflow's log files and each country's old rows, and look at the staging disk.

    How long things are kept is `retention` in the configuration. DAG imagesys_maintenance does the same every day.

    Example: imagesys maintenance --dry-run
    """
    logs.configure("maintenance", verbose=verbose, quiet=json_output)
    codes: list[int] = []
    retentions = [config.retention for config in load_config().values()]
    results: dict[str, Any] = {"logs": prune_logs(log_folder or _airflow_folders(), retentions, dry_run=dry_run)}
    for name in countries(country):
        try:
            with country_context(name, "maintenance", verbose=verbose, json_output=json_output) as ctx:
                results[name] = tend(ctx, dry_run=dry_run)
        except ImageSysError as fault:  # one country's database must not keep the others waiting
            results[name] = {"fault": str(fault)}
            codes.append(fault.exit_code)
    show(results, json_output)
    if codes:
        raise typer.Exit(max(codes))


def _airflow_folders() -> list[Path]:
    """Ask Airflow where its logs are."""
    command = [airflow_command(), "config", "list", "--section", "logging", "--show-values"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        config = RawConfigParser()
        config.read_string(done.stdout[done.stdout.index("[logging]") :])
        base, parsing = (Path(config["logging"][option]) for option in LOG_OPTIONS)
    except (ValueError, KeyError, ConfigParserError) as error:
        raise EnvironmentFault(
            f"Airflow does not say where its logs are: {(done.stderr or done.stdout).strip()[-300:]}",
            remedy="set AIRFLOW_HOME as its services have it, or name the folders with --logs.",
        ) from error
    return log_folders(base, parsing)
