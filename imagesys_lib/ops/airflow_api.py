"""Airflow's public API, as far as a run's note needs it: to log in and to set the note."""

from __future__ import annotations

import json
from itertools import islice
from urllib.parse import quote

import requests

from imagesys_lib.config.connections import AIRFLOW_API, AIRFLOW_API_PORT, Connection
from imagesys_lib.errors import EnvironmentFault

_SECONDS = 10.0
_PIECE, _PIECES = 65_536, 16  # bytes of an answer that are read at most: a login's has some hundred


def address(connection: Connection) -> str:
    """Return host and port of Airflow's API server."""
    return f"{connection.host}:{connection.port or AIRFLOW_API_PORT}"


def set_note(connection: Connection, dag_id: str, run_id: str, text: str) -> int:
    """Log in, set a run's note, and return the answer's status: 404 if there is no such run, 403 if the user may not.

    Raises EnvironmentFault where no Airflow answers or it does not let the user in.
    """
    base = f"{connection.schema or 'http'}://{address(connection)}"
    run = f"dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}"
    with requests.Session() as session:
        session.trust_env = False  # the environment's proxy has no business with what the connection names
        try:
            credentials = {"username": connection.login, "password": connection.password}
            status, said = _ask(session, "POST", f"{base}/auth/token", credentials)
            if status not in (200, 201):
                what = f"{address(connection)} does not let user {connection.login!r} in (status {status})"
                raise fault(what, "login and password")
            session.headers["Authorization"] = f"Bearer {json.loads(said)['access_token']}"
            return _ask(session, "PATCH", f"{base}/api/v2/{run}?update_mask=note", {"note": text})[0]
        except requests.RequestException as error:
            what = f"{address(connection)} gives no answer ({type(error).__name__})"
            raise fault(what, "host and port") from None
        except (ValueError, KeyError, TypeError):
            what = f"{address(connection)} answers, but not as Airflow's API server"
            raise fault(what, "host and port") from None


def _ask(session: requests.Session, method: str, url: str, body: object) -> tuple[int, bytes]:
    """Return status and beginning of an answer. A redirect is one: the password goes to no other host."""
    with session.request(method, url, json=body, timeout=_SECONDS, allow_redirects=False, stream=True) as answer:
        return answer.status_code, b"".join(islice(answer.iter_content(_PIECE), _PIECES))


def fault(what: str, wrong: str) -> EnvironmentFault:
    """Return the fault that keeps runs without notes, with its remedy."""
    return EnvironmentFault(
        f"{what}: runs get no note.",
        remedy=f"correct {wrong} of connection {AIRFLOW_API}, or take the connection away; nothing else depends on it.",
    )
