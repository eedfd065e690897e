"""The doctor's look at Airflow, through Airflow's own command and database."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from imagesys_lib.config import country_config
from imagesys_lib.doctor import airflow_setup
from imagesys_lib.doctor.finding import Finding, attempt
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


@pytest.fixture
def beating() -> Iterator[None]:
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


def test_an_airflow_that_is_sound(airflow: pytest.MonkeyPatch, beating: None) -> None:
    findings = list(airflow_setup.examine([country_config("uk")]))
    assert [str(finding) for finding in findings if not finding.ok] == []
    looked_at = ["pools", "connections", "time zone", "services"]
    assert [finding.check for finding in findings] == [f"Airflow {each}" for each in looked_at]
    assert findings[0].detail == "imagesys_download (2 slots), imagesys_thumbnail (2 slots)"


def test_a_pool_that_was_deleted(airflow: pytest.MonkeyPatch) -> None:
    from airflow.models.pool import Pool  # noqa: TID251 - tests stand where the scheduler stands

    Pool.delete_pool("imagesys_thumbnail")
    try:
        finding = found(airflow_setup._pools)
    finally:
        Pool.create_or_update_pool("imagesys_thumbnail", slots=2, description="ImageSys", include_deferred=False)
    assert (finding.ok, finding.detail.startswith("Pools imagesys_thumbnail do not exist")) == (False, True)
    assert "airflow pools set" in finding.remedy


def test_a_pool_without_slots(airflow: pytest.MonkeyPatch) -> None:
    from airflow.models.pool import Pool  # noqa: TID251 - as above

    Pool.create_or_update_pool("imagesys_download", slots=0, description="ImageSys", include_deferred=False)
    try:
        finding = found(airflow_setup._pools)
    finally:
        Pool.create_or_update_pool("imagesys_download", slots=2, description="ImageSys", include_deferred=False)
    assert (finding.ok, finding.detail) == (False, "Pools imagesys_download have 0 slots: their tasks never start.")
    assert "airflow pools set" in finding.remedy


def test_services_that_do_not_run(airflow: pytest.MonkeyPatch) -> None:
    finding = found(airflow_setup._services)
    assert not finding.ok
    assert "no triggerer is alive: no mail tells of a run that is late" in finding.detail
    assert finding.remedy == "start `airflow scheduler`, `airflow dag-processor`, `airflow triggerer`."


def test_an_airflow_that_is_too_slow_to_answer(airflow: pytest.MonkeyPatch) -> None:
    airflow.setattr(airflow_setup, "_SECONDS", 0.05)
    findings = list(airflow_setup.examine([country_config("uk")]))
    assert [finding.ok for finding in findings] == [False] * 4
    assert "did not answer within 0.05 s" in findings[0].detail
    assert "call the doctor again" in findings[0].remedy


def test_a_connection_that_is_nowhere_and_one_that_is_airflows_own(airflow: pytest.MonkeyPatch) -> None:
    uk = [country_config("uk")]
    for name in ("ETL", "N2"):
        airflow.delenv(f"AIRFLOW_CONN_{name}")
    finding = found(lambda: airflow_setup._connections(uk))
    assert (finding.ok, finding.detail) == (False, "Airflow has no connection etl_uk or etl, n2.")
    assert "airflow connections add" in finding.remedy
    added = airflow_setup._call("connections", "add", "etl_uk", "--conn-type", "mysql", "--conn-host", "h")
    assert added.returncode == 0, added.stderr
    try:
        finding = found(lambda: airflow_setup._connections(uk))
        assert finding.detail == "Airflow has no connection n2."
    finally:
        airflow_setup._call("connections", "delete", "etl_uk")


def test_a_default_time_zone_that_would_shift_the_days_of_a_backfill(airflow: pytest.MonkeyPatch) -> None:
    airflow.setenv("AIRFLOW__CORE__DEFAULT_TIMEZONE", "Europe/Berlin")
    finding = found(airflow_setup._time_zone)
    assert (finding.ok, "'Europe/Berlin'" in finding.detail) == (False, True)
    assert "AIRFLOW__CORE__DEFAULT_TIMEZONE=utc" in finding.remedy


def test_an_airflow_that_does_not_answer(airflow: pytest.MonkeyPatch) -> None:
    airflow.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite:////nowhere/at/all.db")
    finding = found(airflow_setup._pools)
    assert (finding.ok, finding.remedy) == (False, "set AIRFLOW_HOME as the scheduler has it.")
