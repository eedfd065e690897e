"""The table of URLs in tests/library is what the browser makes of them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.support import url_table

pytestmark = pytest.mark.browser

READ = """
rows => rows.map(([text, base]) => {
  const url = URL.parse(text, base ?? undefined);
  if (!["http:", "https:"].includes(url?.protocol)) return null;
  url.username = url.password = url.hash = "";
  return url.href;
})
"""


def read_by(chromium: Browser, table: url_table.Table, base: str | None = None) -> url_table.Table:
    page = chromium.new_page()
    try:
        return dict(zip(table, page.evaluate(READ, [[text, base] for text in table]), strict=True))
    finally:
        page.close()


def test_the_browser_reads_urls_as_the_table_says(chromium: Browser) -> None:
    hosts = {f"http://{host}/p": found and f"http://{found}/p" for host, found in url_table.HOSTS.items()}
    paths = {f"http://h.example{path}": f"http://h.example{found}" for path, found in url_table.PATHS.items()}
    for table in (hosts, paths, url_table.WHOLE, url_table.REFUSED):
        assert read_by(chromium, table) == table


def test_the_browser_reads_redirects_as_the_table_says(chromium: Browser) -> None:
    for base, table in (
        (url_table.REDIRECTED_BY, url_table.REDIRECTS),
        (url_table.REDIRECTED_SAFELY_BY, url_table.REDIRECTS_OF_HTTPS),
    ):
        assert read_by(chromium, table, base) == table
