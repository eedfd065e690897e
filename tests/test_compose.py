"""docker-compose.yml as docker-compose itself reads it."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import yaml

from include.sandbox.settings import PROJECT


def compose(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Call docker-compose, which `make test` installs; no engine is needed to read a file."""
    return subprocess.run(
        ["docker-compose", "--env-file", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    done = compose("include/docker/compose.env.example", "config")
    assert done.returncode == 0, done.stderr
    return dict(yaml.safe_load(done.stdout))


def test_it_has_what_production_runs(config: dict[str, Any]) -> None:
    assert set(config["services"]) == {
        *("postgres", "redis", "mariadb", "mail", "init", "n1", "n2", "n3"),
        *("api-server", "scheduler", "dag-processor", "triggerer", "worker"),
    }


def test_every_airflow_service_has_every_connection_and_the_shared_directories(config: dict[str, Any]) -> None:
    for name in ("init", "api-server", "scheduler", "dag-processor", "triggerer", "worker"):
        service = config["services"][name]
        wanted = {"IMAGESYS_DB", "IMAGESYS_SHARED", "ETL", "N1", "N2", "N3", "SMTP_DEFAULT"}
        assert {f"AIRFLOW_CONN_{one}" for one in wanted} <= set(service["environment"])
        for variable in ("IMAGESYS_STAGING", "IMAGESYS_STATE"):
            assert any(service["environment"][variable] in str(volume) for volume in service["volumes"])


def test_a_secret_that_is_not_set_is_named(tmp_path: Any) -> None:
    empty = tmp_path / "env"
    empty.write_text("")
    done = compose(str(empty), "config")
    assert done.returncode != 0
    assert "compose.env.example" in done.stderr
