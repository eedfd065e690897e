"""Airflow's connections in the library's form, so that a task gets host, key and password from Airflow alone."""

from __future__ import annotations

from airflow.providers.mysql.hooks.mysql import MySqlHook
from airflow.sdk.exceptions import AirflowNotFoundException

from imagesys_lib.config.connections import Connection


def airflow_connection(conn_id: str) -> Connection | None:
    """Resolve a connection (environment, secrets backend or Airflow's database); None where there is none.

    Every kind comes through the MySQL provider's hook class: looking a connection up is the same for all hooks, and
    Airflow masks its password and secret extras in every log from then on.
    """
    try:
        found = MySqlHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None
    return Connection(
        conn_id=conn_id,
        host=found.host or "",
        port=found.port,
        login=found.login or "",
        password=found.password or "",
        schema=found.schema or "",
        extra=dict(found.extra_dejson),
    )
