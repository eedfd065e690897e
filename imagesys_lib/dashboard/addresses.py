"""Addresses of pages. Below the dashboard's root they are spelt as Airflow spells its own of the same thing."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

_COUNTRY_DAG = re.compile(r"imagesys_(?:check_)?([a-z]{2})")

PROPOSALS_DAG = "imagesys_purge_approval"


def dag_of(country: str) -> str:
    """Return the id of a country's daily DAG."""
    return f"imagesys_{country}"


def country_of(dag_id: str) -> str | None:
    """Return the country that a DAG is about, daily or weekly; None if it is about no single one."""
    found = _COUNTRY_DAG.fullmatch(dag_id)
    return found[1] if found else None


def country_link(country: str, anchor: str = "", **query: str) -> str:
    """Return the address of a country's page, or of a part of it."""
    asked = f"?{urlencode(query)}" if query else ""
    return f"dags/{dag_of(country)}{asked}{'#' if anchor else ''}{anchor}"


def run_link(dag_id: str, run_id: str, anchor: str = "") -> str:
    """Return the address of a run, ours and Airflow's alike."""
    return f"dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}{'#' if anchor else ''}{anchor}"


def task_link(dag_id: str, run_id: str, task_id: str, map_index: int | None = None) -> str:
    """Return Airflow's address of a task instance."""
    mapped = "" if map_index is None else f"/mapped/{map_index}"
    return f"{run_link(dag_id, run_id)}/tasks/{quote(task_id, safe='')}{mapped}"
