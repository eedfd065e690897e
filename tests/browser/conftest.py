"""A browser beside a running Airflow. It is started anew here, so that no run of tests/scheduler is in the way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from include.sandbox.services.airflow import USER
from tests.browser.ui import EVENTS, PICTURES, Ui
from tests.scheduler.conftest import Live
from tests.scheduler.conftest import live as live  # noqa: PLC0414 - the fixture


@pytest.fixture
def ui(chromium: Browser, live: Live, request: pytest.FixtureRequest) -> Iterator[Ui]:
    """A page of a new browser profile, logged in; a picture of what it shows last is kept beside the others."""
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
    ui.page.screenshot(path=PICTURES / f"last of {request.node.name}.png")
    context.close()
