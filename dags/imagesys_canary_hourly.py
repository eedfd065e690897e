"""The DAG that flies each country's canary every hour; see plugins/imagesys_airflow/dags/canary.py."""

from __future__ import annotations

from airflow.sdk import DAG

from imagesys_airflow.alerts.config import configured
from imagesys_airflow.dags.canary import build_canary

dag: DAG = build_canary(configured())
