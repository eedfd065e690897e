"""Commands that keep house: prune what is kept for a time only, and make or migrate the schemas."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from imagesys_lib.cli.support import (
    Countries,
    DryRun,
    Json,
    Results,
    Verbose,
    countries,
    country_context,
    country_contexts,
    out,
    show,
)
from imagesys_lib.config import load_config
from imagesys_lib.db.upgrade import current_version, head_version
from imagesys_lib.db.upgrade import upgrade as upgrade_schema
from imagesys_lib.errors import ImageSysError
from imagesys_lib.ops.doctor.airflow_setup import setting
from imagesys_lib.ops.maintenance import LOG_OPTIONS, Maintained, log_folders, maintain, prune_logs
from imagesys_lib.output import logs


def upgrade(country: Countries = None, dry_run: DryRun = False, json_output: Json = False) -> None:
    """Bring the schemas of all countries, and the shared one, to the newest version.

    Example: imagesys db upgrade
    """
    done: dict[str, Any] = {}
    for ctx in country_contexts(country, "db-upgrade", json_output=json_output):
        for engine, kind in [(ctx.db, "country"), *([] if done else [(ctx.shared, "shared")])]:
            would = current_version(engine), head_version(kind)
            before, after = would if dry_run else upgrade_schema(engine, kind)
            done[str(engine.url.database)] = {"before": before, "after": after}
            if not json_output:
                out.print(f"{engine.url.database}: {before or 'empty'} -> {after}")
    if json_output:
        show(done, True)


def maintenance(
    country: Countries = None,
    log_folder: Annotated[
        list[Path] | None, typer.Option("--logs", help="Folder of Airflow's logs; Airflow is asked if not given.")
    ] = None,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    json_output: Json = False,
) -> None:
    """Prune Airflow's log files and each country's old rows, and look at the staging disk.

    How long things are kept is `retention` in the configuration. DAG imagesys_maintenance prunes every day.

    Example: imagesys maintenance --dry-run
    """
    logs.configure("maintenance", verbose=verbose, quiet=json_output)
    retentions = [config.retention for config in load_config().values()]

    def work(name: str) -> Maintained:
        with country_context(name, "maintenance", verbose=verbose, json_output=json_output) as ctx:
            return maintain(ctx, dry_run=dry_run)

    done = Results()
    folders = log_folder or log_folders(*(Path(setting("logging", option)) for option in LOG_OPTIONS))
    done.shown["logs"] = prune_logs(folders, retentions, dry_run=dry_run)
    for name in countries(country):
        done.add(name, partial(work, name), ImageSysError)
    done.conclude(json_output)
