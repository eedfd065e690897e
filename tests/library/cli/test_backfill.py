"""What the command says of days whose runs are queued already, with a program in Airflow's place that knows two.

tests/scheduler/test_backfill_cancelled.py shows with Airflow itself that the way out works.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.world import World

AIRFLOW = """#!/bin/sh
case "$1 $2" in
    "dags list-runs") echo '[{"run_id": "stuck", "logical_date": "2026-10-04T22:00:00+00:00"},
                             {"run_id": "other", "logical_date": "2026-10-07T22:00:00+00:00"}]' ;;
    "backfill create") echo "$@" >> "$(dirname "$0")/asked" ;;
esac
"""


def test_a_queued_run_of_a_day_asked_for_is_named_with_the_way_out(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "airflow").write_text(AIRFLOW)
    (tmp_path / "airflow").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    ran = world.cli("backfill", "it", "2026-10-05", "2026-10-06", "--reprocess-behavior", "failed")
    assert ran.code == 1
    assert "2026-10-05: stuck" in ran.err
    assert "other" not in ran.err  # of a day that nobody asked for
    assert "Mark each of these failed" in ran.err
    assert "imagesys backfill it 2026-10-05 2026-10-05 --reprocess-behavior failed" in ran.err
    assert "--reprocess-behavior failed" in (tmp_path / "asked").read_text()  # all the same

    ran = world.cli("backfill", "it", "2026-10-06", "2026-10-06")
    assert (ran.code, ran.err) == (0, "")
