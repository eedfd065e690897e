"""The DAG in which a person answers purges above the cap; what it is made of stands in plugins/imagesys_purge.py."""

from __future__ import annotations

from airflow.sdk import DAG
from imagesys_purge import build_purge_approval

from imagesys_lib.config import load_config

dag: DAG = build_purge_approval(load_config().values())
