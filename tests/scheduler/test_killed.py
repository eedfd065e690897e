"""Workers that die: killed outright, or left alive without a supervisor while a retry takes their batch over."""

from __future__ import annotations

import os
import signal
from collections import Counter

import psutil
import pytest

from tests.scheduler.conftest import Live, expected_live
from tests.support.world import has_ended, wait_for

pytestmark = [pytest.mark.scheduler, pytest.mark.sandbox, pytest.mark.long]  # tests/scenarios/test_killing.py is quick

DAG_ID = "imagesys_es"


def test_killed_workers_lose_nothing_and_a_zombie_is_refused(live: Live) -> None:
    entries = live.seed("es", "Europe/Madrid", 40, broken_share=0.0)
    live.sandbox.website.set_delay(1000)
    try:
        run_id = live.start_daily("es")
        both = live.wait_until("two downloads at work", lambda: working(live, run_id), 90)
        killed, zombie = (psutil.Process(both[index]) for index in (0, 1))
        supervisor = zombie.parent()
        assert supervisor is not None
        killed.send_signal(signal.SIGKILL)
        zombie.send_signal(signal.SIGSTOP)  # alive, and busy with something slow
        os.kill(supervisor.pid, signal.SIGKILL)
    finally:
        live.sandbox.website.set_delay(0)
    try:
        run = live.api.wait_for_run(DAG_ID, run_id, 300)
        assert run["state"] == "success", live.api.states(DAG_ID, run_id)
        tries = {one["map_index"]: one["try_number"] for one in downloads(live, run_id)}
        assert tries[0] > 1
        assert tries[1] > 1
        rows = live.rows("es", "SELECT image_hash, state, change_id, source_sha1 FROM lis_images ORDER BY image_hash")
        fences = live.rows("es", "SELECT batch_id, fence, state FROM lis_batches ORDER BY batch_id")
        trees = live.trees("es")
    finally:
        if zombie.is_running():
            zombie.send_signal(signal.SIGCONT)
            wait_for(lambda: has_ended(zombie), "the zombie to end", 60)

    assert has_ended(zombie)
    assert (
        live.rows("es", "SELECT image_hash, state, change_id, source_sha1 FROM lis_images ORDER BY image_hash") == rows
    )
    assert live.rows("es", "SELECT batch_id, fence, state FROM lis_batches ORDER BY batch_id") == fences
    assert Counter(state for _, state, _, _ in rows) == {"live": len(entries)}
    assert live.live_urls("es") == expected_live(entries)
    assert trees["n1"] == trees["n2"] == trees["n3"] == live.trees("es")["n1"]
    assert len(trees["n1"]) == 2 * len(entries)
    staged = [path for path in (live.airflow.staging / "out" / "es").rglob("*") if path.is_file()]
    assert staged == []


def downloads(live: Live, run_id: str) -> list[dict[str, object]]:
    """The download tasks of the run."""
    found = live.api.task_instances(DAG_ID, run_id)
    return [one for one in found if one["task_id"] == "process.download" and one["map_index"] >= 0]


def working(live: Live, run_id: str) -> dict[int, int]:
    """Process ids of the two downloads by map index, once both hold their batches and have fetched something."""
    pids = {one["map_index"]: one["pid"] for one in downloads(live, run_id) if one["state"] == "running" and one["pid"]}
    held = live.rows("es", "SELECT COUNT(*) FROM lis_batches WHERE holder IS NOT NULL")[0][0]
    return pids if len(pids) == 2 and held == 2 else {}
