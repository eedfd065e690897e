"""A running Airflow of its own for these tests: real scheduler, workers, triggerer and DAG processor over a sandbox.

Each scenario has a country to itself, so that one's nodes, rows and runs never meet another's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from include.sandbox import ManifestEntry, Sandbox, SandboxSettings
from include.sandbox.environment import due_day, write_config
from include.sandbox.services.airflow import AirflowServices
from include.sandbox.services.airflow_api import AirflowApi
from include.sandbox.services.ports import take_block
from include.sandbox.settings import PROJECT

BATCH = 50

QUICK: dict[str, Any] = {
    "batch": {"size": BATCH, "lease_seconds": 10},
    "fetch": {"pause_between_tries": 0.1, "image_deadline": 4, "read_timeout": 3, "connect_timeout": 2},
}
LATE_AT_ONCE: dict[str, Any] = {"warn_minutes": 0.05, "deadline_minutes": 0.1}
PURGES_AT_ONCE: dict[str, Any] = {"purge": {"retention_days": 0, "max_unlisted_percent": 60}}
READS_SELDOM = {f"AIRFLOW__DAG_PROCESSOR__{name}": "45" for name in ("REFRESH_INTERVAL", "MIN_FILE_PROCESS_INTERVAL")}
"""To read all DAG files takes seconds of processor time, which the tasks want."""
COUNTRIES: dict[str, dict[str, Any]] = {
    "fr": {"alerts": LATE_AT_ONCE, "fetch": {"in_flight": 2}},
    "br": {"alerts": LATE_AT_ONCE},
    "de": {"fetch": {"in_flight": 5}, "batch": {"size": 10}},
    "es": {"fetch": {"in_flight": 2}, "batch": {"size": 20}},
    "in": PURGES_AT_ONCE,
    "it": PURGES_AT_ONCE,
}


@dataclasses.dataclass(frozen=True)
class Live:
    """The running system, and looks at every place where its work shows."""

    sandbox: Sandbox
    airflow: AirflowServices
    api: AirflowApi

    def seed(self, country: str, zone: str, images: int, **options: Any) -> dict[str, ManifestEntry]:
        """Fill a country's ETL table with photos of the day that the schedule will start with."""
        return self.sandbox.etl.seed(
            country, images=images, last_day=due_day(zone), time_zone=zone, spread_days=1, **options
        )

    def start_daily(self, country: str) -> str:
        """Unpause the country's DAG and return the id of the run that the schedule then starts, if it is due yet."""
        dag_id = f"imagesys_{country}"
        self.api.wait_for_dag(dag_id, 120)
        self.api.unpause(dag_id)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for run in self.api.runs(dag_id):
                if run["run_type"] == "scheduled":
                    return str(run["dag_run_id"])
            time.sleep(0.5)
        raise AssertionError(f"{dag_id} has no scheduled run a minute after it was unpaused")

    def subjects(self, country: str, since: int = 0) -> list[str]:
        """Return the subjects of a country's mails, in order of arrival and without `[ImageSys]`."""
        found = [str(mail["subject"]) for mail in self.sandbox.mail.mails(since)]
        return [subject.removeprefix("[ImageSys] ") for subject in found if f" {country} " in subject]

    def rows(self, country: str, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask a country's schema."""
        connect = self.sandbox.mariadb.connect
        with connect("imagesys", f"imagesys_{country}") as connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            return list(cursor.fetchall())

    def live_urls(self, country: str) -> set[str]:
        """What the website shows."""
        return {row[0] for row in self.rows(country, "SELECT image_url FROM lis_live_images")}

    def trees(self, country: str) -> dict[str, dict[str, str]]:
        """Every file of the country on every node, with its checksum."""
        return {name: checksums(self.sandbox.nodes[name].root / country) for name in ("n1", "n2", "n3")}

    def wait_until(self, what: str, ready: Callable[[], Any], seconds: float = 60) -> Any:
        """Return what ``ready`` returns once it is true."""
        deadline = time.monotonic() + seconds
        while not (value := ready()):
            assert time.monotonic() < deadline, f"waited {seconds} s for {what} in vain"
            time.sleep(0.3)  # a question costs the API server some hundredths of a second of processor time
        return value

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the console script as ops would."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("imagesys")), *arguments],
            env={**os.environ, **self.airflow.environment()},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


def checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def expected_live(entries: dict[str, ManifestEntry]) -> set[str]:
    """Return the URLs that the site serves properly."""
    return {url for url, entry in entries.items() if entry.expects_live}


@pytest.fixture(scope="session")
def live() -> Iterator[Live]:
    """Everything running; started anew for the session and stopped at its end."""
    settings = SandboxSettings(base=PROJECT / ".local" / "tests" / "scheduler", port_base=take_block())
    sandbox = Sandbox(settings)
    airflow = dataclasses.replace(sandbox.airflow, dags=settings.base / "dags", extra_environment=READS_SELDOM)
    airflow.stop()
    sandbox.stop()
    shutil.rmtree(settings.base, ignore_errors=True)
    shutil.copytree(PROJECT / "dags", airflow.dags, ignore=shutil.ignore_patterns("__pycache__"))
    try:
        sandbox.start()
        write_config(settings, QUICK, COUNTRIES)
        found = Live(sandbox, airflow, airflow.api())
        done = found.command("db", "upgrade")
        assert done.returncode == 0, done.stderr
        airflow.start()
        yield found
    finally:
        airflow.stop()
        sandbox.stop()
