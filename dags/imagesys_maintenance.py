"""The DAG that prunes what is kept for a time only; what it is made of stands in plugins/imagesys_upkeep.py."""

from __future__ import annotations

from airflow.sdk import DAG
from imagesys_config import configured
from imagesys_upkeep import build_maintenance

dag: DAG = build_maintenance(configured())
