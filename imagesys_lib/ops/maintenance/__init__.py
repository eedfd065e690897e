"""Maintenance: what grows from day to day is kept for a configured time. Every part may run at any time.

Rows and staging belong to a country, log files to the whole installation.
"""

from __future__ import annotations

from dataclasses import dataclass

from imagesys_lib.context import Context
from imagesys_lib.ops.maintenance.disk import StagingDisk, check_staging
from imagesys_lib.ops.maintenance.logs import LOG_OPTIONS, PrunedLogs, log_folders, prune_logs
from imagesys_lib.ops.maintenance.rows import PrunedRows, prune_rows

__all__ = [
    "LOG_OPTIONS",
    "Maintained",
    "PrunedLogs",
    "PrunedRows",
    "StagingDisk",
    "log_folders",
    "maintain",
    "prune_logs",
]


@dataclass(frozen=True)
class Maintained:
    """What maintenance found and did in one country."""

    rows: PrunedRows
    staging: StagingDisk


def maintain(ctx: Context, *, dry_run: bool = False) -> Maintained:
    """Prune a country's rows and check its staging disk."""
    return Maintained(rows=prune_rows(ctx, dry_run=dry_run), staging=check_staging(ctx, dry_run=dry_run))
