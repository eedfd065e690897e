"""The command that prunes what is kept for a time only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from imagesys_lib import logs
from imagesys_lib.cli.support import (
    CountryOption,
    DryRunOption,
    JsonOption,
    VerboseOption,
    countries,
    country_context,
    show,
)
from imagesys_lib.config import load_config
from imagesys_lib.doctor.airflow_setup import setting
from imagesys_lib.errors import ImageSysError
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
    """Ask Airflow where its logs are. Raises EnvironmentFault."""
    base, parsing = (Path(setting("logging", option)) for option in LOG_OPTIONS)
    return log_folders(base, parsing)
