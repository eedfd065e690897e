"""Two hosts on loopback, a page of Chromium, and the pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.differential.host import Host
from tests.differential.ours import Pipeline, pipeline
from tests.support.raw_host import serving_all


@pytest.fixture(scope="session")
def hosts() -> Iterator[tuple[Host, Host]]:
    """A host and another one."""
    host, other = Host("127.0.0.1"), Host("127.0.0.11")
    with serving_all(host, other):
        yield host, other


@pytest.fixture
def page(chromium: Browser, hosts: tuple[Host, Host]) -> Iterator[Page]:
    """An empty page of the first host."""
    page = chromium.new_page()
    page.goto(hosts[0].page)
    yield page
    page.close()


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Pipeline]:
    """The pipeline."""
    with pipeline(tmp_path) as made:
        yield made
