"""Generated pictures, whole and damaged: the pipeline makes what Chromium shows, in its colours, and nothing else."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.differential.agreement import assert_agreement, row
from tests.differential.chromium import looked_at
from tests.differential.exceptions.pictures import EXCEPTIONS
from tests.differential.host import Host
from tests.differential.ours import Pipeline
from tests.differential.pictures.all import pictures

pytestmark = pytest.mark.browser


def test_every_picture_is_made_as_chromium_shows_it_or_refused_as_there(
    hosts: tuple[Host, Host], page: Page, ours: Pipeline
) -> None:
    urls = {name: hosts[0].put_picture(n, name, one.data) for n, (name, one) in enumerate(pictures().items())}
    seen = looked_at(page, list(urls.values()))
    made = ours.made({name: ours.fetched(url) for name, url in urls.items()})
    assert_agreement(
        [
            row(name, seen[url], made[name], seen[urls[pictures()[name].whole]] if pictures()[name].whole else None)
            for name, url in urls.items()
        ],
        EXCEPTIONS,
    )
