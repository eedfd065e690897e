"""A slow run: its SLA mail comes while it runs, and clearing its running download gives the lease back at once."""

from __future__ import annotations

import time

import pytest

from tests.scheduler.conftest import Live, expected_live

pytestmark = [pytest.mark.scheduler, pytest.mark.sandbox]

DAG_ID = "imagesys_fr"


def test_a_missed_deadline_mails_while_the_run_goes_on_and_a_cleared_task_gives_its_lease_back(live: Live) -> None:
    entries = live.seed("fr", "Europe/Paris", 40, broken_share=0.0)
    mails_before = len(live.sandbox.mail.files())
    live.sandbox.website.set_delay(1500)
    try:
        run_id = live.start_daily("fr")
        mail = live.wait_until(
            "the SLA mail",
            lambda: next((m for m in live.sandbox.mail.mails(mails_before) if "late" in str(m["subject"])), None),
            90,
        )
        state_at_mail = live.api.run(DAG_ID, run_id)["state"]
        live.wait_until("a held batch", lambda: holders(live), 60)
        running = live.wait_until(
            "a running download",
            lambda: [n for n, s in live.api.states(DAG_ID, run_id).items() if "download" in n and s == "running"],
        )
        index = int(running[0].partition("[")[2].rstrip("]"))
        held = holder_of(live, run_id, index)
        assert held

        live.api.clear(DAG_ID, run_id, [("process.download", index)])
        cleared = time.monotonic()
        live.wait_until("the lease to be given back", lambda: holder_of(live, run_id, index) is None, 20)
        waited = time.monotonic() - cleared
    finally:
        live.sandbox.website.set_delay(0)

    assert state_at_mail == "running"
    text = "\n".join(
        part.get_payload(decode=True).decode() for part in mail.walk() if part.get_content_type() == "text/plain"
    )
    assert DAG_ID in text
    assert run_id in text
    for title in ("Still to do", "Likely cause", "What to do"):
        assert f"\n{title}\n  - " in text
    assert "\n  - Interval 20" in text
    assert waited < 5
    assert live.api.wait_for_run(DAG_ID, run_id)["state"] == "success"
    assert live.live_urls("fr") == expected_live(entries)
    live.wait_until("the mail that takes both back", lambda: len(live.subjects("FR", mails_before)) >= 3)
    reported = [subject.split(" ", 4)[-1] for subject in live.subjects("FR", mails_before)]
    assert sorted(reported) == ["has ended well", "is late", "missed its deadline"]


def holders(live: Live) -> list[str]:
    """Who holds batches now."""
    return [row[0] for row in live.rows("fr", "SELECT holder FROM lis_batches WHERE holder IS NOT NULL")]


def holder_of(live: Live, run_id: str, seq: int) -> str | None:
    """Who holds a batch of a run."""
    return live.rows("fr", "SELECT holder FROM lis_batches WHERE run_id = %s AND seq = %s", run_id, seq)[0][0]
