"""A typo in countries.yaml while all runs: no DAG vanishes, tasks go on, a mail comes, and one when it is well."""

from __future__ import annotations

import datetime as dt

import pytest

from include.sandbox.environment import config_path
from tests.scheduler.conftest import Live

pytestmark = [pytest.mark.scheduler, pytest.mark.sandbox, pytest.mark.long]

DAG_ID = "imagesys_maintenance"


def is_read(live: Live) -> dict[str, str]:
    """Wait until the DAG processor has read every DAG file anew; returns when each known DAG was read last."""
    began = dt.datetime.now(dt.timezone.utc)

    def parsed() -> dict[str, str]:
        found = {dag["dag_id"]: dag["last_parsed_time"] for dag in live.api.dags()}
        times = [dt.datetime.fromisoformat(time.replace("Z", "+00:00")) for time in found.values()]
        return found if times and min(times) > began else {}

    found: dict[str, str] = live.wait_until("all DAG files to be read again", parsed, 180)
    return found


def test_a_typo_ends_nothing_and_is_mailed_once(live: Live) -> None:
    file = config_path(live.sandbox.settings)
    whole, since = file.read_text(encoding="utf-8"), len(live.sandbox.mail.files())

    def reported() -> list[str]:
        subjects = [str(mail["subject"]) for mail in live.sandbox.mail.mails(since)]
        return [subject for subject in subjects if "configuration" in subject]

    live.api.wait_for_dag(DAG_ID, 120)
    dags = set(is_read(live))
    try:
        file.write_text(whole.replace("quorum: 2", "quorum: 2\n  quorum: 3", 1), encoding="utf-8")
        assert set(is_read(live)) == dags
        assert live.api.import_errors() == []
        live.api.unpause(DAG_ID)
        for _ in range(2):
            run_id = live.api.trigger(DAG_ID)
            assert live.api.wait_for_run(DAG_ID, run_id)["state"] == "success"
        assert reported() == ["[ImageSys] The configuration is to be mended"]
        refused = live.command("status")
        assert refused.returncode == 3
        assert "quorum: stands twice" in refused.stderr
    finally:
        file.write_text(whole, encoding="utf-8")
    assert set(is_read(live)) == dags
    assert live.command("status").returncode == 0
    run_id = live.api.trigger(DAG_ID)
    assert live.api.wait_for_run(DAG_ID, run_id)["state"] == "success"
    live.api.pause(DAG_ID)
    assert reported() == ["[ImageSys] The configuration is to be mended", "[ImageSys] The configuration is well again"]
