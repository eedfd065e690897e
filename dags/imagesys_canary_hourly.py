"""The DAG that runs each country's canary every hour; what it is made of stands in plugins/imagesys_canary.py."""

from __future__ import annotations

from airflow.sdk import DAG
from imagesys_canary import build_canary
from imagesys_config import configured

dag: DAG = build_canary(configured())
