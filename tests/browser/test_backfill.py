"""A backfill that is started in the UI makes the chosen days live, and no other."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from playwright.sync_api import expect

from tests.browser.ui import WORK, Ui
from tests.scheduler.conftest import Live, expected_live

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]

FIRST, LAST = dt.date(2026, 10, 5), dt.date(2026, 10, 7)
BEFORE, AFTER = FIRST - dt.timedelta(days=1), LAST + dt.timedelta(days=1)
DAYS = [FIRST, dt.date(2026, 10, 6), LAST]


def test_the_days_of_a_backfill_are_live_when_the_page_shows_its_runs_green(live: Live, ui: Ui) -> None:
    """Before it only the daily run's URLs are live; after it those of the three days too, and of no day beside them."""
    zone = "America/Mexico_City"
    entries = live.seed("mx", zone, 10, past_days=[BEFORE, *DAYS, AFTER], per_past_day=6)
    others = {day.isoformat() for day in (BEFORE, *DAYS, AFTER)}
    daily = expected_live({url: one for url, one in entries.items() if one.local_day not in others})
    asked_for = expected_live(
        {url: one for url, one in entries.items() if dt.date.fromisoformat(one.local_day) in DAYS}
    )
    assert daily
    assert len({entries[url].local_day for url in asked_for}) == len(DAYS)
    assert live.api.wait_for_run("imagesys_mx", live.start_daily("mx"))["state"] == "success"
    assert live.live_urls("mx") == daily

    dialog = ui.backfill_dialog("imagesys_mx", FIRST, LAST)
    expect(dialog.get_by_text("3 runs will be triggered.")).to_be_visible()
    ui.picture("backfill", keep=True)
    dialog.get_by_role("button", name="Run Backfill").click()
    expect(ui.page.get_by_text("Backfill generated").first).to_be_visible()  # for a moment it may be there twice
    expect(ui.page.get_by_text("Backfill in progress")).to_be_visible()

    ui.page.get_by_role("link", name="Runs", exact=True).click()
    runs = ui.page.get_by_role("row").filter(has=ui.page.get_by_role("link", name=re.compile("^backfill__")))
    expect(runs).to_have_count(3)
    expect(runs.filter(has_text="Running")).to_have_count(1)
    ui.picture("backfill_runs")
    expect(runs.filter(has_text="Success")).to_have_count(3, timeout=WORK)
    ui.picture("backfill_done")
    assert live.live_urls("mx") == daily | asked_for


@pytest.mark.parametrize("country", ["au", "br", "de", "in", "uk"])
def test_the_dialog_counts_the_days_that_were_chosen_in_every_time_zone(live: Live, ui: Ui, country: str) -> None:
    """Airflow sends the last day as 23:59:59 UTC, which is another day already east of Greenwich."""
    live.api.wait_for_dag(f"imagesys_{country}", 120)
    dialog = ui.backfill_dialog(f"imagesys_{country}", FIRST, LAST)
    expect(dialog.get_by_text(re.compile("runs will be triggered"))).to_have_text("3 runs will be triggered.")
