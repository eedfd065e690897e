"""The run's note in the UI. A task can write it only through Airflow's public REST API, which wants a user's login.

Looked at in Airflow 3.3.2: the execution API, a task's own, has no route that changes a run's note.
"""

from __future__ import annotations

import logging

from imagesys_airflow.connections import airflow_connection
from imagesys_lib.config.connections import AIRFLOW_API
from imagesys_lib.errors import EnvironmentFault
from imagesys_lib.ops import airflow_api
from imagesys_lib.output.printable import printable

log = logging.getLogger(__name__)

_LONGEST = 1000  # characters: Airflow takes no longer one


def write_note(dag_id: str, run_id: str, text: str) -> None:
    """Write a run's note where the connection is there. Whatever goes wrong is logged: a note never changes a run."""
    connection = airflow_connection(AIRFLOW_API)
    if connection is None:
        log.info("No connection %s: the run gets no note in the UI", AIRFLOW_API)
        return
    try:
        status = airflow_api.set_note(connection, dag_id, run_id, printable(text, lines=True)[:_LONGEST])
        if status >= 300:
            raise airflow_api.fault(f"user {connection.login!r} may not write it (status {status})", "the user's role")
    except EnvironmentFault as fault:
        log.warning("The run's note could not be written: %s", fault)
