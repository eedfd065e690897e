"""Each command of docs/runbook.md is run, in the order of the page, where 40 photos are live on three nodes."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from include.sandbox.settings import PROJECT
from tests.world import World

PAGE = (PROJECT / "docs" / "runbook.md").read_text(encoding="utf-8")
UNKNOWN = "http://127.0.0.11:1/unknown.jpg"
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def headings(level: int) -> list[str]:
    return re.findall(rf"^{'#' * level} (.+)$", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL), re.MULTILINE)


@pytest.mark.usefixtures("live")
def test_every_command_of_the_runbook_runs(world: World) -> None:
    url = next(iter(world.live()))
    failed = {}
    for line in dict.fromkeys(LINES):
        program, *arguments = shlex.split(line.replace(UNKNOWN, url))
        if program == "imagesys":
            ran = world.cli(*arguments)
            if ran.code:
                failed[line] = ran.out + ran.err
        else:
            subprocess.run([program, *arguments], check=True, capture_output=True, cwd=Path(PROJECT))
    assert failed == {}


def test_every_page_says_what_to_do() -> None:
    assert headings(1) == ["Runbook", "Alerts", "Tasks"]
    pages = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    assert len(pages) == len(headings(2)) > 10
    assert all(len(page.split()) > 15 for page in pages)
