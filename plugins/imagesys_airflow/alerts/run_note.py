"""The run's note in the UI. A task can write it only through Airflow's public REST API, which wants a user's login."""

from __future__ import annotations

import logging
from urllib.parse import quote

import httpx

from imagesys_airflow.connections import airflow_connection
from imagesys_lib.connections import AIRFLOW_API, AIRFLOW_API_PORT, Connection
from imagesys_lib.text import printable

log = logging.getLogger(__name__)

_SECONDS = 10.0
_LONGEST = 1000  # characters: Airflow takes no longer one


def set_note(dag_id: str, run_id: str, text: str) -> None:
    """Write a run's note where the connection is there. Whatever goes wrong is logged: a note never changes a run."""
    connection = airflow_connection(AIRFLOW_API)
    if connection is None:
        log.info("No connection %s: the run gets no note in the UI", AIRFLOW_API)
        return
    try:
        shown = printable(text, lines=True)[:_LONGEST]
        _write(connection, f"dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}", shown)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        told = f"{error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else type(error).__name__
        log.warning(
            "The run's note could not be written: %s. Remedy: correct connection %s (host, port, and a user who may "
            "edit DAG runs); nothing else depends on it.",
            *(told, AIRFLOW_API),
        )


def _write(connection: Connection, path: str, text: str) -> None:
    base = f"{connection.schema or 'http'}://{connection.host}:{connection.port or AIRFLOW_API_PORT}"
    # Without the environment's proxy: it has no business with what the connection names.
    with httpx.Client(base_url=base, timeout=_SECONDS, trust_env=False) as client:
        credentials = {"username": connection.login, "password": connection.password}
        answer = client.post("/auth/token", json=credentials).raise_for_status()
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        mask = {"update_mask": "note"}
        client.patch(f"/api/v2/{path}", params=mask, headers=headers, json={"note": text}).raise_for_status()
