"""A run that is late shows it: on its page, while it goes on and when it has ended."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.ui import WORK, Ui
from tests.scheduler.conftest import Live, expected_live

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]

DAG_ID = "imagesys_fr"
NAMES = ["late 0.05 minutes after it was queued", "missed 0.1 minutes after it was queued"]


def test_the_page_of_a_late_run_shows_its_missed_deadlines_and_its_note(live: Live, ui: Ui) -> None:
    """Both deadlines are shown as missed while the run goes on; at its end by how much, beside its report.

    Airflow's page looks for deadlines when it is opened, not again by itself.
    """
    entries = live.seed("fr", "Europe/Paris", 40, broken_share=0.0)
    live.sandbox.website.set_delay(1500)
    try:
        run_id = live.start_daily("fr")
        live.wait_until("both mails", lambda: len(live.subjects("FR")) == 2)
        ui.open_run(DAG_ID, run_id)
        ui.button("2 Missed Deadlines").click()
        missed = ui.dialog("Deadline")
        expect(missed.get_by_text("Missed", exact=True)).to_have_count(2)
        for name in NAMES:
            expect(missed.get_by_text(name)).to_be_visible()
        expect(missed.get_by_text("Still running")).to_have_count(2)
        ui.picture("missed_deadline", keep=True)
        assert live.api.run(DAG_ID, run_id)["state"] == "running"
        missed.get_by_role("button", name="Close").click()
    finally:
        live.sandbox.website.set_delay(0)

    expect(ui.state).to_have_text("Success", timeout=WORK)
    ui.open_run(DAG_ID, run_id)
    ui.button("2 Missed Deadlines").click()
    expect(missed.get_by_text("after deadline")).to_have_count(2)
    ui.picture("missed_deadline_ended")
    missed.get_by_role("button", name="Close").click()
    expect(ui.page.get_by_text("Nothing was lost.").first).to_be_visible()
    ui.button("Edit note").click()
    expect(ui.dialog("Dag Run Note")).to_contain_text("Nothing was lost.")
    expect(ui.dialog("Dag Run Note")).to_contain_text("40 images in 1 batches: 40 live")
    ui.picture("note")
    assert live.live_urls("fr") == expected_live(entries) == set(entries)
