"""The staging disk: how near its floor it is, and what stages hold there. The disk of Airflow's logs."""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imagesys_lib.context import Context
from imagesys_lib.errors import DiskFull
from imagesys_lib.stages.heal import heal

log = logging.getLogger(__name__)

AIRFLOW_FLOOR_MB = 1024
"""What the disk of Airflow's log files is to have free: Airflow's supervisor ends a task whose log it cannot write."""


@dataclass(frozen=True)
class StagingDisk:
    """Free space against the floor, where work stops, and the pressure mark above it; what the country holds.

    ``healed``: it was under pressure, and :func:`heal` has freed what it could; all figures are from after that.
    """

    free_mb: int
    floor_mb: int
    pressure_mb: int
    original_files: int
    original_mb: int
    thumbnail_files: int
    thumbnail_mb: int
    healed: bool


def check_staging(ctx: Context, *, dry_run: bool = False) -> StagingDisk:
    """Measure the staging disk; under pressure, heal the country first, which deletes what may go."""
    healed = ctx.staging.under_pressure() and not dry_run
    if healed:
        heal(ctx)
    settings = ctx.config.staging
    original_files, original_bytes = _held(settings.root / "originals" / ctx.country)
    thumbnail_files, thumbnail_bytes = _held(ctx.staging.out / ctx.country)
    disk = StagingDisk(
        free_mb=ctx.staging.free_bytes() >> 20,
        floor_mb=settings.min_free_mb,
        pressure_mb=settings.min_free_mb * settings.pressure_percent // 100,
        original_files=original_files,
        original_mb=original_bytes >> 20,
        thumbnail_files=thumbnail_files,
        thumbnail_mb=thumbnail_bytes >> 20,
        healed=healed,
    )
    _say(ctx, disk)
    return disk


def require_room(folder: Path) -> str:
    """Return how much room Airflow's log files have. Raises DiskFull below the floor."""
    free_mb = shutil.disk_usage(folder).free >> 20
    found = f"{folder} has {free_mb} MB free"
    if free_mb < AIRFLOW_FLOOR_MB:
        raise DiskFull(
            f"{found}, below {AIRFLOW_FLOOR_MB} MB: Airflow ends each task whose log it cannot write.",
            remedy="lower `retention.logs` and call `imagesys maintenance`, or give the disk more room.",
        )
    return found


def check_logs(folder: Path) -> None:
    """Log an error where the disk of Airflow's logs is below its floor: somebody can make room before tasks fail."""
    try:
        require_room(folder)
    except DiskFull as full:
        log.error("%s", full)  # noqa: TRY400 - it is no fault of ours


def _say(ctx: Context, disk: StagingDisk) -> None:
    found = (
        f"{ctx.country.upper()}: staging {ctx.config.staging.root} has {disk.free_mb} MB free and holds "
        f"{disk.original_files} files of originals ({disk.original_mb} MB), {disk.thumbnail_files} of thumbnails "
        f"({disk.thumbnail_mb} MB)."
    )
    if disk.free_mb < disk.floor_mb:
        log.error("%s Below the floor of %d MB no work is begun. %s", found, disk.floor_mb, _REMEDY)
    elif disk.free_mb < disk.pressure_mb:
        log.warning("%s Below %d MB nothing is held for nodes that are behind. %s", found, disk.pressure_mb, _REMEDY)
    else:
        log.info("%s", found)


_REMEDY = "Remedy: bring nodes back that are behind (`imagesys status`), or give staging more room."


def _held(folder: Path) -> tuple[int, int]:
    """Return the number of files below a folder and their bytes."""
    files = size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # a worker has finished with it
                size += Path(place, name).lstat().st_size
                files += 1
    return files, size
