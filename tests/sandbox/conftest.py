"""One running sandbox, on ports and in a directory of its own, for all tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest

from include.sandbox import ManifestEntry, Sandbox, SandboxSettings
from include.sandbox.services.ports import take_block

LAST_DAY = date(2026, 3, 29)  # London's clocks go forward on it: a day of 23 hours
PAST_DAY = date(2026, 2, 10)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "sandbox" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.sandbox)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = Sandbox(SandboxSettings(base=tmp_path_factory.mktemp("sandbox"), port_base=take_block()))
    try:
        sandbox.start()
        yield sandbox
    finally:
        sandbox.stop()


@pytest.fixture(scope="session")
def seeded(sandbox: Sandbox) -> dict[str, ManifestEntry]:
    """100 images, that is every kind of URL once, and 8 on one past day."""
    return sandbox.etl.seed(
        "uk", images=100, last_day=LAST_DAY, time_zone="Europe/London", past_days=[PAST_DAY], per_past_day=8
    )
