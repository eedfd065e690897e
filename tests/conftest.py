"""What every suite shares: one running sandbox for the session, and a world made empty for each test."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from imagesys_lib.context import open_context
from imagesys_lib.db.upgrade import upgrade
from imagesys_lib.ops.doctor import airflow_setup
from include.sandbox import ManifestEntry, Sandbox, SandboxSettings
from include.sandbox.services.ports import take_block
from include.sandbox.settings import PROJECT
from tests.support.world import COUNTRY, World

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""With `-n 3` each worker has a sandbox of its own."""

collect_ignore = []
if importlib.util.find_spec("playwright"):
    from tests.support.chromium import chromium as chromium  # noqa: PLC0414 - the fixture
else:
    collect_ignore += ["browser", "differential"]  # `make test` brings no browser and reads no test that needs one


_TOGETHER = ("tests/scheduler/", "tests/airflow/", "tests/soak/", "tests/sandbox/", "tests/browser/")
"""With `-n 3`: suites that run in one process each, as their services have ports of their own; the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"sandbox", "world"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.sandbox)
    items.sort(key=lambda item: next((n for n, suite in enumerate(_TOGETHER) if item.nodeid.startswith(suite)), 9))


class SuitesTogether(LoadScopeScheduling):
    """A suite of ``_TOGETHER`` goes to one process as a whole, and every other test to whichever is free.

    xdist's own groups (``xdist_group``) have no effect with pytest 9.2. Three processes suit two processors, as a few
    tests wait.
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((suite for suite in _TOGETHER if nodeid.startswith(suite)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SuitesTogether:
    config.option.loadscopereorder = False
    return SuitesTogether(config, log)


def make_anew(*engines: sa.Engine) -> None:
    """Drop what an earlier session has left and make the schemas empty."""
    for engine in engines:
        server = sa.create_engine(engine.url.set(database=""))
        with server.begin() as connection:
            connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {engine.url.database}")
            connection.exec_driver_sql(f"CREATE SCHEMA {engine.url.database} CHARACTER SET utf8mb4")
        server.dispose()


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """All services, with the schemas of uk and of all countries migrated; stopped at the end."""
    base = PROJECT / ".local" / "tests" / ("sandbox" if WORKER == 0 else f"sandbox-{WORKER}")
    with only_session(base):
        yield from running(Sandbox(SandboxSettings(base=base, port_base=take_block())))


@contextlib.contextmanager
def only_session(base: Path) -> Iterator[None]:
    """Refuse to start beside another session: each empties the world that the other is looking at."""
    base.parent.mkdir(parents=True, exist_ok=True)
    with base.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.exit(f"another test session is using {base}; wait for it", returncode=3)
        yield


def running(sandbox: Sandbox) -> Iterator[Sandbox]:
    """Start everything anew, and stop it at the end."""
    sandbox.stop()  # what a killed session has left
    for stale in ("web", "snapshot", "mail", "staging", "log"):
        shutil.rmtree(sandbox.settings.base / stale, ignore_errors=True)
    try:
        sandbox.start()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in sandbox.environment().items():
                patch.setenv(name, value)
            ctx = open_context(COUNTRY)
            make_anew(ctx.db, ctx.shared)
            upgrade(ctx.db, "country")
            upgrade(ctx.shared, "shared")
            ctx.close()
        yield sandbox
    finally:
        sandbox.stop()


@pytest.fixture
def world(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An empty world: no listings, no rows, no files."""
    world = World(sandbox, monkeypatch)
    yield world
    world.close()


@pytest.fixture
def patient(world: World) -> World:
    """A world in which the doctor does not look at Airflow: its commands take twenty seconds of processor time."""
    world.patch.setattr(airflow_setup, "examine", lambda _countries: iter(()))
    return world


@pytest.fixture
def live(world: World) -> dict[str, ManifestEntry]:
    """Forty photos that are live on three nodes, by URL."""
    return world.with_live_photos()


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that puts a process's clock wrong."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("clock") / "wrong_clock.so"
    source = Path(__file__).with_name("support") / "wrong_clock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True, timeout=60)
    return library
