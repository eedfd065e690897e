"""Each command of docs/runbook.md is run beside a running Airflow, in the order of the page, where photos are live."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest

from imagesys_lib.images.hash_and_path import lis_hash_for_url
from include.sandbox.settings import PROJECT
from tests.scheduler.conftest import Live, expected_live

PAGE = (PROJECT / "docs" / "runbook.md").read_text(encoding="utf-8")
COUNTRY, ZONE = "au", "Australia/Sydney"
STANDS_FOR = {"uk": COUNTRY}
AS_IT_STANDS = "canary"  # only uk has one
UNKNOWN = "http://127.0.0.11:1/unknown.jpg"
UNKNOWN_HASH = "0917c1f0917c1f0917c1f0917c1f0917c1f09170"
BLOCKS = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.mark.long  # two minutes of commands, one after the other
def test_every_command_of_the_runbook_runs(live: Live) -> None:
    entries = live.seed(COUNTRY, ZONE, 20)
    assert live.command("run", COUNTRY).returncode == 0
    live.api.wait_for_dag(f"imagesys_{COUNTRY}", 120)
    (url, *_) = sorted(live.live_urls(COUNTRY) & expected_live(entries))
    names = {**STANDS_FOR, UNKNOWN: url, UNKNOWN_HASH: lis_hash_for_url(url)}
    failed = {}
    for line in dict.fromkeys(line for block in BLOCKS.findall(PAGE) for line in block.splitlines()):
        words = shlex.split(line)
        program, *arguments = words if AS_IT_STANDS in words else [names.get(word, word) for word in words]
        if program == "imagesys":
            ran = live.command(*arguments)
        else:
            ran = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        if ran.returncode:
            failed[line] = f"{ran.returncode}: {ran.stdout}{ran.stderr}"
    assert failed == {}


def test_every_page_says_what_to_do() -> None:
    parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    assert len(parts) > 15
    assert all(len(part.split()) > 8 for part in parts)
