"""Airflow as real processes on this machine: API server, scheduler, DAG processor and triggerer, with its own home.

Everything is configured by environment variables, so that no configuration file of the machine has a say; secrets
are made once and kept in base/secrets. DAGs are paused when they first appear: nothing runs before it is asked for.

An un-paused DAG starts its latest scheduled run by itself, at once, if its start time has come.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import requests

from include.sandbox.environment import environment
from include.sandbox.errors import SandboxError
from include.sandbox.services import process
from include.sandbox.services.airflow_api import AirflowApi, direct_session
from include.sandbox.services.airflow_database import POOLS, make_database
from include.sandbox.services.airflow_processes import end_session, is_task
from include.sandbox.services.postgres import Postgres
from include.sandbox.settings import LOOPBACK, PROJECT, SandboxSettings, make_private_directory, write_atomically

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
USER = "admin"

_PORT_OFFSET = 6
_HEALTH_KEYS = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}


@dataclass(frozen=True)
class AirflowServices:
    """Airflow for one sandbox. `config` is the ImageSys configuration that its tasks read."""

    settings: SandboxSettings
    config: Path = PROJECT / "include" / "countries.yaml"
    dags: Path = PROJECT / "dags"
    extra_environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.settings.base / "airflow"

    @property
    def database(self) -> Postgres:
        return Postgres(self.settings)

    @property
    def staging(self) -> Path:
        return self.settings.base / "staging"

    @property
    def port(self) -> int:
        return self.settings.port_base + _PORT_OFFSET

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def password_file(self) -> Path:
        """JSON, user name -> password (0600): the simple auth manager's own file."""
        return self.home / "passwords.json"

    @property
    def password(self) -> str:
        return self.settings.secret("airflow-admin")

    def api(self) -> AirflowApi:
        """A client that is logged in."""
        return AirflowApi(self.url, USER, self.password)

    def environment(self) -> dict[str, str]:
        """What every Airflow process, and whoever calls Airflow's command line, must have."""
        settings: dict[str, dict[str, object]] = {
            "core": {
                "executor": "LocalExecutor",
                "parallelism": 4,
                "load_examples": False,
                "dags_folder": self.dags,
                "plugins_folder": PROJECT / "plugins",
                "dags_are_paused_at_creation": True,
                "fernet_key": self._fernet_key(),
                "auth_manager": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
                "simple_auth_manager_users": f"{USER}:admin",
                "simple_auth_manager_passwords_file": self.password_file,
                "execution_api_server_url": f"{self.url}/execution/",
                "hostname_callable": "socket.gethostname",  # getfqdn may ask a name server, and wait for it
                "min_serialized_dag_update_interval": 5,
            },
            "database": {"sql_alchemy_conn": self.database.url},
            "api": {
                "host": LOOPBACK,
                "port": self.port,
                "base_url": self.url,
                "secret_key": self.settings.secret("airflow-api"),
            },
            # HS512 asks for 64 characters and more; one of our secrets has 32
            "api_auth": {"jwt_secret": "".join(self.settings.secret(f"airflow-jwt-{n}") for n in (1, 2))},
            "scheduler": {
                "scheduler_idle_sleep_time": 0.3,
                "scheduler_heartbeat_sec": 2,
                "job_heartbeat_sec": 2,
                "task_instance_heartbeat_timeout": 30,
                "task_instance_heartbeat_timeout_detection_interval": 5,
                "trigger_timeout_check_interval": 5,
            },
            "dag_processor": {
                "refresh_interval": 15,
                "min_file_process_interval": 15,
                "print_stats_interval": 300,
            },
            "triggerer": {"job_heartbeat_sec": 2},
            "workers": {"min_heartbeat_interval": 2},
            "logging": {"base_log_folder": self.home / "logs"},
            "usage_data_collection": {"enabled": False},
        }
        variables = {
            f"AIRFLOW__{section.upper()}__{name.upper()}": str(value)
            for section, values in settings.items()
            for name, value in values.items()
        }
        return {
            **environment(self.settings),
            "AIRFLOW_CONN_IMAGESYS_AIRFLOW_API": json.dumps(
                {
                    "conn_type": "http",
                    "host": LOOPBACK,
                    "port": self.port,
                    "login": USER,
                    "password": self.password,
                }
            ),
            "AIRFLOW_HOME": str(self.home),
            **variables,
            "IMAGESYS_CONFIG": str(self.config),
            "IMAGESYS_STAGING": str(self.staging),
            "IMAGESYS_STATE": str(self.home / "imagesys-state"),
            # Airflow's own reading of plugins/.airflowignore would warn at the head of every task's log
            "PYTHONWARNINGS": "ignore:GitWildMatchPattern:DeprecationWarning",
            "PYTHONSAFEPATH": "1",  # the caller's directory must not shadow a library
            **self.extra_environment,
        }

    def start(self, say: Callable[[str], None] = lambda _line: None) -> None:
        """Bring Airflow up and wait until all four components report that they are well."""
        make_private_directory(self.settings.base)
        make_private_directory(self.home)
        self._prepare()

        def start(name: str) -> None:
            if process.start(self.settings, self.service(name)):
                say(f"started airflow {name}")

        try:
            self._together(start, COMPONENTS)
        except BaseException:
            self.stop()
            raise

    def stop(self, say: Callable[[str], None] = lambda _line: None) -> None:
        """End all four, and the tasks that they run; nothing else."""
        scheduler = process.read_record(self.settings, self._record_name("scheduler"))
        if scheduler and scheduler.running:
            end_session(scheduler, is_task)  # else it would wait for them, and they might run for hours
        api_server, *others = COMPONENTS
        for names in (others, [api_server]):  # what ends still reports to the API server
            self._together(lambda name: self._stop_one(name, say), names)
        if self.database.stop():
            say("stopped postgres")

    def _stop_one(self, name: str, say: Callable[[str], None]) -> None:
        record = process.read_record(self.settings, self._record_name(name))
        if process.stop(self.settings, self.service(name)):
            say(f"stopped airflow {name}")
        if record:
            end_session(record, lambda _one: True)

    def healthy(self) -> bool:
        """Whether all four run and report that they are well."""
        return all(process.running_pid(self.settings, self._record_name(name)) for name in COMPONENTS) and all(
            self.service(name).healthy() for name in COMPONENTS
        )

    def cli(self, *arguments: str, seconds: float = 120) -> str:
        """Call Airflow's command line in this home and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env={**os.environ, **self.environment()},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode != 0:
            raise SandboxError(f"airflow {' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def service(self, name: str) -> process.Service:
        """One component as a daemon of the sandbox."""
        pid_file = self.home / f"{name}.pid"
        skip_logs = ("--skip-serve-logs",) if name in ("scheduler", "triggerer") else ()
        return process.Service(
            name=self._record_name(name),
            argv=(sys.executable, "-m", "airflow", name, *skip_logs, "--pid", str(pid_file)),
            marker=f"-m airflow {name} {' '.join((*skip_logs, '--pid', str(pid_file)))}",
            addresses=((LOOPBACK, self.port),) if name == "api-server" else (),
            healthy=self._api_answers if name == "api-server" else lambda: self._reports(name),
            environment=self.environment(),
            start_seconds=180.0,
            stop_seconds=5.0 if name == "triggerer" else 15.0,  # it waits for itself; what it does, it resumes
        )

    @staticmethod
    def _record_name(name: str) -> str:
        return f"airflow-{name}"

    def _prepare(self) -> None:
        """Make home, password file, metadata database and pools; a second call finds them and returns at once."""
        write_atomically(self.password_file, json.dumps({USER: self.password}) + "\n", 0o600)
        self.staging.mkdir(parents=True, exist_ok=True)
        fresh = not self.database.data_dir.exists()
        self.database.start()
        wanted = json.dumps({"airflow": version("apache-airflow"), "pools": POOLS})
        done = self.home / "prepared.json"
        if done.exists() and done.read_text() == wanted and not fresh:
            return
        with process.file_lock(self.settings.run_dir / "airflow-setup.lock"):
            make_database(self.environment())
            write_atomically(done, wanted)

    @staticmethod
    def _together(work: Callable[[str], object], names: Sequence[str]) -> None:
        """Do the same for several components at once, since each takes seconds; raise the first error."""
        errors: list[BaseException] = []

        def one(name: str) -> None:
            try:
                work(name)
            except BaseException as error:  # noqa: BLE001 - a thread's error belongs to the caller
                errors.append(error)

        threads = [threading.Thread(target=one, args=(name,), daemon=True) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _fernet_key(self) -> str:
        """Fernet wants 32 bytes in base64; our secrets are text of that length and more."""
        return base64.urlsafe_b64encode(self.settings.secret("airflow-fernet").encode()[:32]).decode()

    def _api_answers(self) -> bool:
        return bool(self._health())

    def _reports(self, name: str) -> bool:
        """Whether the process that runs now, not its predecessor, has reported that it is well."""
        record = process.read_record(self.settings, self._record_name(name))
        if record is None or not record.running:
            return False
        part = self._health().get(_HEALTH_KEYS[name]) or {}
        beat = part.get(f"latest_{_HEALTH_KEYS[name]}_heartbeat")
        with contextlib.suppress(psutil.NoSuchProcess):
            born = psutil.Process(record.pid).create_time()
            return part.get("status") == "healthy" and bool(beat) and _instant(beat) >= born
        return False

    def _health(self) -> dict[str, Any]:
        try:
            answer = direct_session().get(f"{self.url}/api/v2/monitor/health", timeout=5)
            return dict(answer.json()) if answer.ok else {}
        except (requests.RequestException, ValueError):
            return {}


def _instant(text: str) -> float:
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
