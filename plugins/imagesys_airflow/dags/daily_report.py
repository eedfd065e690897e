"""One mail a day over all countries that want it: their last runs in a table, and what was lost or unusual in them."""

from __future__ import annotations

import datetime as dt
import html
import logging
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, BaseOperator

from imagesys_airflow.alerts.failures import run_url
from imagesys_airflow.alerts.mail import notify_all, notify_failed_run, notify_good_run
from imagesys_airflow.alerts.reconcile import close_ended
from imagesys_airflow.connections import airflow_connection
from imagesys_airflow.dags.common import manual_section, service_dag
from imagesys_lib.alerts import outbox
from imagesys_lib.alerts.message import Message
from imagesys_lib.config import CountryConfig
from imagesys_lib.context import open_context
from imagesys_lib.errors import ImageSysError
from imagesys_lib.stages.report import facts
from imagesys_lib.stages.report.digest import LastRun, newest_run

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

    from imagesys_lib.stages.report import NodeState

log = logging.getLogger(__name__)

DAG_ID = "imagesys_daily_report"
AFTER_THE_LAST_COUNTRY = "0 14 * * *"
"""UTC: Mexico's run of 03:00 local time has then had its four hours."""

_OUTCOMES = ("live", "failed", "rejected", "quarantined")
COLUMNS = ("country", "day", "state", "images", *_OUTCOMES, "behind", "lost", "unusual")


@dataclass(frozen=True)
class TableMail(Message):
    """A mail with a table above its sections."""

    rows: tuple[tuple[str, ...], ...] = ()

    def text(self) -> str:
        """Return the plain-text part of the mail, its table first."""
        lines = [COLUMNS, *self.rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        return "\n".join([*table, "", super().text()])

    def html(self) -> str:
        """Return the HTML part of the mail, its table first."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in COLUMNS)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows)
        return f'<table border="1" cellpadding="4"><tr>{head}</tr>{body}</table>\n{super().html()}'


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
            with closing(open_context(country, resolver=airflow_connection)) as ctx:
                try:
                    close_ended(ctx, context["ti"])
                    found[country] = newest_run(ctx)
                except ImageSysError as error:
                    silent[country] = str(error)
        message = digest_mail(found, silent)
        put = partial(outbox.put, message=message, countries=self.countries)
        notify_all(put, message, self.countries)
        log.info(message.text())


def digest_mail(found: dict[str, LastRun | None], silent: dict[str, str]) -> TableMail:
    """Return the mail about countries' newest runs; ``silent`` says why others could not be read."""
    rows = [_row(country, run) for country, run in found.items()]
    rows += [(country.upper(), "not read", *[""] * (len(COLUMNS) - 2)) for country in silent]
    lost = {f"{c.upper()}: {line}": c for c, run in found.items() if run for line in run.lost}
    unusual = {f"{c.upper()}: {line}": c for c, run in found.items() if run for line in run.unusual}
    never = [f"{country.upper()}: no run has ended yet" for country, run in found.items() if run is None]
    unread = [f"{country.upper()}: {why}" for country, why in silent.items()]
    sections = (
        ("Not read", tuple(unread)),
        ("Work lost", tuple(lost)),
        ("Unusual", (*unusual, *never)),
        *(
            (f"{country.upper()}, {run.day}", tuple(facts(run.summary)))
            for country, run in found.items()
            if run and run.summary
        ),
    )
    marked = len(lost) + len(unusual) + len(never) + len(unread)
    links = {line: run_url(f"imagesys_{c}", run.run_id) for line, c in {**unusual, **lost}.items() if (run := found[c])}
    return TableMail(
        subject=f"[ImageSys] Daily report: {len(rows)} countries, "
        + (f"{marked} to look at" if marked else "all well"),
        intro="Each country's newest run, and below what each of them did.",
        sections=tuple(section for section in sections if section[1]),
        links=links,
        rows=tuple(rows),
    )


def _row(country: str, run: LastRun | None) -> tuple[str, ...]:
    if run is None:
        return (country.upper(), "never", *[""] * (len(COLUMNS) - 2))
    cells = [""] * (len(COLUMNS) - 5)
    if summary := run.summary:
        counts = (summary.images, *(summary.states.get(state, 0) for state in _OUTCOMES))
        behind = ", ".join(_behind(name, node) for name, node in summary.nodes.items() if node.backlog)
        cells = [*(f"{count:,}" for count in counts), behind]
    marks = (str(len(lines) or "") for lines in (run.lost, run.unusual))
    return (country.upper(), run.day, run.state, *cells, *marks)


def _behind(name: str, node: NodeState) -> str:
    hours = "" if node.behind_hours is None else f" ({node.behind_hours:.1f} h)"
    return f"{name} {node.backlog:,}{hours}"


def notify_failure(context: TaskContext) -> None:
    """Notify all countries' people, once until it works again, that there was no report; runs in the DAG processor."""
    intro = "There was no mail over all countries; nothing else waits. Read the failed task's log, and clear it."
    notify_failed_run(context, DAG_ID, "Daily report", intro)


def notify_recovery(context: TaskContext) -> None:  # noqa: ARG001 - what Airflow gives
    """Resolve the incident of a daily report that failed, once one ends well; runs in the DAG processor."""
    notify_good_run(DAG_ID, "Daily report")


def build_daily_report(configs: Iterable[CountryConfig]) -> DAG | None:
    """Return the DAG over the countries that want the mail; None if none does."""
    wanting = [config for config in configs if config.alerts.daily_report]
    if not wanting:
        return None
    with service_dag(
        DAG_ID,
        wanting[0].owner,
        description="One mail a day over all countries",
        schedule=AFTER_THE_LAST_COUNTRY,
        tags=["imagesys", "daily"],
        on_failure_callback=notify_failure,
        on_success_callback=notify_recovery,
    ) as dag:
        DailyReportOperator(
            task_id="mail",
            countries=[config.country for config in wanting],
            execution_timeout=dt.timedelta(minutes=30),
            doc_md=manual_section("daily_report_mail"),
        )
    return dag
