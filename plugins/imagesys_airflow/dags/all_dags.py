"""Which DAGs there are, for the DAG file; what each is made of stands beside this file."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

from airflow.sdk import DAG

from imagesys_lib.config import CountryConfig, keep_good, load_config
from imagesys_lib.errors import ConfigError, DiskFull

log = logging.getLogger(__name__)


def all_dags(wanted: str | None) -> Iterator[DAG]:
    """Build all DAGs, or the wanted one: a task's process needs no other, and imports what that is made of alone."""
    configs = configured()
    for config in configs:
        if wanted in (None, f"imagesys_{config.country}"):
            from imagesys_airflow.dags.daily import build_daily

            yield build_daily(config)
        if wanted in (None, f"imagesys_check_{config.country}"):
            from imagesys_airflow.dags.full_check import build_full_check

            yield build_full_check(config)
    if wanted in (None, "imagesys_canary"):
        from imagesys_airflow.dags.canary import build_canary

        yield build_canary(configs)
    if wanted in (None, "imagesys_maintenance"):
        from imagesys_airflow.dags.maintenance import build_maintenance

        yield build_maintenance(configs)
    if wanted in (None, "imagesys_purge_approval"):
        from imagesys_airflow.dags.purge_approval import build_purge_approval

        yield build_purge_approval(configs)
    if wanted in (None, "imagesys_daily_report"):
        from imagesys_airflow.dags.daily_report import build_daily_report

        if report := build_daily_report(configs):
            yield report


def configured() -> list[CountryConfig]:
    """Return the countries that DAGs are built for.

    The DAG processor keeps the file that it reads them from, if that is good. It forks the processes that read DAG
    files, which Airflow (seen with 3.3) marks by nothing else that tasks do not have, too.
    """
    if "dag-processor" in sys.argv[1:2]:
        try:
            with contextlib.suppress(ConfigError):  # which tasks tell, going on with the copy
                keep_good()
        except (OSError, DiskFull) as error:
            log.warning("The configuration cannot be kept for when it breaks: %s", error)
    return list(load_config().values())
