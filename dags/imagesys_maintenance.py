"""The DAG that prunes what is kept for a time only; what it is made of stands in plugins/imagesys_upkeep.py."""

from __future__ import annotations

from airflow.sdk import DAG
from imagesys_upkeep import build_maintenance

from imagesys_lib.config import load_config

dag: DAG = build_maintenance(load_config().values())
