"""The DAG that prunes what is kept for a time only; see plugins/imagesys_airflow/dags/maintenance.py."""

from __future__ import annotations

from airflow.sdk import DAG

from imagesys_airflow.alerts.config import configured
from imagesys_airflow.dags.maintenance import build_maintenance

dag: DAG = build_maintenance(configured())
