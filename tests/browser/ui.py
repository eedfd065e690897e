"""What the browser tests do in Airflow's UI, in its own words: roles, labels and texts that a person sees."""

from __future__ import annotations

import datetime as dt
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, expect

from include.sandbox.settings import PROJECT

PICTURES = PROJECT / ".local" / "tests" / "browser"
KEEP = os.environ.get("IMAGESYS_SCREENSHOTS")
"""A folder for the pictures that the documentation shows; `make screenshots` names it."""

EVENTS = 30_000  # milliseconds that the page may take to show what has happened
WORK = 180_000  # the same, where tasks run meanwhile
MAX_BYTES = 150_000


@dataclass(frozen=True)
class Ui:
    """One page of a browser that shows Airflow."""

    page: Page

    def log_in(self, user: str, password: str) -> None:
        """Open the first page, which asks who it is, and answer."""
        self.page.goto("/")
        self.page.get_by_label("Username").fill(user)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.heading("Welcome")).to_be_visible()

    def open_run(self, dag_id: str, run_id: str) -> None:
        """Open a run's page."""
        self.page.goto(f"/dags/{dag_id}/runs/{run_id}")
        expect(self.heading(run_id)).to_be_visible()

    def backfill_dialog(self, dag_id: str, first: dt.date, last: dt.date) -> Locator:
        """Open a DAG's dialog for a backfill and choose the days."""
        self.page.goto(f"/dags/{dag_id}")
        self.button("Trigger Dag").click()
        self.dialog("Trigger Dag").get_by_text("Backfill", exact=True).click()
        dialog = self.dialog("Run Backfill")
        for label, day in (("From", first), ("To", last)):
            field = dialog.get_by_role("group").filter(has_text=label)
            field.get_by_test_id("datetime-input").click()
            date = self.page.get_by_role("textbox", name=label)
            date.fill(f"{day:%Y/%m/%d}")
            date.press("Enter")
            date.press("Escape")
            expect(date).to_be_hidden()
            expect(field).to_contain_text(f"{day:%b %d, %Y}")
        return dialog

    @property
    def state(self) -> Locator:
        """The badge beside the title of the run or task instance that the page is about."""
        return self.page.get_by_test_id("state-badge").filter(has_text=re.compile(r"\w")).first

    def heading(self, text: str) -> Locator:
        return self.page.get_by_role("heading", name=text, exact=True)

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("button", name=name)

    def dialog(self, title: str) -> Locator:
        """Return the dialog whose text has ``title``."""
        return self.page.get_by_role("dialog").filter(has_text=title)

    def instance(self, task: str, name: str) -> Locator:
        """Return a mapped task instance's row on the run's page."""
        rows = self.page.get_by_role("row").filter(has=self.page.get_by_role("link", name=task, exact=True))
        return rows.filter(has=self.page.get_by_role("cell", name=name, exact=True))

    def picture(self, name: str, *, keep: bool = False) -> Path:
        """Take a picture when the page has come to rest; one to ``keep`` also goes where the documentation shows it."""
        self.page.wait_for_load_state("networkidle")
        taken = self.page.screenshot(animations="disabled", caret="hide")
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f"{name}.png"
        path.write_bytes(taken)
        if keep and KEEP:
            kept = PROJECT / KEEP / path.name
            kept.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(io.BytesIO(taken)) as image:
                image.convert("RGB").quantize(256).save(kept, optimize=True)
            assert kept.stat().st_size < MAX_BYTES, f"{kept} is too large"
        return path
