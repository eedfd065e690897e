"""A day's images through `imagesys run`, beside the script that somebody would write instead.

The script fetches with a pool of threads and `requests`, decodes each photo in full with Pillow, saves both sizes and
copies the tree to the three nodes with `rsync -a`. It knows no database, no reasons, no retry and no publishing. Both
run on the same sandbox, interleaved, on fresh output each round. Usage: python -m benchmarks.daily_run [--images N]
[--rounds N].
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

import requests
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

from include.sandbox import Sandbox, SandboxSettings
from include.sandbox.nodes_and_ports import NODE_NAMES
from include.sandbox.settings import PROJECT

COUNTRY, TIME_ZONE = "uk", "Europe/London"
THREADS = 16
BASE = PROJECT / ".local" / "bench"


def main() -> None:
    """Measure and print a table."""
    options = _options()
    sandbox = Sandbox(SandboxSettings(base=BASE / "sandbox", port_base=18400))
    sandbox.start()
    try:
        yesterday = datetime.now(ZoneInfo(TIME_ZONE)).date() - timedelta(days=1)
        sandbox.etl.seed(COUNTRY, images=options.images, last_day=yesterday, time_zone=TIME_ZONE, broken_share=0.0)
        env = {**os.environ, **sandbox.environment()}
        _imagesys(env, "db", "upgrade", COUNTRY)
        urls = [url for url, entry in sandbox.manifest.entries(COUNTRY).items() if entry.expects_live]
        contenders: dict[str, Callable[[], None]] = {
            "imagesys run": lambda: _imagesys(env, "run", COUNTRY, "--json"),
            "script": lambda: script(sandbox, urls),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(options.rounds):
            for name, work in contenders.items():
                _reset(sandbox)
                began = time.perf_counter()
                work()
                seconds[name].append(time.perf_counter() - began)
    finally:
        sandbox.stop()
    _show(seconds, len(urls), options.rounds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _imagesys(env: dict[str, str], *arguments: str) -> None:
    command = [str(Path(sys.executable).with_name("imagesys")), *arguments]
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)


def _reset(sandbox: Sandbox) -> None:
    """Empty the database, the trees and the staging, so that every round does the whole work."""
    database = f"imagesys_{COUNTRY}"
    with sandbox.mariadb.connect("imagesys", database) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW TABLES LIKE 'lis\\_%'")
        for (table,) in cursor.fetchall():
            cursor.execute(f"TRUNCATE TABLE `{table}`")
    for folder in (
        *(sandbox.nodes[name].root for name in NODE_NAMES),
        sandbox.settings.base / "staging",
        BASE / "script",
    ):
        shutil.rmtree(folder / COUNTRY, ignore_errors=True)
    shutil.rmtree(sandbox.settings.base / "staging", ignore_errors=True)


def script(sandbox: Sandbox, urls: list[str]) -> None:
    """Do the same job the simple way."""
    out = BASE / "script" / COUNTRY
    out.mkdir(parents=True)
    session = requests.Session()
    session.trust_env = False

    def one(job: tuple[int, str]) -> None:
        number, url = job
        image = ImageOps.exif_transpose(Image.open(BytesIO(session.get(url, timeout=20).content))).convert("RGB")
        ImageOps.fit(image, (60, 60), Image.Resampling.LANCZOS).save(out / f"{number}.1.jpg", quality=90)
        image.thumbnail((160, 120), Image.Resampling.LANCZOS)
        image.save(out / f"{number}.2.jpg", quality=90)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, enumerate(urls)))
    for name in NODE_NAMES:
        node = sandbox.nodes[name]
        ssh = f"ssh -i {node.client_key} -p {node.port} -o UserKnownHostsFile={sandbox.settings.base}/ssh/known_hosts"
        subprocess.run(
            ["rsync", "-a", "-e", ssh, f"{out}/", f"{node.user}@127.0.0.1:{node.root}/{COUNTRY}/"], check=True
        )


def _show(seconds: dict[str, list[float]], images: int, rounds: int) -> None:
    table = Table(
        "contender", "seconds, median", "min", "max", "images per second", title=f"{images} images, {rounds} rounds"
    )
    for name, values in seconds.items():
        median = statistics.median(values)
        table.add_row(name, f"{median:.1f}", f"{min(values):.1f}", f"{max(values):.1f}", f"{images / median:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
