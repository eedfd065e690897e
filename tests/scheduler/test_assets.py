"""An index build that is scheduled on a country's live images, as docs/website.md shows it."""

from __future__ import annotations

import re

import pytest

from include.sandbox.settings import PROJECT
from tests.scheduler.conftest import Live

pytestmark = [pytest.mark.scheduler, pytest.mark.sandbox, pytest.mark.long]

COUNTRY, ZONE = "mx", "America/Mexico_City"
CONSUMER = f"build_search_index_{COUNTRY}"
DAG_ID = f"imagesys_{COUNTRY}"
PAGE = (PROJECT / "docs" / "website.md").read_text(encoding="utf-8")


def test_the_example_of_the_docs_runs_when_pictures_have_gone_live(live: Live) -> None:
    (example,) = re.findall(r"```python\n(from airflow.sdk.*?)```", PAGE, re.DOTALL)
    (live.airflow.dags / "example.py").write_text(re.sub(r"\buk\b|(?<=_)uk", COUNTRY, example))
    live.seed(COUNTRY, ZONE, 5)
    live.api.wait_for_dag(CONSUMER, 120)
    live.api.unpause(CONSUMER)
    run_id = live.start_daily(COUNTRY)
    assert live.api.wait_for_run(DAG_ID, run_id)["state"] == "success"
    (run,) = live.wait_until("the consumer's run", lambda: live.api.runs(CONSUMER), 60)
    assert run["run_type"] == "asset_triggered"
    assert live.api.wait_for_run(CONSUMER, run["dag_run_id"])["state"] == "success"
    again = live.api.trigger(DAG_ID)
    live.api.wait_for_run(DAG_ID, again)
    assert len(live.api.runs(CONSUMER)) == 1  # it has published nothing
