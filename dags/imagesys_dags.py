"""Which DAGs there are; what each is made of is in plugins/imagesys_airflow/dags/, a file for each kind.

A task's process wants its own DAG only, and imports what that is made of alone: some 60 ms a task less.
"""

from __future__ import annotations

from airflow.sdk import DAG, get_parsing_context

from imagesys_airflow.dags.common import configured

wanted: str | None = get_parsing_context().dag_id  # None: all
configs = configured()
dags: list[DAG] = []

for config in configs:
    if wanted in (None, f"imagesys_{config.country}"):
        from imagesys_airflow.dags.daily import build_daily

        dags.append(build_daily(config))
    if wanted in (None, f"imagesys_check_{config.country}"):
        from imagesys_airflow.dags.full_check import build_full_check

        dags.append(build_full_check(config))
if wanted in (None, "imagesys_canary"):
    from imagesys_airflow.dags.canary import build_canary

    dags.append(build_canary(configs))
if wanted in (None, "imagesys_maintenance"):
    from imagesys_airflow.dags.maintenance import build_maintenance

    dags.append(build_maintenance(configs))
if wanted in (None, "imagesys_purge_approval"):
    from imagesys_airflow.dags.purge_approval import build_purge_approval

    dags.append(build_purge_approval(configs))
if wanted in (None, "imagesys_daily_report"):
    from imagesys_airflow.dags.daily_report import build_daily_report

    if report := build_daily_report(configs):
        dags.append(report)

globals().update({dag.dag_id: dag for dag in dags})
