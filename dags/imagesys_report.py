"""The daily mail over all countries that want it; see plugins/imagesys_airflow/alerts/daily_report.py."""

from __future__ import annotations

from airflow.sdk import DAG

from imagesys_airflow.alerts.config import configured
from imagesys_airflow.alerts.daily_report import build_daily_report

dag: DAG | None = build_daily_report(configured())
