"""What both contenders work on: one sandbox, days of so many good photos, and a clean slate before each run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil

from benchmarks.common.scratch import is_in_memory, scratch
from include.sandbox import Sandbox, SandboxSettings
from include.sandbox.environment import write_config
from include.sandbox.nodes_and_ports import NODE_NAMES
from include.sandbox.services import process
from include.sandbox.services.airflow_api import direct_session
from include.sandbox.settings import PROJECT

from .figures import QUIET

COUNTRY, TIME_ZONE = "uk", "Europe/London"
DAG_ID = f"imagesys_{COUNTRY}"
BASE = PROJECT / ".local" / "bench-airflow"
SANDBOX = scratch("bench-airflow", BASE / "sandbox")
PORT_BASE = 18300
PHOTOS = 1500
"""Of these the JPEGs, 96 in 100, are served; each URL with bytes of its own."""

_DAYS_APART = 4
"""More than a run's look-back of 48 hours: no run sees another's listings."""

# The sandbox is set to fail quickly. Here a loaded machine must not turn a good photo into a failure.
_PATIENT: dict[str, Any] = {
    "fetch": {"connect_timeout": 30, "read_timeout": 60, "image_deadline": 180, "pause_between_tries": 2},
    "transfer": {"connect_timeout": 30, "io_timeout": 300},
    "thumbnail": {"seconds": 120},
}


class BenchmarkError(Exception):
    """A run that did not do all of its work: its time means nothing."""


@dataclass(frozen=True)
class Day:
    """A local day with so many new images in the ETL's table; without any it is an empty one."""

    date: date
    images: int

    @property
    def interval(self) -> tuple[datetime, datetime]:
        """Its midnights."""
        zone = ZoneInfo(TIME_ZONE)
        first, after = self.date, self.date + timedelta(days=1)
        return datetime(first.year, first.month, first.day, tzinfo=zone), datetime(
            after.year, after.month, after.day, tzinfo=zone
        )


@dataclass(frozen=True)
class Meter:
    """Processor seconds so far, since the machine began: of all processes, and of the web site alone."""

    machine: float
    site: float

    def __sub__(self, earlier: Meter) -> Meter:
        """Return what has been used since."""
        return Meter(self.machine - earlier.machine, self.site - earlier.site)


@dataclass(frozen=True)
class Testbed:
    """The sandbox of the benchmark; ``patience`` is how many seconds a run may wait for a quiet machine."""

    sandbox: Sandbox
    patience: float = 60

    @classmethod
    def begin(cls, patience: float = 60) -> Testbed:
        """Start everything but Airflow, on an empty directory: no history of an earlier benchmark has a say."""
        sandbox = Sandbox(SandboxSettings(base=SANDBOX, port_base=PORT_BASE))
        testbed = cls(sandbox, patience)
        testbed.end()
        shutil.rmtree(sandbox.settings.base, ignore_errors=True)
        sandbox.start(config=_PATIENT)
        testbed.imagesys("db", "upgrade")
        return testbed

    def end(self) -> None:
        """Stop all of it, and leave nothing in memory."""
        self.sandbox.airflow.stop()
        self.sandbox.stop()
        if is_in_memory(SANDBOX):
            shutil.rmtree(SANDBOX, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        """What a command needs to work on the sandbox as Airflow's tasks do."""
        airflow = self.sandbox.airflow
        own = {**self.sandbox.environment(), "IMAGESYS_STAGING": str(airflow.staging)}
        return {**os.environ, **own, "PYTHONSAFEPATH": "1"}

    def command(self, *arguments: str) -> list[str]:
        """Return the console script's call."""
        return [str(Path(sys.executable).with_name("imagesys")), *arguments]

    def imagesys(self, *arguments: str) -> None:
        """Call it. Raises BenchmarkError with its own words."""
        done = subprocess.run(
            self.command(*arguments), env=self.environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchmarkError(f"imagesys {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")

    def use_batches_of(self, images: int) -> None:
        """Set the batch size of the runs to come; tasks read the configuration when they start."""
        write_config(self.sandbox.settings, {**_PATIENT, "batch": {"size": images}})

    def seed(self, sizes: list[int], say: Callable[[str], None]) -> list[Day]:
        """Fill one day for each size, and have the web site and the page cache know all that they will serve."""
        last = datetime.now(ZoneInfo(TIME_ZONE)).date() - timedelta(days=30)
        days = [Day(last - timedelta(days=_DAYS_APART * number), size) for number, size in enumerate(sizes)]
        files: set[str] = set()
        url = ""
        for number, day in enumerate(days):
            entries = self.sandbox.etl.seed(
                COUNTRY,
                images=day.images,
                last_day=day.date,
                time_zone=TIME_ZONE,
                spread_days=1,
                seed=number + 1,
                broken_share=0.0,
                repeat=PHOTOS,
            )
            say(f"{len(entries)} images on {day.date}")
            files |= {entry.file for entry in entries.values()}
            url = next(iter(entries))
        for file in files:
            Path(file).read_bytes()
        direct_session().head(url, timeout=60).raise_for_status()
        return days

    def empty_day(self) -> Day:
        """Return a day on which the ETL has nothing new."""
        return Day(datetime.now(ZoneInfo(TIME_ZONE)).date() - timedelta(days=20), 0)

    def reset(self) -> None:
        """Empty the databases, the trees and the staging, in the same way for whoever comes next."""
        for database in (f"imagesys_{COUNTRY}", "imagesys_shared"):
            with self.sandbox.mariadb.connect("imagesys", database) as connection, connection.cursor() as cursor:
                cursor.execute("SHOW TABLES LIKE 'lis\\_%'")
                for (table,) in cursor.fetchall():
                    cursor.execute(f"TRUNCATE TABLE `{table}`")
        for name in NODE_NAMES:
            shutil.rmtree(self.sandbox.nodes[name].root / COUNTRY, ignore_errors=True)
        shutil.rmtree(self.sandbox.airflow.staging, ignore_errors=True)

    def require_all_live(self, images: int, who: str) -> None:
        """Raise BenchmarkError unless every image is live and both of its files lie on every node."""
        states = dict(self._rows("SELECT state, COUNT(*) FROM lis_images GROUP BY state"))
        live = int(self._rows("SELECT COUNT(*) FROM lis_live_images")[0][0])
        wanted = {"live": images} if images else {}
        if states != wanted or live != images:
            why = self._rows("SELECT state, reason, COUNT(*), MIN(detail) FROM lis_images GROUP BY state, reason")
            raise BenchmarkError(f"{who} left {live} of {images} images live: {why}")
        for name in NODE_NAMES:
            folder = self.sandbox.nodes[name].root / COUNTRY
            files = sum(len(names) for _, _, names in os.walk(folder))
            if files != 2 * images:
                raise BenchmarkError(f"{who} left {files} files on {name} instead of {2 * images}")

    def meter(self) -> Meter:
        """Read the processor time used so far."""
        times = psutil.cpu_times()
        pid = process.running_pid(self.sandbox.settings, "website")
        site = psutil.Process(pid).cpu_times() if pid else None
        return Meter(times.user + times.system, site.user + site.system if site else 0.0)

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        connect = self.sandbox.mariadb.connect
        with connect("imagesys", f"imagesys_{COUNTRY}") as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())


def foreign_load() -> float:
    """Return how busy others keep the machine, 0 to 1, while the benchmark itself does nothing."""
    return psutil.cpu_percent(interval=1.0) / 100


def settle(patience: float) -> float:
    """Wait up to ``patience`` seconds until the machine is quiet; returns how busy it is then."""
    give_up = time.monotonic() + patience
    while (load := foreign_load()) > QUIET and time.monotonic() < give_up:
        time.sleep(2)
    return load
