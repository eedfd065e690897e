"""The distribution's own Chromium, as tests start it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, sync_playwright

_ARGUMENTS = [
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextlib.contextmanager
def launched(*more: str) -> Iterator[Browser]:
    """Start it headless, with a profile of its own and ``more`` arguments."""
    path = shutil.which("chromium")
    assert path, "there is no chromium: scripts/bootstrap.sh browser installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*_ARGUMENTS, *more])
        yield browser
        browser.close()
