"""The real stages on a real database: batches that ingest and plan have made, worked off as Airflow's tasks do it."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.common.outcome import Cost
from include.sandbox import Sandbox, SandboxSettings
from include.sandbox.environment import write_config
from include.sandbox.feed.listings import Listing
from include.sandbox.settings import PROJECT

from .outcome import Done
from .pinning import run_all
from .settings import BASE, COUNTRY, CPUS, PORT_BASE, QUALITY, SCRATCH, SIZES

_PHOTOS_A_LISTING = 20
_LOG = BASE / "log"


@dataclass(frozen=True)
class Work:
    """How ImageSys is set up for one measurement. ``settings`` overrides the country's, as countries.yaml would."""

    encoder: str
    batches: int = CPUS
    processes: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchesDone(Done):
    """``phases`` has, for each batch, when it began, was fetched and ended (epoch)."""

    phases: list[dict[str, float]]


class Batches:
    """A private MariaDB with ImageSys's schemas, and no other service. Use it in a ``with`` block."""

    def __init__(self) -> None:
        self._sandbox = Sandbox(SandboxSettings(base=BASE / "sandbox", port_base=PORT_BASE))
        self.staging = SCRATCH / "staging"

    def __enter__(self) -> Batches:
        self._sandbox.start(services=("mariadb",))
        try:
            self._environment = {**os.environ, **self._sandbox.environment()}
            command = [str(Path(sys.executable).with_name("imagesys")), "db", "upgrade", COUNTRY]
            subprocess.run(command, env=self._environment, check=True, stdout=subprocess.DEVNULL)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._sandbox.stop(services=("mariadb",))
        shutil.rmtree(self.staging, ignore_errors=True)

    def plan(self, urls: Sequence[str], work: Work) -> list[int]:
        """Start afresh: let the ETL's table hold these URLs, ingest them, and return the ids of the planned batches."""
        self._empty()
        write_config(self._sandbox.settings, _overrides(work, -(-len(urls) // work.batches)))
        moment = dt.datetime.now(dt.timezone.utc).replace(tzinfo=None, microsecond=0) - dt.timedelta(hours=1)
        for number, at in enumerate(range(0, len(urls), _PHOTOS_A_LISTING)):
            photos = tuple(urls[at : at + _PHOTOS_A_LISTING])
            self._sandbox.etl.put(COUNTRY, Listing(f"bench-{number}", 101, photos, moment))
        command = [sys.executable, "-m", "benchmarks.images.worker", "plan"]
        result = subprocess.run(
            command, env=self._environment, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True
        )
        planned: list[int] = json.loads(result.stdout.splitlines()[-1])
        if len(planned) != work.batches:
            raise RuntimeError(f"{len(planned)} batches were planned, not {work.batches}")
        return planned

    def run(self, planned: Sequence[int]) -> BatchesDone:
        """Work all batches off at the same time, a process each, and return what became of them."""
        reports = [_LOG / f"batch-{batch}.json" for batch in planned]
        commands = [
            [sys.executable, "-m", "benchmarks.images.worker", "batch", str(batch), str(report)]
            for batch, report in zip(planned, reports, strict=True)
        ]
        cost = run_all(commands, _LOG / "imagesys.log", self._environment)
        return self._done(cost, reports)

    def start(self, batch: int) -> tuple[subprocess.Popen[bytes], Callable[[], BatchesDone]]:
        """Start one batch and return its process, and what to call when that has ended."""
        report = _LOG / f"batch-{batch}.json"
        command = [sys.executable, "-m", "benchmarks.images.worker", "batch", str(batch), str(report)]
        with (_LOG / "imagesys.log").open("wb") as log:
            process = subprocess.Popen(command, env=self._environment, cwd=PROJECT, stdout=log, stderr=log)
        return process, lambda: self._done(Cost(0.0, 0.0), [report])

    def _done(self, cost: Cost, reports: Sequence[Path]) -> BatchesDone:
        parts = [json.loads(report.read_text()) for report in reports]
        failed: dict[str, int] = {}
        for part in parts:
            for reason, count in part["failed"].items():
                failed[reason] = failed.get(reason, 0) + count
        written = (file.stat().st_mtime for file in (self.staging / "out").rglob("*.jpg"))
        return BatchesDone(
            cost, sum(part["made"] for part in parts), failed, max(written, default=0.0), [p["phases"] for p in parts]
        )

    def _empty(self) -> None:
        for schema in (f"imagesys_{COUNTRY}", "imagesys_shared"):
            with self._sandbox.mariadb.connect("imagesys", schema) as connection, connection.cursor() as cursor:
                cursor.execute("SHOW TABLES LIKE 'lis\\_%'")
                for (table,) in cursor.fetchall():
                    cursor.execute(f"TRUNCATE TABLE `{table}`")
        self._sandbox.etl.empty(COUNTRY)
        shutil.rmtree(self.staging, ignore_errors=True)


def _overrides(work: Work, size: int) -> dict[str, Any]:
    overrides: dict[str, Any] = {
        "batch": {"size": size},
        "sizes": [{"width": width, "height": height, "mode": mode} for width, height, mode in reversed(SIZES)],
        "process": {"sharpen": "0x1", "gamma": 1.0, "quality": QUALITY},
        # The limit per host must not bind: img2dataset knows none.
        "fetch": {"in_flight": 64, "per_host": 64, "connect_timeout": 10, "read_timeout": 20, "image_deadline": 60},
        "thumbnail": {"encoder": work.encoder, "processes": work.processes},
        "staging": {"root": str(SCRATCH / "staging"), "min_free_mb": 64},
    }
    for section, values in work.settings.items():
        overrides[section] = {**overrides.get(section, {}), **values} if isinstance(values, Mapping) else values
    return overrides
