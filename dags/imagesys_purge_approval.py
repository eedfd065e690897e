"""The DAG in which a person answers purges above the cap; what it is made of stands in plugins/imagesys_purge.py."""

from __future__ import annotations

from airflow.sdk import DAG
from imagesys_config import configured
from imagesys_purge import build_purge_approval

dag: DAG = build_purge_approval(configured())
