"""Task logs that can no longer be written, or are moved away under a running task, cost lines of log and no work."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.scheduler.conftest import Live, expected_live

pytestmark = [pytest.mark.scheduler, pytest.mark.sandbox, pytest.mark.long]

DAG_ID = "imagesys_br"
ZONE = "America/Sao_Paulo"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Let a folder be a file system of 256 KB."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "imagesys-test", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> None:
    with (folder / "fills-the-disk").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_log_directory_that_is_full_or_rotated_in_mid_run_costs_no_work(live: Live) -> None:
    entries = live.seed("br", ZONE, 40, broken_share=0.0)
    live.sandbox.website.set_delay(1000)
    try:
        with small_disk(live.airflow.home / "logs" / f"dag_id={DAG_ID}") as logs:
            run_id = live.start_daily("br")
            live.wait_until(
                "a download", lambda: "running" in live.api.states(DAG_ID, run_id).get("process.download[0]", "")
            )
            for log in list(logs.rglob("*.log")):
                log.rename(log.with_suffix(".log.1"))
            fill(logs)
            assert shutil.disk_usage(logs).free == 0
            run = live.api.wait_for_run(DAG_ID, run_id, 300)
    finally:
        live.sandbox.website.set_delay(0)
    assert run["state"] == "success", live.api.states(DAG_ID, run_id)
    assert {one["try_number"] for one in live.api.task_instances(DAG_ID, run_id)} <= {0, 1}
    assert live.live_urls("br") == expected_live(entries)
    told = (live.sandbox.settings.log_dir / "airflow-scheduler.log").read_text(encoding="utf-8")
    assert "loses lines: No space left on device. Remedy: imagesys maintenance." in told
