"""A forced backfill through Airflow: live images are made again in new sizes, and their pages never miss one."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from pathlib import Path

import pytest

from include.sandbox.environment import due_day, write_config
from tests.scheduler.conftest import COUNTRIES, QUICK, Live, checksums

pytestmark = [pytest.mark.scheduler, pytest.mark.sandbox, pytest.mark.long]

COUNTRY, DAG_ID, ZONE = "in", "imagesys_in", "Asia/Kolkata"
OTHER = dt.date(2026, 10, 5)
SIZES = [{"width": 90, "height": 90, "mode": "crop"}, {"width": 160, "height": 120, "mode": "fit"}]


class Watch(threading.Thread):
    """Looks all the time whether each page still has its image, and each node its files."""

    def __init__(self, live: Live, urls: set[str]) -> None:
        super().__init__(daemon=True)
        self.live, self.urls = live, urls
        self.looks, self.missing = 0, set[str]()
        self.over = threading.Event()
        self.files = [Path(path) for path in live.trees(COUNTRY)["n1"]]

    def run(self) -> None:
        while not self.over.is_set():
            self.missing |= self.urls - self.live.live_urls(COUNTRY)
            for name in ("n1", "n2", "n3"):
                root = self.live.sandbox.nodes[name].root / COUNTRY
                self.missing |= {f"{name}: {path}" for path in self.files if not (root / path).exists()}
            self.looks += 1
            time.sleep(0.05)


def widths(live: Live, urls: set[str]) -> set[int]:
    """The widths of the first thumbnails of what is live of these."""
    rows = live.rows(COUNTRY, "SELECT image_url, image_data FROM lis_live_images")
    return {json.loads(data)["1"]["width"] for url, data in rows if url in urls}


def test_a_forced_backfill_makes_what_the_daily_run_made_again_and_no_page_misses_one(live: Live) -> None:
    day = due_day(ZONE)
    entries = live.seed(COUNTRY, ZONE, 20, broken_share=0.0, past_days=[OTHER], per_past_day=5)
    urls = {url for url, entry in entries.items() if entry.local_day == day.isoformat()}
    assert len(urls) == 20
    assert live.command("run", COUNTRY, "--interval", OTHER.isoformat()).returncode == 0
    daily = live.start_daily(COUNTRY)
    assert live.api.wait_for_run(DAG_ID, daily)["state"] == "success"
    assert live.live_urls(COUNTRY) == set(entries)
    assert widths(live, urls) == {60}
    before, offset = live.trees(COUNTRY)["n1"], live.sandbox.website.log_offset()
    own = {**COUNTRIES, COUNTRY: {**COUNTRIES[COUNTRY], "sizes": SIZES}}
    write_config(live.sandbox.settings, QUICK, own)
    watch = Watch(live, urls)
    watch.start()
    try:
        asked = live.command("backfill", COUNTRY, day.isoformat(), day.isoformat(), "--force")
        assert asked.returncode == 0, asked.stdout + asked.stderr
        assert "--reprocess-behavior completed" in " ".join(asked.stdout.split())
        (run,) = [run for run in live.api.runs(DAG_ID) if run["run_type"] == "backfill"]
        assert run["dag_run_id"] == daily  # Airflow clears the day's own run
        assert live.api.wait_for_run(DAG_ID, daily)["state"] == "success"
        made = live.rows(COUNTRY, "SELECT * FROM lis_live_images ORDER BY image_hash")
        live.api.clear(DAG_ID, daily, ["plan"], downstream=True)
        assert live.api.wait_for_run(DAG_ID, daily)["state"] == "success"
    finally:
        watch.over.set()
        watch.join(30)
        write_config(live.sandbox.settings, QUICK, COUNTRIES)
    assert watch.looks > 20
    assert watch.missing == set()
    assert live.rows(COUNTRY, "SELECT * FROM lis_live_images ORDER BY image_hash") == made
    counts = live.sandbox.website.request_counts(offset)
    assert {url: counts[entry.target] for url, entry in entries.items() if counts[entry.target]} == dict.fromkeys(
        urls, 1
    )
    assert widths(live, urls) == {90}
    assert widths(live, set(entries) - urls) == {60}  # another day's
    trees = live.trees(COUNTRY)
    assert trees["n1"] == trees["n2"] == trees["n3"]
    changed = {path for path, checksum in trees["n1"].items() if before[path] != checksum}
    first = {path for path in before if path.endswith(".1.jpg")}
    assert len(changed & first) == len(urls)
    assert checksums(live.sandbox.nodes["n1"].root / COUNTRY).keys() == before.keys()
