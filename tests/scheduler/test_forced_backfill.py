"""A forced backfill through Airflow: live images are made again in new sizes, and their pages never miss one."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from pathlib import Path

import pytest

from include.sandbox.config import write_config
from tests.scheduler.conftest import COUNTRIES, QUICK, Live, checksums

pytestmark = [pytest.mark.scheduler, pytest.mark.sandbox, pytest.mark.long]

COUNTRY, DAG_ID, ZONE = "in", "imagesys_in", "Asia/Kolkata"
DAY = dt.date(2026, 10, 5)
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


def test_a_forced_backfill_makes_live_images_again_and_no_page_misses_one(live: Live) -> None:
    entries = live.seed(COUNTRY, ZONE, 5, broken_share=0.0, past_days=[DAY], per_past_day=20)
    urls = {url for url, entry in entries.items() if entry.local_day == DAY.isoformat()}
    assert live.command("run", COUNTRY, "--interval", DAY.isoformat()).returncode == 0
    daily = live.start_daily(COUNTRY)
    assert live.api.wait_for_run(DAG_ID, daily)["state"] == "success"
    assert live.live_urls(COUNTRY) == set(entries)
    assert widths(live, urls) == {60}
    before = live.trees(COUNTRY)["n1"]
    own = {**COUNTRIES, COUNTRY: {**COUNTRIES[COUNTRY], "sizes": SIZES}}
    write_config(live.sandbox.settings, QUICK, own)
    watch = Watch(live, urls)
    watch.start()
    try:
        asked = live.command("backfill", COUNTRY, DAY.isoformat(), DAY.isoformat(), "--force")
        assert asked.returncode == 0, asked.stdout + asked.stderr
        (run,) = live.wait_until(
            "its run", lambda: [run for run in live.api.runs(DAG_ID) if run["run_type"] == "backfill"]
        )
        assert live.api.wait_for_run(DAG_ID, run["dag_run_id"])["state"] == "success"
    finally:
        watch.over.set()
        watch.join(30)
        write_config(live.sandbox.settings, QUICK, COUNTRIES)
    assert watch.looks > 20
    assert watch.missing == set()
    assert widths(live, urls) == {90}
    assert widths(live, set(entries) - urls) == {60}  # another day's
    trees = live.trees(COUNTRY)
    assert trees["n1"] == trees["n2"] == trees["n3"]
    changed = {path for path, checksum in trees["n1"].items() if before[path] != checksum}
    first = {path for path in before if path.endswith(".1.jpg")}
    assert len(changed & first) == len(urls)
    assert checksums(live.sandbox.nodes["n1"].root / COUNTRY).keys() == before.keys()
