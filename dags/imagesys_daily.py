"""The daily DAG of each configured country; see plugins/imagesys_airflow/dags/daily.py."""

from __future__ import annotations

from airflow.sdk import DAG, get_parsing_context

from imagesys_airflow.alerts.config import configured
from imagesys_airflow.dags.daily import build_daily

wanted: str | None = get_parsing_context().dag_id  # a task needs its own DAG only; None: all are asked for
dags: list[DAG] = []

for config in configured():
    if wanted in (None, f"imagesys_{config.country}"):
        dags.append(build_daily(config))
        globals()[dags[-1].dag_id] = dags[-1]
