"""URLs as listings hold them: what Chromium asks for, and of which host, the fetcher asks for, too."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from imagesys_lib.fetch.http.urls import wire
from imagesys_lib.images.reasons import ImageFault
from tests.differential.agreement import Row, assert_agreement
from tests.differential.exceptions.urls import EXCEPTIONS, HOSTS
from tests.differential.host import Host
from tests.differential.ours import Pipeline
from tests.differential.turns import rows_in_turn
from tests.differential.urls import NAMES, urls

pytestmark = pytest.mark.browser

_PARSE = """
urls => urls.map((text) => {
  try {
    const url = new URL(text);
    return `${url.protocol}//${url.host}${url.pathname}`;
  } catch (error) {
    return 'refused';
  }
})
"""


def test_every_url_is_asked_for_as_by_chromium(hosts: tuple[Host, Host], page: Page, ours: Pipeline) -> None:
    asked = {repr(url): hosts[0].filled(url, number) for number, url in enumerate(urls())}
    assert_agreement(rows_in_turn(asked, hosts[0], page, ours), EXCEPTIONS)


def test_every_host_is_read_as_by_chromium(page: Page) -> None:
    """Nothing is sent: only what would be."""
    read = page.evaluate(_PARSE, [f"http://{name}/x" for name in NAMES])
    pairs = [(name, theirs, _wire(f"http://{name}/x")) for name, theirs in zip(NAMES, read, strict=True)]
    assert_agreement([Row(repr(name), theirs, own, theirs == own) for name, theirs, own in pairs], HOSTS)


def _wire(url: str) -> str:
    try:
        return wire(url).url
    except ImageFault:
        return "refused"
