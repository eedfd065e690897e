"""The daily mail over all countries that want it; what it is made of stands in plugins/imagesys_daily_report.py."""

from __future__ import annotations

from airflow.sdk import DAG
from imagesys_config import configured
from imagesys_daily_report import build_daily_report

dag: DAG | None = build_daily_report(configured())
