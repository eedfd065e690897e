"""Airflow, asked by its own command: the pools, the connections and the time zone that the DAGs rely on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from imagesys_lib.config import CountryConfig
from imagesys_lib.connections import AIRFLOW_API, POOLS, Connection, environment_connection, parse_connection
from imagesys_lib.doctor import airflow_api
from imagesys_lib.doctor.finding import Finding, attempt
from imagesys_lib.errors import ConnectionMissing, EnvironmentFault
from imagesys_lib.logs import require_room

JOBS = {
    "SchedulerJob": ("scheduler", "no run starts"),
    "DagProcessorJob": ("dag-processor", "no mail tells of a run that has failed"),
    "TriggererJob": ("triggerer", "no mail tells of a run that is late, and no purge can be approved"),
}
_SECONDS = 120


def examine(countries: Sequence[CountryConfig]) -> Iterator[Finding]:
    """Check Airflow, where it is installed beside this command."""
    if not _command().exists():
        yield Finding("Airflow", True, "not checked: Airflow is not installed beside this command")
        return
    yield attempt("Airflow pools", _pools)
    yield attempt("Airflow connections", lambda: _connections(countries))
    yield attempt("Airflow time zone", _time_zone)
    yield attempt("Airflow logs", _logs)
    yield attempt("Airflow services", _services)
    yield attempt("Airflow API", lambda: _api(countries))


def _command() -> Path:
    return Path(sys.executable).with_name("airflow")


def _call(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(_command()), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise EnvironmentFault(
            f"`airflow {' '.join(arguments)}` did not answer within {_SECONDS} s.",
            remedy="look at the load of this machine and of Airflow's database, and call the doctor again.",
        ) from None


def _ask(*arguments: str) -> str:
    done = _call(*arguments)
    if done.returncode:
        raise EnvironmentFault(
            f"`airflow {' '.join(arguments)}` failed: {done.stderr.strip()[-300:]}.",
            remedy="set AIRFLOW_HOME as the scheduler has it.",
        )
    return done.stdout


def _rows(*arguments: str) -> list[dict[str, Any]]:
    """Return the rows of a list command."""
    return rows_in(_ask(*arguments, "--output", "json"))


def rows_in(said: str) -> list[dict[str, Any]]:
    """Return the rows that a list command of Airflow has printed as JSON; it may have said other things before them."""
    start = re.search(r"\[\s*\{", said)
    rows: list[dict[str, Any]] = json.loads(said[start.start() :]) if start else []
    return rows


def _pools() -> str:
    there = {row["pool"]: row["slots"] for row in _rows("pools", "list")}
    missing = [pool for pool in POOLS if pool not in there]
    if missing:
        raise EnvironmentFault(
            f"Pools {', '.join(missing)} do not exist: their tasks would stay scheduled for ever.",
            remedy="run `airflow pools set NAME SLOTS DESCRIPTION` for each.",
        )
    closed = [pool for pool in POOLS if int(there[pool]) == 0]
    if closed:
        raise EnvironmentFault(
            f"Pools {', '.join(closed)} have 0 slots: their tasks never start.",
            remedy="run `airflow pools set NAME SLOTS DESCRIPTION` for each: so many of its tasks run at once.",
        )
    return ", ".join(f"{pool} ({there[pool]} slots)" for pool in POOLS)


def needed_connections(countries: Sequence[CountryConfig]) -> list[tuple[str, ...]]:
    """Return what must be there: of each tuple one connection at least."""
    needed: dict[tuple[str, ...], None] = {("imagesys_shared",): None, ("smtp_default",): None}
    for config in countries:
        needed[f"imagesys_db_{config.country}", "imagesys_db"] = None
        needed[f"etl_{config.country}", "etl"] = None
        needed |= {(node,): None for node in config.nodes}
    return list(needed)


def _connections(countries: Sequence[CountryConfig]) -> str:
    """Look in the environment, then in Airflow's database; only for the rest in its secrets backend, one by one."""
    needed = needed_connections(countries)
    stored = {str(row["conn_id"]) for row in _rows("connections", "list")}
    unknown = [ids for ids in needed if not any(environment_connection(one) or one in stored for one in ids)]
    missing = [ids for ids in unknown if not any(_call("connections", "get", one).returncode == 0 for one in ids)]
    if missing:
        names = ", ".join(" or ".join(ids) for ids in missing)
        raise ConnectionMissing(
            f"Airflow has no connection {names}.",
            remedy="run `airflow connections add` for each (docs/nodes.md has the extras of a node).",
        )
    return f"all {len(needed)} are there"


def _api(countries: Sequence[CountryConfig]) -> str:
    connection = environment_connection(AIRFLOW_API) or _stored(AIRFLOW_API)
    if connection is None:
        return f"no connection {AIRFLOW_API}: runs get no note in the UI"
    return airflow_api.look(connection, f"imagesys_{countries[0].country}")


def _stored(conn_id: str) -> Connection | None:
    """Return a connection from Airflow's database or secrets backend, None where it has none of that name."""
    done = _call("connections", "get", conn_id, "--output", "json")
    found = rows_in(done.stdout) if done.returncode == 0 else []
    return parse_connection(conn_id, json.dumps({**found[0], "extra": {}})) if found else None


def _time_zone() -> str:
    """A plain date, typed for a backfill, is midnight in this zone, and the timetable knows one by midnight UTC."""
    found = _ask("config", "get-value", "core", "default_timezone").strip().splitlines()[-1].strip()
    if found.lower() not in ("utc", "etc/utc"):
        raise EnvironmentFault(
            f"core.default_timezone is {found!r}: plain dates of a backfill would mean other days.",
            remedy="set AIRFLOW__CORE__DEFAULT_TIMEZONE=utc for scheduler, API server and this command.",
        )
    return found


def _logs() -> str:
    return require_room(
        Path(_ask("config", "get-value", "logging", "base_log_folder").strip().splitlines()[-1].strip())
    )


def _services() -> str:
    """Look for a heartbeat of each service whose absence nobody is told of by anything else."""
    with ThreadPoolExecutor(len(JOBS)) as pool:  # each is a start of Airflow
        checked = pool.map(lambda job: _call("jobs", "check", "--job-type", job).returncode, JOBS)
        dead = [JOBS[job] for job, code in zip(JOBS, checked, strict=True) if code]
    if dead:
        raise EnvironmentFault(
            "; ".join(f"no {service} is alive: {loss}" for service, loss in dead) + ".",
            remedy="start " + ", ".join(f"`airflow {service}`" for service, _ in dead) + ".",
        )
    return ", ".join(service for service, _ in JOBS.values()) + " are alive"
