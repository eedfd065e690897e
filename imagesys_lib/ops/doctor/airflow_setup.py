"""Airflow, asked by its own command: the pools, the connections and the time zone that the DAGs rely on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from imagesys_lib.config import CountryConfig
from imagesys_lib.config.connections import AIRFLOW_API, POOLS, Connection, environment_connection, parse_connection
from imagesys_lib.errors import ConnectionMissing, EnvironmentFault
from imagesys_lib.ops import airflow_api
from imagesys_lib.ops.doctor.finding import Finding, attempt
from imagesys_lib.ops.maintenance.disk import require_room

JOBS = {
    "SchedulerJob": ("scheduler", "no run starts"),
    "DagProcessorJob": ("dag-processor", "nobody is notified of a run that has failed"),
    "TriggererJob": ("triggerer", "nobody is notified of a run that is late, and no purge can be approved"),
}
_SECONDS = 120
_NO_RUN = "imagesys-doctor-asks-for-nothing"


def examine(countries: Sequence[CountryConfig]) -> Iterator[Finding]:
    """Check Airflow, where it is installed beside this command."""
    try:
        airflow_command()
    except EnvironmentFault:
        yield Finding("Airflow", True, "not checked: Airflow is not installed beside this command")
        return
    yield attempt("Airflow pools", _pools)
    yield attempt("Airflow connections", lambda: _connections(countries))
    yield attempt("Airflow time zone", _time_zone)
    yield attempt("Airflow logs", _logs)
    yield attempt("Airflow services", _services)
    yield attempt("Airflow API", lambda: _api(countries))


def airflow_command() -> str:
    """Return the `airflow` beside this interpreter, or on the path. Raises EnvironmentFault if there is none."""
    found = shutil.which("airflow", path=str(Path(sys.executable).parent)) or shutil.which("airflow")
    if found is None:
        raise EnvironmentFault("The airflow command is not installed here.", remedy="run this where Airflow is.")
    return found


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an Airflow command, for two minutes at most."""
    try:
        return subprocess.run(
            [airflow_command(), *arguments], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentFault(
            f"`airflow {' '.join(arguments)}` did not answer within {_SECONDS} s.",
            remedy="look at the load of this machine and of Airflow's database, and call the doctor again.",
        ) from None


def output_of(*arguments: str) -> str:
    """Return what an Airflow command prints. Raises EnvironmentFault if it fails."""
    done = call(*arguments)
    if done.returncode:
        raise EnvironmentFault(
            f"`airflow {' '.join(arguments)}` failed: {done.stderr.strip()[-300:]}.",
            remedy="set AIRFLOW_HOME as the scheduler has it, and look at `imagesys doctor`.",
        )
    return done.stdout


def setting(section: str, option: str) -> str:
    """Return a setting of Airflow."""
    return output_of("config", "get-value", section, option).strip().splitlines()[-1].strip()


def rows(*arguments: str) -> list[dict[str, Any]]:
    """Return the rows that one of Airflow's list commands prints."""
    return _rows_in(output_of(*arguments, "--output", "json"))


def _rows_in(said: str) -> list[dict[str, Any]]:
    """Return the rows that Airflow has printed as JSON; it may have said other things before them."""
    start = re.search(r"\[\s*\{", said)
    found: list[dict[str, Any]] = json.loads(said[start.start() :]) if start else []
    return found


def _pools() -> str:
    there = {row["pool"]: row["slots"] for row in rows("pools", "list")}
    missing = [pool for pool in POOLS if pool not in there]
    closed = [pool for pool in POOLS if int(there.get(pool, 1)) == 0]
    for pools, what in (
        (missing, "do not exist: their tasks would stay scheduled for ever"),
        (closed, "have 0 slots: their tasks never start"),
    ):
        if pools:
            remedy = "run `airflow pools set NAME SLOTS DESCRIPTION` for each: so many of its tasks run at once."
            raise EnvironmentFault(f"Pools {', '.join(pools)} {what}.", remedy=remedy)
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
    stored = {str(row["conn_id"]) for row in rows("connections", "list")}
    unknown = [ids for ids in needed if not any(environment_connection(one) or one in stored for one in ids)]
    missing = [ids for ids in unknown if not any(call("connections", "get", one).returncode == 0 for one in ids)]
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
    dag_id, user = f"imagesys_{countries[0].country}", f"user {connection.login!r}"
    status = airflow_api.set_note(connection, dag_id, _NO_RUN, "")  # refused before the run is looked for
    if status != 404:
        raise airflow_api.fault(f"{user} may not edit runs of {dag_id} (status {status})", "the user's role")
    return f"{airflow_api.address(connection)}, {user} may write notes"


def _stored(conn_id: str) -> Connection | None:
    """Return a connection from Airflow's database or secrets backend, None where it has none of that name."""
    done = call("connections", "get", conn_id, "--output", "json")
    found = _rows_in(done.stdout) if done.returncode == 0 else []
    return parse_connection(conn_id, json.dumps({**found[0], "extra": {}})) if found else None


def _time_zone() -> str:
    """A plain date, typed for a backfill, is midnight in this zone, and the timetable knows one by midnight UTC."""
    found = setting("core", "default_timezone")
    if found.lower() not in ("utc", "etc/utc"):
        raise EnvironmentFault(
            f"core.default_timezone is {found!r}: plain dates of a backfill would mean other days.",
            remedy="set AIRFLOW__CORE__DEFAULT_TIMEZONE=utc for scheduler, API server and this command.",
        )
    return found


def _logs() -> str:
    return require_room(Path(setting("logging", "base_log_folder")))


def _services() -> str:
    """Look for a heartbeat of each service whose absence nothing else shows."""
    with ThreadPoolExecutor(len(JOBS)) as pool:  # each is a start of Airflow
        checked = pool.map(lambda job: call("jobs", "check", "--job-type", job).returncode, JOBS)
        dead = [JOBS[job] for job, code in zip(JOBS, checked, strict=True) if code]
    if dead:
        raise EnvironmentFault(
            "; ".join(f"no {service} is alive: {loss}" for service, loss in dead) + ".",
            remedy="start " + ", ".join(f"`airflow {service}`" for service, _ in dead) + ".",
        )
    return ", ".join(service for service, _ in JOBS.values()) + " are alive"
