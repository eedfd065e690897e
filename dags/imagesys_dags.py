"""All DAGs of ImageSys; what they are made of stands in plugins/imagesys_airflow/dags/."""

from __future__ import annotations

from airflow.sdk import get_parsing_context

from imagesys_airflow.dags.all_dags import all_dags

for dag in all_dags(get_parsing_context().dag_id):  # a task wants its own DAG only; None: all are wanted
    globals()[dag.dag_id] = dag
