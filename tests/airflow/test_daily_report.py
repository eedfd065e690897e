"""The run's note over a real HTTP server, the daily mail over all countries, and a report that is cleared alone."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock
from zoneinfo import ZoneInfo

import pytest

from imagesys_lib.config import load_config
from imagesys_lib.runs import runs
from imagesys_lib.stages.report import DiskForecast, NodeState, Summary, Weights
from imagesys_lib.stages.report.digest import LastRun
from imagesys_lib.stages.sync import sync
from include.sandbox.environment import write_config
from include.sandbox.settings import PROJECT
from tests.airflow.mails import Sink
from tests.support.world import DAY, QUICK, World

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("airflow_database")]

RUN_ID = "scheduled__2026-03-28T00:00:00+00:00"


class Api(BaseHTTPRequestHandler):
    """As much of Airflow's API as a note needs."""

    status = 200

    def log_message(self, *_: object) -> None: ...

    def _answer(self, status: int, body: object) -> None:
        length = int(self.headers["Content-Length"])
        request = (self.command, self.path, json.loads(self.rfile.read(length)), self.headers["Authorization"])
        self.server.requests.append(request)  # type: ignore[attr-defined]
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        self._answer(201, {"access_token": "t0ken"})

    def do_PATCH(self) -> None:
        self._answer(self.server.status, {})  # type: ignore[attr-defined]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server = HTTPServer(("127.0.0.1", 0), Api)
    server.requests, server.status = [], 200  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    connection = {
        "conn_type": "http",
        "host": "127.0.0.1",
        "port": server.server_port,
        "login": "ops",
        "password": "s3cret",
    }
    monkeypatch.setenv("AIRFLOW_CONN_IMAGESYS_AIRFLOW_API", json.dumps(connection))
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_a_note_is_written_by_the_public_api_with_the_connections_user(api: Any) -> None:
    from imagesys_airflow.alerts.run_note import write_note

    write_note("imagesys_uk", RUN_ID, "Nothing was lost.")

    login, patch = api.requests
    assert login[:3] == ("POST", "/auth/token", {"username": "ops", "password": "s3cret"})
    path = "/api/v2/dags/imagesys_uk/dagRuns/scheduled__2026-03-28T00%3A00%3A00%2B00%3A00?update_mask=note"
    assert patch == ("PATCH", path, {"note": "Nothing was lost."}, "Bearer t0ken")


def test_a_note_that_is_refused_or_cannot_be_sent_is_a_line_in_the_log(
    api: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from imagesys_airflow.alerts.run_note import write_note

    caplog.set_level("INFO")
    api.status = 403
    write_note("imagesys_uk", RUN_ID, "x")
    assert "could not be written: user 'ops' may not write it (status 403)" in caplog.text
    monkeypatch.setenv("AIRFLOW_CONN_IMAGESYS_AIRFLOW_API", '{"host": "127.0.0.1", "port": 9, "password": "s3cret"}')
    write_note("imagesys_uk", RUN_ID, "x")
    assert "could not be written: 127.0.0.1:9 gives no answer (ConnectionError)" in caplog.text
    assert "s3cret" not in caplog.text
    monkeypatch.delenv("AIRFLOW_CONN_IMAGESYS_AIRFLOW_API")
    write_note("imagesys_uk", RUN_ID, "x")
    assert "No connection imagesys_airflow_api" in caplog.text


def last(country: str, **own: Any) -> LastRun:
    nodes = {"n1": NodeState("n1", 0, 0, 0), "n2": NodeState("n2", 7, 7, 0, behind_hours=26.5)}
    states = {"live": 1940, "failed": 12, "rejected": 48, "quarantined": 3}
    reasons = {"rejected": {"http_404": 40, "too_small": 8}, "failed": {"dns": 12}}
    more: dict[str, Any] = {
        "purge": {"unpublished": 12},
        "weights": Weights(1940, 235_000_000, 4_700_000),
        "disks": {"staging": DiskForecast(81 * 10**9, 12.2)},
        "earlier_runs": 7,
        "medians": {"images": 1980.0},
    }
    summary = Summary(country, "r1", "scheduled", "A/B", 2000, states, reasons, 2, {}, nodes, [], **more)
    return LastRun(
        **{"run_id": "r1", "day": "2026-03-28", "state": "success", "lost": [], "unusual": [], "summary": summary} | own
    )


def test_the_daily_mail_has_a_table_of_all_countries_and_marks_what_to_look_at() -> None:
    from imagesys_airflow.dags.daily_report import digest_mail

    found = {
        "de": last("de"),
        "uk": last("uk", state="failed", lost=["Node n2 is behind by 7 images."], unusual=["failed: 12 & more"]),
        "fr": last("fr", summary=None, lost=["run r1 broke off: x"]),
        "mx": None,
    }
    mail = digest_mail(found, {"au": "Database x did not answer."})

    assert mail.subject == "[ImageSys] Daily report: 5 countries, 5 to look at"
    lines = mail.text().splitlines()
    assert lines[0].split() == [
        "country",
        "day",
        "state",
        "images",
        "live",
        "failed",
        "rejected",
        "quarantined",
        "behind",
        "lost",
        "unusual",
    ]
    assert lines[1].split() == [
        "DE",
        "2026-03-28",
        "success",
        "2,000",
        "1,940",
        "12",
        "48",
        "3",
        "n2",
        "7",
        "(26.5",
        "h)",
    ]
    assert (
        lines[2].split()
        == ["UK", "2026-03-28", "failed", "2,000", "1,940", "12", "48", "3", "n2", "7", "(26.5", "h)"] + ["1"] * 2
    )
    for line in (
        "UK: Node n2 is behind by 7 images.",
        "http://airflow.example.test/dags/imagesys_uk/runs/r1",
        "FR: run r1 broke off: x",
        "MX: no run has ended yet",
        "AU: Database x did not answer.",
    ):
        assert line in mail.text()
    section = "\n".join(lines)[mail.text().index("DE, 2026-03-28") :]
    for fact in (
        "2000 images in 2 batches: 1940 live",
        "48 rejected: 40 http_404, 8 too_small",
        "12 failed: 12 dns",
        "n2: not checked, 7 images behind (the oldest for 26.5 h), 0 marked for repair",
        "purge: 12 unpublished",
        "1940 originals of 235.0 MB became thumbnails of 4.7 MB: 230.3 MB saved (98.0 %)",
        "disk left: staging 81.0 GB (at its floor in 12 days)",
        "median of 7 earlier scheduled runs: images 1980",
    ):
        assert f"  - {fact}\n" in section
        assert f"<li>{fact}</li>" in mail.html()
    assert "<h3>DE, 2026-03-28</h3>" in mail.html()
    assert "<td>1,940</td>" in mail.html()
    assert "failed: 12 &amp; more" in mail.html()
    assert digest_mail({"de": last("de")}, {}).subject == "[ImageSys] Daily report: 1 countries, all well"


def test_one_mail_goes_to_all_who_want_it_though_a_database_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagesys_airflow.dags.daily_report import DailyReportOperator, build_daily_report
    from imagesys_lib.db import engine

    assert build_daily_report(load_config().values()) is None
    wanted = {"alerts": {"daily_report": True}}
    other = {"alerts": {"daily_report": True, "mail_to": ["de@example.test"]}}
    write_config(world.sandbox.settings, QUICK, {"uk": wanted, "de": other})
    dag = build_daily_report(load_config().values())
    assert dag is not None
    task = dag.task_dict["mail"]
    assert isinstance(task, DailyReportOperator)
    assert task.countries == ["de", "uk"]

    world.seed(4)
    world.pipeline()
    away = {"conn_type": "mysql", "host": "127.0.0.1", "port": 9, "login": "x", "password": "x"}
    monkeypatch.setenv("AIRFLOW_CONN_IMAGESYS_DB_DE", json.dumps(away))
    monkeypatch.setattr(engine, "_PATIENCE", 0.5)
    since = len(world.sandbox.mail.files())

    task.execute({"ti": MagicMock()})

    mail = world.sandbox.mail.wait_for(lambda mail: "Daily report" in str(mail["subject"]), since=since)
    assert len(world.sandbox.mail.files()) == since + 1
    assert mail["to"] == "de@example.test, ops@example.test"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    text = mail.get_body(("plain",)).get_content()
    assert "UK       2026-03-28  success" in text
    assert "DE: Database 127.0.0.1:9" in text
    assert "<table" in mail.get_body(("html",)).get_content()


def test_a_daily_mail_that_cannot_be_sent_goes_with_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from imagesys_airflow.alerts import mail as imagesys_mail
    from imagesys_airflow.dags.daily_report import DailyReportOperator

    monkeypatch.setattr(imagesys_mail, "_HERE", tmp_path)
    since = len(world.sandbox.mail.files())
    world.sandbox.mail.stop()
    try:
        DailyReportOperator(task_id="mail", countries=["uk"]).execute({"ti": MagicMock()})
    finally:
        world.sandbox.mail.start()
    assert len(world.sandbox.mail.files()) == since
    imagesys_mail.post(world.ctx)
    imagesys_mail.post(world.ctx)
    (mail,) = world.sandbox.mail.mails(since)
    assert str(mail["subject"]).startswith("[ImageSys] Daily report: 1 countries")
    assert mail["to"] == "ops@example.test"


def test_a_daily_report_that_fails_is_mailed_once_and_resolved(sink: Sink, world: World) -> None:
    from imagesys_airflow.dags.daily_report import build_daily_report, notify_failure, notify_recovery

    world.configure(alerts={"daily_report": True})
    dag = build_daily_report(load_config().values())
    assert dag is not None
    assert (dag.on_failure_callback, dag.on_success_callback) == (notify_failure, notify_recovery)
    context: Any = {"run_id": "scheduled__1"}
    for _ in range(2):  # the next day it fails again
        notify_failure(context)
    assert "/dags/imagesys_daily_report/runs/scheduled__1" in sink.texts()[0]
    for _ in range(2):
        notify_recovery(context)
    assert sink.subjects() == ["[ImageSys] Daily report failed", "[ImageSys] Daily report works again"]


def test_a_report_cleared_alone_judges_anew_by_database_and_tasks(world: World) -> None:
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.sdk.definitions.dag import _run_task

    bag = DagBag(str(PROJECT / "dags"))
    dag = bag.dags["imagesys_uk"]
    dag.deadline = None  # see test_runs.py
    sync_bag_to_db(bag, "dags-folder", None)
    world.seed(30)
    world.sandbox.nodes.stop_node("n2")
    at = dt.datetime.combine(DAY + dt.timedelta(days=1), dt.time(3), tzinfo=ZoneInfo("Europe/London"))
    run = dag.test(logical_date=at)
    assert run.state == "failed"
    failed = {(ti.task_id, ti.map_index) for ti in run.get_task_instances() if ti.state == "failed"}
    assert failed == {("sync", 1), ("report", -1)}

    def reported() -> str:
        """Run the report again, and nothing else."""
        ti = run.get_task_instance("report")
        ti.try_number += 1
        _run_task(ti=ti, task=dag.task_dict["report"])
        return str(run.get_task_instance("report").state)

    assert reported() == "failed"  # nothing has been mended
    world.sandbox.nodes.start_node("n2")
    sync(world.ctx, "n2")
    assert reported() == "success"
    assert len(world.equal_trees()) == 60
    run.get_task_instance("publish").set_state("failed")
    assert reported() == "failed"  # a task that the database cannot judge
    run.get_task_instance("publish").set_state("success")
    assert reported() == "success"


def test_a_run_of_which_one_task_was_cleared_alone_is_not_reported_as_still_going(sink: Sink, world: World) -> None:
    from imagesys_airflow.dags.daily_report import DailyReportOperator

    run = world.run()
    world.pipeline(run)
    runs.begin(world.ctx.db, run)  # `preflight`, after which no report came
    ti = MagicMock()
    for over in (False, True):
        ti.get_dr_count = lambda dag_id, run_ids, states, over=over: int(over and states == ["success"])
        DailyReportOperator(task_id="mail", countries=["uk"]).execute({"ti": ti})
    assert [f"run {run.run_id} is still going" in text for text in sink.texts()] == [True, False]
