"""The DAG in which a person answers purges above the cap; see plugins/imagesys_airflow/dags/purge_approval.py."""

from __future__ import annotations

from airflow.sdk import DAG

from imagesys_airflow.alerts.config import configured
from imagesys_airflow.dags.purge_approval import build_purge_approval

dag: DAG = build_purge_approval(configured())
