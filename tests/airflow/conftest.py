"""An Airflow home of the tests' own: its settings are in the environment before Airflow is imported anywhere."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.sandbox.settings import PROJECT
from tests.airflow.mails import Sink
from tests.support.world import World

HOME = Path(tempfile.mkdtemp(prefix="imagesys-airflow-tests-"))

os.environ.update(
    {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(HOME / "logs"),
        "AIRFLOW__API__BASE_URL": "http://airflow.example.test",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "IMAGESYS_CONFIG": str(PROJECT / "include" / "countries.yaml"),
    }
)
for folder in ("plugins", "dags"):
    sys.path.insert(0, str(PROJECT / folder))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/airflow/" in str(item.path):
            item.add_marker(pytest.mark.airflow)


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """A migrated metadata database with the pools and the bundle that DAG files belong to."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.models.pool import Pool  # noqa: TID251 - tests stand where the scheduler stands
    from airflow.utils.db import initdb

    initdb()
    for name in ("imagesys_download", "imagesys_thumbnail"):
        Pool.create_or_update_pool(name, slots=2, description="ImageSys", include_deferred=False)
    DagBundlesManager().sync_bundles_to_db()


@pytest.fixture
def sink(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    """The mail server, which runs again after the test; stamps of direct mails are the test's own."""
    from imagesys_airflow.alerts import mail as imagesys_mail

    monkeypatch.setattr(imagesys_mail, "_HERE", tmp_path)
    yield Sink(world)
    world.sandbox.mail.start()
