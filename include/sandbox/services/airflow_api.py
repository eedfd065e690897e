"""A small client of Airflow's REST API, for the demo and the tests."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import requests

from include.sandbox.errors import SandboxError


def direct_session() -> requests.Session:
    """A session that ignores the machine's proxy: it has nothing to do with loopback."""
    session = requests.Session()
    session.trust_env = False
    return session


class AirflowApi:
    """A small client of Airflow's REST API, for the demo and the tests."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._user, self._password = user, password
        self._session = direct_session()

    def call(self, method: str, path: str, body: object = None, **params: object) -> Any:
        """Call `/api/v2/<path>`; logs in where needed. Raises SandboxError with the server's own words."""
        for attempt in (1, 2):
            if "Authorization" not in self._session.headers:
                self._log_in()
            answer = self._session.request(
                method, f"{self.url}/api/v2/{path}", json=body, params=params or None, timeout=30
            )
            if answer.status_code == requests.codes.unauthorized and attempt == 1:
                del self._session.headers["Authorization"]
                continue
            break
        if not answer.ok:
            raise SandboxError(f"{method} {path}: {answer.status_code} {answer.text[:1000]}")
        return answer.json() if answer.content else None

    def _log_in(self) -> None:
        credentials = {"username": self._user, "password": self._password}
        answer = self._session.post(f"{self.url}/auth/token", json=credentials, timeout=30)
        if not answer.ok:
            raise SandboxError(f"Airflow refuses user {self._user}: {answer.status_code} {answer.text[:300]}")
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def dags(self) -> list[dict[str, Any]]:
        return list(self.call("GET", "dags", limit=100)["dags"])

    def import_errors(self) -> list[dict[str, Any]]:
        return list(self.call("GET", "importErrors")["import_errors"])

    def wait_for_dag(self, dag_id: str, seconds: float = 60) -> None:
        """Wait until the DAG processor has read it."""
        self._wait(lambda: any(dag["dag_id"] == dag_id for dag in self.dags()), f"DAG {dag_id}", seconds)

    def pause(self, dag_id: str, *, paused: bool = True) -> None:
        self.call("PATCH", f"dags/{dag_id}", {"is_paused": paused})

    def unpause(self, dag_id: str) -> None:
        """Let it run; its latest scheduled run then starts by itself."""
        self.pause(dag_id, paused=False)

    def trigger(
        self,
        dag_id: str,
        *,
        conf: Mapping[str, object] | None = None,
        interval: tuple[dt.datetime, dt.datetime] | None = None,
        run_id: str | None = None,
    ) -> str:
        """Start a manual run, without dates unless `interval` is given, and return its id."""
        body: dict[str, object] = {"logical_date": None, "conf": dict(conf or {})}
        if interval:
            start, end = (instant.isoformat() for instant in interval)
            body |= {"logical_date": start, "data_interval_start": start, "data_interval_end": end}
        if run_id:
            body["dag_run_id"] = run_id
        return str(self.call("POST", f"dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """All runs, newest first."""
        return list(self.call("GET", f"dags/{dag_id}/dagRuns", limit=100, order_by="-run_after")["dag_runs"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        return dict(self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}"))

    def wait_for_run(self, dag_id: str, run_id: str, seconds: float = 300) -> dict[str, Any]:
        """Wait until the run has ended and return it."""
        ended = ("success", "failed")
        self._wait(lambda: self.run(dag_id, run_id)["state"] in ended, f"the end of run {run_id}", seconds)
        return self.run(dag_id, run_id)

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """All task instances of a run, mapped ones each by itself."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=100, offset=len(found))
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """State of each task instance by its name, ``task`` or ``task[map index]``."""
        return {_name(one): str(one["state"]) for one in self.task_instances(dag_id, run_id)}

    def clear(
        self, dag_id: str, run_id: str, tasks: Iterable[str | tuple[str, int]], *, downstream: bool = True
    ) -> list[str]:
        """Clear tasks (names, or names with a map index) and return the names of all that will run again."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [task if isinstance(task, str) else list(task) for task in tasks],
            "include_downstream": downstream,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        return [_name(one) for one in self.call("POST", f"dags/{dag_id}/clearTaskInstances", body)["task_instances"]]

    def log(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1, try_number: int = 1) -> str:
        """The log of one try, one line each event."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        content = self.call("GET", path, map_index=map_index, full_content=True)["content"]
        return "\n".join(_line(event) for event in content)

    def xcom(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1, key: str = "return_value") -> Any:
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.call("GET", path, map_index=map_index, deserialize=True)["value"]

    @staticmethod
    def _wait(ready: Callable[[], bool], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise SandboxError(f"waited {seconds:.0f} s for {what} in vain")
            time.sleep(0.5)


def _name(instance: Mapping[str, Any]) -> str:
    index = instance.get("map_index", -1)
    return str(instance["task_id"]) if index is None or index < 0 else f"{instance['task_id']}[{index}]"


def _line(event: object) -> str:
    if not isinstance(event, Mapping):
        return str(event)
    rest = " ".join(str(event[key]) for key in ("error_detail",) if event.get(key))
    return f"{event.get('timestamp') or ''} {event.get('level') or ''} {event.get('event')} {rest}".strip()
