"""A browser beside a running Airflow of its own. Countries here have nothing to do with those of tests/scheduler."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from include.sandbox.airflow import USER
from tests.browser.ui import EVENTS, Ui
from tests.scheduler.conftest import Live
from tests.scheduler.conftest import live as live  # noqa: PLC0414 - the fixture: here, a second start of its own

ARGUMENTS = [
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The distribution's own Chromium."""
    path = shutil.which("chromium")
    assert path, "there is no chromium: scripts/bootstrap.sh browser installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def ui(chromium: Browser, live: Live) -> Iterator[Ui]:
    """A page of a new browser profile, logged in."""
    expect.set_options(timeout=EVENTS)
    context = chromium.new_context(
        base_url=live.airflow.url,
        viewport={"width": 1280, "height": 800},
        color_scheme="light",
        locale="en-GB",
        timezone_id="UTC",
    )
    context.set_default_timeout(EVENTS)
    ui = Ui(context.new_page())
    ui.log_in(USER, live.airflow.password)
    yield ui
    context.close()
