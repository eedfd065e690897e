"""Airflow's own API, which writes the run's note where a connection names it: may its user do so?"""

from __future__ import annotations

import json
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection

import certifi

from imagesys_lib.connections import AIRFLOW_API, AIRFLOW_API_PORT, Connection
from imagesys_lib.errors import EnvironmentFault

_SECONDS = 10.0
_NO_RUN = "imagesys-doctor-asks-for-nothing"


def look(connection: Connection, dag_id: str) -> str:
    """Log in, and try to write the note of a run that does not exist: who may not is told so before."""
    where = f"{connection.host}:{connection.port or AIRFLOW_API_PORT}"
    credentials = {"username": connection.login, "password": connection.password}
    status, said = _ask(connection, "POST", "/auth/token", credentials)
    if status not in (200, 201):
        raise _fault(f"{where} does not let user {connection.login!r} in (status {status})", "login and password")
    try:
        token = str(json.loads(said)["access_token"])
    except (ValueError, KeyError, TypeError):
        raise _fault(f"{where} answers, but not as Airflow's API server", "host and port") from None
    path = f"/api/v2/dags/{dag_id}/dagRuns/{_NO_RUN}?update_mask=note"
    status, _ = _ask(connection, "PATCH", path, {"note": ""}, token)
    if status != 404:
        raise _fault(f"user {connection.login!r} may not edit runs of {dag_id} (status {status})", "the user's role")
    return f"{where}, user {connection.login!r} may write notes"


def _ask(connection: Connection, method: str, path: str, body: object, token: str = "") -> tuple[int, bytes]:
    port = connection.port or AIRFLOW_API_PORT
    trusted = ssl.create_default_context(cafile=certifi.where())
    link = (
        HTTPSConnection(connection.host, port, timeout=_SECONDS, context=trusted)
        if connection.schema == "https"
        else HTTPConnection(connection.host, port, timeout=_SECONDS)
    )
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        link.request(method, path, json.dumps(body), headers)
        answer = link.getresponse()
        return answer.status, answer.read()
    except (OSError, HTTPException) as error:
        raise _fault(f"{connection.host}:{port} gives no answer ({type(error).__name__})", "host and port") from None
    finally:
        link.close()


def _fault(what: str, wrong: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{what}: runs get no note.",
        remedy=f"correct {wrong} of connection {AIRFLOW_API}, or take the connection away; nothing else depends on it.",
    )
