"""The doctor's look at Airflow, through Airflow's own command and database."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import os
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.config import country_config
from imagesys_lib.ops.doctor import airflow_setup
from imagesys_lib.ops.doctor.finding import Finding, attempt
from include.sandbox import Sandbox


def found(work: Callable[[], str]) -> Finding:
    return attempt("Airflow", work)


@pytest.fixture
def airflow(airflow_database: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The sandbox's connections in the environment, and an Airflow that knows none of its own."""
    for name in [name for name in os.environ if name.startswith("AIRFLOW_CONN_")]:
        monkeypatch.delenv(name)
    for name, value in sandbox.environment().items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def in_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Airflow's command in this process, which has imported Airflow: each start takes seconds."""
    from airflow.cli.cli_parser import get_parser

    said, ended = io.StringIO(), None
    with contextlib.redirect_stdout(said), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Airflow's own code uses what Airflow deprecates
        try:
            parsed = get_parser().parse_args(arguments)
            parsed.func(parsed)
        except SystemExit as end:
            ended = end.code
    return subprocess.CompletedProcess(arguments, ended if isinstance(ended, int) else bool(ended), said.getvalue(), "")


@pytest.fixture
def quick(airflow: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An Airflow that answers at once."""
    airflow.setattr(airflow_setup, "call", in_process)
    return airflow


@pytest.fixture
def beating(airflow_database: None) -> Iterator[None]:
    """The heartbeats of an Airflow that runs."""
    from airflow.jobs.job import Job
    from airflow.utils.session import create_session

    with create_session() as session:
        for kind in airflow_setup.JOBS:
            job = Job()
            job.job_type, job.state = kind, "running"
            job.latest_heartbeat = dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=10)  # until the test ends
            session.add(job)
    yield
    with create_session() as session:
        session.execute(sa.delete(Job))


@pytest.mark.parametrize("how", ["quick", pytest.param("airflow", marks=pytest.mark.long)])
def test_an_airflow_that_is_sound(request: pytest.FixtureRequest, how: str, beating: None) -> None:
    request.getfixturevalue(how)
    findings = list(airflow_setup.examine([country_config("uk")]))
    assert [str(finding) for finding in findings if not finding.ok] == []
    looked_at = ["pools", "connections", "time zone", "logs", "services", "API"]
    assert [finding.check for finding in findings] == [f"Airflow {each}" for each in looked_at]
    assert findings[0].detail == "imagesys_download (2 slots), imagesys_thumbnail (2 slots)"


def test_a_pool_that_was_deleted(quick: pytest.MonkeyPatch) -> None:
    from airflow.models.pool import Pool  # noqa: TID251 - tests stand where the scheduler stands

    Pool.delete_pool("imagesys_thumbnail")
    try:
        finding = found(airflow_setup._pools)
    finally:
        Pool.create_or_update_pool("imagesys_thumbnail", slots=2, description="ImageSys", include_deferred=False)
    assert (finding.ok, finding.detail.startswith("Pools imagesys_thumbnail do not exist")) == (False, True)
    assert "airflow pools set" in finding.remedy


def test_a_pool_without_slots(quick: pytest.MonkeyPatch) -> None:
    from airflow.models.pool import Pool  # noqa: TID251 - as above

    Pool.create_or_update_pool("imagesys_download", slots=0, description="ImageSys", include_deferred=False)
    try:
        finding = found(airflow_setup._pools)
    finally:
        Pool.create_or_update_pool("imagesys_download", slots=2, description="ImageSys", include_deferred=False)
    assert (finding.ok, finding.detail) == (False, "Pools imagesys_download have 0 slots: their tasks never start.")
    assert "airflow pools set" in finding.remedy


def test_services_that_do_not_run(quick: pytest.MonkeyPatch) -> None:
    finding = found(airflow_setup._services)
    assert not finding.ok
    assert "no triggerer is alive: nobody is notified of a run that is late" in finding.detail
    assert finding.remedy == "start `airflow scheduler`, `airflow dag-processor`, `airflow triggerer`."


def test_an_airflow_that_is_too_slow_to_answer(airflow: pytest.MonkeyPatch) -> None:
    airflow.setattr(airflow_setup, "_SECONDS", 0.05)
    findings = list(airflow_setup.examine([country_config("uk")]))
    assert [finding.ok for finding in findings] == [False] * 6
    assert "did not answer within 0.05 s" in findings[0].detail
    assert "call the doctor again" in findings[0].remedy


def test_a_connection_that_is_nowhere_and_one_that_is_airflows_own(quick: pytest.MonkeyPatch) -> None:
    uk = [country_config("uk")]
    for name in ("ETL", "N2"):
        quick.delenv(f"AIRFLOW_CONN_{name}")
    finding = found(lambda: airflow_setup._connections(uk))
    assert (finding.ok, finding.detail) == (False, "Airflow has no connection etl_uk or etl, n2.")
    assert "airflow connections add" in finding.remedy
    added = airflow_setup.call("connections", "add", "etl_uk", "--conn-type", "mysql", "--conn-host", "h")
    assert added.returncode == 0, added.stderr
    try:
        finding = found(lambda: airflow_setup._connections(uk))
        assert finding.detail == "Airflow has no connection n2."
    finally:
        airflow_setup.call("connections", "delete", "etl_uk")


def test_a_default_time_zone_that_would_shift_the_days_of_a_backfill(airflow: pytest.MonkeyPatch) -> None:
    airflow.setenv("AIRFLOW__CORE__DEFAULT_TIMEZONE", "Europe/Berlin")
    finding = found(airflow_setup._time_zone)
    assert (finding.ok, "'Europe/Berlin'" in finding.detail) == (False, True)
    assert "AIRFLOW__CORE__DEFAULT_TIMEZONE=utc" in finding.remedy


def test_an_airflow_that_does_not_answer(airflow: pytest.MonkeyPatch) -> None:
    airflow.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite:////nowhere/at/all.db")
    finding = found(airflow_setup._pools)
    assert (finding.ok, finding.remedy) == (
        False,
        "set AIRFLOW_HOME as the scheduler has it, and look at `imagesys doctor`.",
    )


# The API that writes the runs' notes


class Api(BaseHTTPRequestHandler):
    """As much of Airflow's API as is asked: it lets ops in, who may edit DAG runs, and guest, who may not."""

    def log_message(self, *_: object) -> None: ...

    def _answer(self, status: int, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _read(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def do_POST(self) -> None:
        said = self._read()
        known = self.path == "/auth/token" and said["password"] == "s3cret"
        self._answer(201 if known else 401, {"access_token": said["username"]} if known else {"detail": "no"})

    def do_PATCH(self) -> None:
        assert self._read() == {"note": ""}
        assert self.path == f"/api/v2/dags/imagesys_uk/dagRuns/{airflow_setup._NO_RUN}?update_mask=note"
        self._answer(404 if self.headers["Authorization"] == "Bearer ops" else 403, {})


class Elsewhere(BaseHTTPRequestHandler):
    """A server that is not Airflow: it leads to one, or gives a page."""

    status, body = 307, b""

    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        if self.status == 307:
            self.send_header("Location", f"http://127.0.0.1:{self.server.target}/auth/token")  # type: ignore[attr-defined]
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        with contextlib.suppress(OSError):  # it is not read to its end
            self.wfile.write(self.body)


@pytest.fixture
def api_port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def ask_api(airflow: pytest.MonkeyPatch, port: int, login: str, password: str) -> Finding:
    raw = {"conn_type": "http", "host": "127.0.0.1", "port": port, "login": login, "password": password}
    airflow.setenv("AIRFLOW_CONN_IMAGESYS_AIRFLOW_API", json.dumps(raw))
    return found(lambda: airflow_setup._api([country_config("uk")]))


def test_the_login_for_notes_is_tried(airflow: pytest.MonkeyPatch, api_port: int) -> None:
    good = ask_api(airflow, api_port, "ops", "s3cret")
    assert (good.ok, good.detail) == (True, f"127.0.0.1:{api_port}, user 'ops' may write notes")
    for login, password, fault, remedy in (
        ("ops", "wr0ng", "does not let user 'ops' in (status 401)", "correct login and password of connection"),
        ("guest", "s3cret", "user 'guest' may not edit runs of imagesys_uk (status 403)", "correct the user's role"),
    ):
        bad = ask_api(airflow, api_port, login, password)
        assert not bad.ok
        assert fault in bad.detail
        assert remedy in bad.remedy
        assert password not in str(bad)
    away = ask_api(airflow, 9, "ops", "s3cret")
    assert "127.0.0.1:9 gives no answer (ConnectionError): runs get no note" in away.detail
    assert away.remedy.startswith("correct host and port of connection imagesys_airflow_api")


def test_a_host_for_notes_that_is_not_airflow_is_named_and_never_given_the_password_for_another(
    quick: pytest.MonkeyPatch, api_port: int
) -> None:
    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        server.target = api_port  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        moved = ask_api(quick, server.server_port, "ops", "s3cret")
        Elsewhere.status, Elsewhere.body = 200, b"<html>" + b" " * (4 << 20)
        page = ask_api(quick, server.server_port, "ops", "s3cret")
        server.shutdown()
    assert "does not let user 'ops' in (status 307)" in moved.detail
    assert "answers, but not as Airflow's API server: runs get no note" in page.detail


def test_a_login_for_notes_that_airflow_keeps_itself_is_tried_too(quick: pytest.MonkeyPatch, api_port: int) -> None:
    uk = [country_config("uk")]
    none = found(lambda: airflow_setup._api(uk))
    assert none.detail == "no connection imagesys_airflow_api: runs get no note in the UI"
    own = ["--conn-type", "http", "--conn-host", "127.0.0.1", "--conn-port", str(api_port), "--conn-login", "ops"]
    added = airflow_setup.call("connections", "add", "imagesys_airflow_api", *own, "--conn-password", "wr0ng")
    assert added.returncode == 0, added.stderr
    try:
        assert "does not let user 'ops' in (status 401)" in found(lambda: airflow_setup._api(uk)).detail
    finally:
        airflow_setup.call("connections", "delete", "imagesys_airflow_api")
