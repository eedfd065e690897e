"""URLs asked for one after the other, so that each request is known to belong to its case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from playwright.sync_api import Page

from tests.differential.agreement import Row, row
from tests.differential.chromium import Seen, looked_at
from tests.differential.host import Host
from tests.differential.ours import Pipeline

T = TypeVar("T")


def rows_in_turn(
    asked: Mapping[str, str], host: Host, page: Page, ours: Pipeline, whole: Seen | None = None
) -> list[Row]:
    """Judge URLs by name. Of what both show, both must have sent the same requests to ``host``."""
    seen, theirs = _in_turn(asked, host, lambda url: looked_at(page, [url])[url])
    files, own = _in_turn(asked, host, ours.fetched)
    made = ours.made(files)
    rows = []
    for name in asked:
        one = row(name, seen[name], made[name], whole)
        if seen[name] and not made[name].reason and theirs[name] != own[name]:
            one = replace(one, chromium=f"asks for {theirs[name]}", ours=f"asks for {own[name]}", agree=False)
        rows.append(one)
    return rows


def _in_turn(
    asked: Mapping[str, str], host: Host, do: Callable[[str], T]
) -> tuple[Mapping[str, T], Mapping[str, list[str]]]:
    """Return what ``do`` makes of each URL, and the request targets that the host has seen for it."""
    made, targets = {}, {}
    for name, url in asked.items():
        with host.listening() as heard:
            made[name] = do(url)
        targets[name] = heard()
    return made, targets
