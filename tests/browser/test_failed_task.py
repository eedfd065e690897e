"""A node is down: its red task says why, and once that is mended one Clear makes the run green."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.ui import WORK, Ui
from tests.scheduler.conftest import Live, expected_live

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]

DAG_ID = "imagesys_uk"
UNREACHABLE = re.compile(r"Node n2: unreachable: .+ Remedy: start sshd on n2 or its network, then clear its sync task")


def test_the_log_of_a_red_task_names_the_reason_and_clear_makes_it_and_its_run_green(live: Live, ui: Ui) -> None:
    """The page shows red, the reason, then green; n2, which had nothing, ends with the files of n1 and n3."""
    entries = live.seed("uk", "Europe/London", 30, broken_share=0.0)
    live.sandbox.nodes.stop_node("n2")
    try:
        run_id = live.start_daily("uk")
        live.api.wait_for_run(DAG_ID, run_id)
        assert live.trees("uk")["n2"] == {}
        ui.open_run(DAG_ID, run_id)
        expect(ui.state).to_have_text("Failed")
        expect(ui.instance("sync", "n1")).to_contain_text("Success")
        expect(ui.instance("sync", "n2")).to_contain_text("Failed")
        ui.picture("red_run")

        ui.instance("sync", "n2").get_by_role("link", name="n2", exact=True).click()
        expect(ui.heading("sync [n2]")).to_be_visible()
        expect(ui.state).to_have_text("Failed")
        reason = ui.page.get_by_text(UNREACHABLE)
        expect(reason).to_be_visible()
        reason.click()  # folds the traceback below it
        ui.page.keyboard.press("w")  # wraps long lines
        ui.picture("log_of_a_failed_task", keep=True)
    finally:
        live.sandbox.nodes.start_node("n2")

    ui.button("Press shift+c to clear").click()
    clear = ui.dialog("Clear Task Instance: sync")
    affected = clear.get_by_role("row").filter(has_text=run_id)
    expect(affected.filter(has_text="sync").filter(has_text="Failed")).to_have_count(1)
    expect(affected.filter(has_text="report").filter(has_text="Failed")).to_have_count(1)  # downstream by default
    ui.picture("clear", keep=True)
    clear.get_by_role("button", name="Confirm").click()
    expect(clear).to_be_hidden()

    expect(ui.state).to_have_text("Success", timeout=WORK)
    ui.page.get_by_role("link", name=run_id, exact=True).click()
    expect(ui.heading(run_id)).to_be_visible()
    expect(ui.state).to_have_text("Success", timeout=WORK)
    expect(ui.instance("sync", "n2")).to_contain_text("Success")
    expect(ui.page.get_by_role("cell", name="Failed", exact=True)).to_have_count(0)
    ui.picture("green_run")

    assert live.api.run(DAG_ID, run_id)["state"] == "success"
    assert live.live_urls("uk") == expected_live(entries) == set(entries)
    trees = live.trees("uk")
    assert trees["n1"] == trees["n2"] == trees["n3"]
    assert len(trees["n2"]) == 2 * len(entries)
