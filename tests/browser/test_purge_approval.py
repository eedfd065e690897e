"""Two purges above the cap wait under Required Actions; a person approves one and rejects the other."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from include.sandbox.environment import due_day
from tests.browser.ui import WORK, Ui
from tests.scheduler.conftest import Live

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]

DAG_ID = "imagesys_purge_approval"
ZONES = {"it": "Europe/Rome", "in": "Asia/Kolkata"}


def propose(live: Live, country: str) -> tuple[set[str], set[str]]:
    """Make photos live, take two listings away and ask to purge; return what is live, and what of it is due."""
    entries = live.seed(country, ZONES[country], 20, broken_share=0.0)
    ran = live.command("run", country, "--interval", str(due_day(ZONES[country])))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    gone = sorted({entry.listing_ids[0] for entry in entries.values()})[:2]
    live.sandbox.etl.remove(country, gone)
    assert live.command("purge", country).returncode == 1
    assert live.live_urls(country) == set(entries)
    return set(entries), {url for url, entry in entries.items() if set(entry.listing_ids) <= set(gone)}


def decision(live: Live, country: str) -> list[tuple[str, str]]:
    """Return the state of the country's one proposal and who decided it."""
    return live.rows(country, "SELECT state, decided_by FROM lis_purge_proposals")


def test_an_approved_purge_is_carried_out_and_a_rejected_one_changes_nothing(live: Live, ui: Ui) -> None:
    """Italy's images that are due leave the site; India's stay; the proposals keep who said so."""
    italian, off = propose(live, "it")
    indian, due = propose(live, "in")
    assert off
    assert due
    live.api.wait_for_dag(DAG_ID, 120)
    live.api.unpause(DAG_ID)

    def asked() -> str | None:
        for run in live.api.runs(DAG_ID):
            states = live.api.states(DAG_ID, run["dag_run_id"])
            if [states.get(f"ask[{index}]") for index in (0, 1)] == ["awaiting_input"] * 2:
                return str(run["dag_run_id"])
        return None

    run_id = live.wait_until("two questions", asked, 120)
    ui.button("Browse").click()
    ui.page.get_by_role("menuitem", name="Required Actions").click()
    waiting = ui.page.get_by_role("row").filter(has_text="Approval Required")
    expect(waiting).to_have_count(2)
    ui.picture("required_actions")

    waiting.get_by_role("link", name=f"Italy: purge {len(off)} of 20 live images").click()
    expect(ui.page.get_by_role("row").filter(has_text="unlisted: no listing shows it any more")).to_be_visible()
    ui.picture("purge_question", keep=True)
    ui.button("Approve").click()
    expect(ui.page.get_by_text("Response received at")).to_contain_text("from admin")
    expect(ui.state).to_have_text("Success", timeout=WORK)
    ui.picture("purge_approved")
    live.wait_until("the approved purge", lambda: live.live_urls("it") == italian - off)
    assert decision(live, "it") == [("approved", "admin")]
    assert live.live_urls("in") == indian
    assert decision(live, "in") == [("open", None)]

    ui.page.goto("/required_actions")
    waiting.get_by_role("link", name=f"India: purge {len(due)} of 20 live images").click()
    ui.button("Reject").click()
    expect(ui.page.get_by_text("Response received at")).to_contain_text("from admin")
    expect(ui.state).to_have_text("Success", timeout=WORK)
    ui.picture("purge_rejected")

    ui.open_run(DAG_ID, run_id)
    expect(ui.state).to_have_text("Success", timeout=WORK)
    expect(ui.instance("carry_out", "it, proposal 1")).to_contain_text("Success")
    expect(ui.instance("carry_out", "in, proposal 1")).to_contain_text("Skipped")
    ui.page.goto("/required_actions")
    expect(ui.page.get_by_role("row").filter(has_text="Rejection Received")).to_contain_text("India")
    expect(ui.page.get_by_role("row").filter(has_text="Approval Received")).to_contain_text("Italy")
    expect(waiting).to_have_count(0)
    assert decision(live, "in") == [("rejected", "admin")]
    assert live.live_urls("in") == indian
    assert live.live_urls("it") == italian - off
