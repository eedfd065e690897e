"""The DAG that sends one mail a day over all countries that want it."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, BaseOperator

from imagesys_airflow.alerts.daily_report import digest_mail
from imagesys_airflow.alerts.mail import mail_failed_run, mail_good_run, send
from imagesys_airflow.alerts.reconcile import close_ended
from imagesys_airflow.connections import airflow_connection
from imagesys_airflow.dags.common import START_DATE, default_args, manual_section
from imagesys_lib.config import CountryConfig
from imagesys_lib.context import open_context
from imagesys_lib.errors import ImageSysError
from imagesys_lib.stages.report.digest import LastRun, newest_run

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)

DAG_ID = "imagesys_daily_report"
AFTER_THE_LAST_COUNTRY = "0 14 * * *"
"""UTC: Mexico's run of 03:00 local time has then had its four hours."""


class DailyReportOperator(BaseOperator):
    """Reads each country's newest run and sends the mail. A country whose database is away is named in it."""

    ui_color = "#e8f0f2"

    def __init__(self, *, countries: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.countries = list(countries)

    def execute(self, context: TaskContext) -> Any:
        """Send one mail to all whom these countries name. It is about now, whatever the run's date."""
        found: dict[str, LastRun | None] = {}
        silent: dict[str, str] = {}
        for country in self.countries:
            ctx = open_context(country, resolver=airflow_connection)
            try:
                close_ended(ctx, context["ti"])
                found[country] = newest_run(ctx)
            except ImageSysError as error:
                silent[country] = str(error)
            finally:
                ctx.close()
        message = digest_mail(found, silent)
        send(message, self.countries)
        log.info(message.text())


def tell_failed(context: TaskContext) -> None:
    """Tell all countries' people, once until it works again, that there was no report; runs in the DAG processor."""
    told = "There was no mail over all countries; nothing else waits. Read the failed task's log, mend it and clear it."
    mail_failed_run(context, DAG_ID, "Daily report", told)


def tell_well(context: TaskContext) -> None:  # noqa: ARG001 - what Airflow gives
    """Take that back."""
    mail_good_run(DAG_ID, "Daily report")


def build_daily_report(configs: Iterable[CountryConfig]) -> DAG | None:
    """Return the DAG over the countries that want the mail; None if none does."""
    wanting = [config for config in configs if config.alerts.daily_report]
    if not wanting:
        return None
    with DAG(
        dag_id=DAG_ID,
        description="One mail a day over all countries",
        doc_md=manual_section("daily_report"),
        schedule=AFTER_THE_LAST_COUNTRY,
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        tags=["imagesys", "daily"],
        default_args=default_args(wanting[0].owner),
        on_failure_callback=tell_failed,
        on_success_callback=tell_well,
    ) as dag:
        DailyReportOperator(
            task_id="mail",
            countries=[config.country for config in wanting],
            execution_timeout=dt.timedelta(minutes=30),
            doc_md=manual_section("daily_report_mail"),
        )
    return dag
