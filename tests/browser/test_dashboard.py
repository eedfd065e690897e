"""The dashboard as a person sees it: in Airflow's frames and outside of them, light and dark, wide and narrow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Frame, Locator, Page, Request, expect

from include.sandbox.settings import PROJECT
from tests.browser.ui import Ui
from tests.scheduler.conftest import Live
from tests.support.past_runs import put_past_runs

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]

COUNTRY, DAG_ID = "de", "imagesys_de"
AXE = PROJECT / ".local" / "npm" / "axe-core" / "axe.min.js"
RED = {"es": frozenset({7, 31})}  # so many days ago
IN_FRAME = re.compile("allow-scripts and allow-same-origin")  # what Chromium says of Airflow's own frames


@pytest.fixture
def quiet(ui: Ui, live: Live) -> Iterator[None]:
    """Nothing is written to the console, and nothing but the server is asked."""
    said: list[str] = []
    asked: set[str] = set()

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not IN_FRAME.search(message.text):
            said.append(message.text)

    def note(request: Request) -> None:
        asked.add(urlsplit(request.url).netloc)

    ui.page.on("console", listen)
    ui.page.on("request", note)
    yield
    assert said == []
    assert asked - {""} == {urlsplit(live.airflow.url).netloc}


def frame(page: Page) -> Frame:
    """The frame that Airflow shows the dashboard in."""
    handle = page.wait_for_selector("iframe")
    assert handle
    found = handle.content_frame()
    assert found
    return found


def tab(page: Page, route: str) -> Locator:
    """The tab of Airflow's page, by its own address: the navigation has a link of the same name."""
    return page.locator(f'a[href$="/plugin/{route}"]')


@pytest.fixture(scope="module")
def red(live: Live) -> str:
    """A run of which n2 has got nothing, after months of others; and countries that no other test here has runs of."""
    live.seed(COUNTRY, "Europe/Berlin", 30, broken_share=0.3)
    live.sandbox.nodes.stop_node("n2")
    try:
        run_id = live.start_daily(COUNTRY)
        assert live.api.wait_for_run(DAG_ID, run_id)["state"] == "failed"
    finally:
        live.sandbox.nodes.start_node("n2")
    for country, images in ((COUNTRY, 52_000), ("au", 21_000), ("br", 9_000), ("es", 34_000)):
        with live.sandbox.mariadb.connect("imagesys", f"imagesys_{country}") as connection:
            put_past_runs(
                connection, country, days=120, images=images, red=frozenset({7, 31} if country == "es" else {})
            )
    return run_id


@pytest.mark.usefixtures("quiet")
def test_three_clicks_lead_from_a_red_country_to_its_failed_task(ui: Ui, red: str) -> None:
    """Each within Airflow: the last one out of the frame, to the task's own page."""
    ui.page.get_by_role("link", name="ImageSys").first.click()
    overview = frame(ui.page)
    row = overview.get_by_role("row").filter(has_text="Germany")
    expect(row).to_contain_text("work lost")
    ui.picture("dashboard_overview", keep=True)
    row.get_by_role("link", name="work lost", exact=True).click()
    run = frame(ui.page)
    expect(run.get_by_text("Node n2 is behind by")).to_be_visible()
    run.get_by_role("link", name="Go to the failed task").first.click()
    expect(ui.heading("sync [n2]")).to_be_visible()
    expect(ui.state).to_have_text("Failed")
    assert ui.page.locator("iframe").count() == 0


@pytest.mark.usefixtures("quiet")
def test_airflow_shows_a_runs_page_on_the_run_and_on_its_tasks(ui: Ui, red: str) -> None:
    ui.open_run(DAG_ID, red)
    tab(ui.page, "imagesys-run").click()
    run = frame(ui.page)
    expect(run.get_by_role("heading", level=1)).to_contain_text("work lost")
    expect(run.get_by_role("row").filter(has_text="process, 3 batches")).to_be_visible()
    for row in run.locator("#reasons tbody tr").all():
        expect(row.locator("code").nth(1)).to_contain_text("http://127.0.0.")
    ui.page.goto(f"/dags/{DAG_ID}/runs/{red}/tasks/publish")
    tab(ui.page, "imagesys-task").click()
    expect(frame(ui.page).get_by_role("heading", level=1)).to_contain_text("DE")
    ui.page.goto(f"/dags/{DAG_ID}")
    tab(ui.page, "imagesys-country").click()
    expect(frame(ui.page).get_by_role("heading", level=1)).to_contain_text("Germany")


@pytest.mark.usefixtures("quiet")
def test_outside_a_frame_links_are_plain_ones(ui: Ui, red: str) -> None:
    ui.page.goto("/imagesys/dags/imagesys_de")
    ui.page.get_by_role("link", name="DAG imagesys_de in Airflow").click()
    expect(ui.page).to_have_url(re.compile(f"/dags/{DAG_ID}"))
    expect(ui.button("Trigger Dag")).to_be_visible()


@pytest.mark.usefixtures("quiet")
def test_the_theme_is_airflows_and_follows_it(ui: Ui, red: str) -> None:
    def ground() -> str:
        return str(ui.page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    pages = {"overview": "", "country": f"dags/{DAG_ID}", "run": f"dags/{DAG_ID}/runs/{red}"}
    grounds = set()
    for theme in ("light", "dark"):
        ui.page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        for name, path in pages.items():
            ui.page.goto(f"/imagesys/{path}")
            ui.picture(f"dashboard_{name}_{theme}", keep=theme == "light" and name != "overview")
            grounds.add((theme, ground()))
    assert grounds == {("light", "rgb(255, 255, 255)"), ("dark", "rgb(22, 29, 45)")}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 400)])
def test_axe_finds_nothing_that_hinders_people(ui: Ui, red: str, theme: str, width: int) -> None:
    ui.page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
    ui.page.set_viewport_size({"width": width, "height": 800})
    for path in ("", f"dags/{DAG_ID}", f"dags/{DAG_ID}/runs/{red}"):
        ui.page.goto(f"/imagesys/{path}")
        ui.page.wait_for_load_state("networkidle")
        ui.page.evaluate(AXE.read_text())
        found = ui.page.evaluate("axe.run()")["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []


@pytest.mark.usefixtures("quiet")
def test_nothing_is_cut_off_at_400_pixels(ui: Ui, red: str) -> None:
    ui.page.set_viewport_size({"width": 400, "height": 800})
    for name, path in {"overview": "", "country": f"dags/{DAG_ID}", "run": f"dags/{DAG_ID}/runs/{red}"}.items():
        ui.page.goto(f"/imagesys/{path}")
        ui.picture(f"dashboard_{name}_400")
        assert ui.page.evaluate("document.documentElement.scrollWidth") <= 400, name


@pytest.mark.usefixtures("quiet")
def test_charts_are_drawn_and_redrawn_when_the_theme_changes(ui: Ui, red: str) -> None:
    ui.page.goto(f"/imagesys/dags/{DAG_ID}")
    expect(ui.page.locator("[data-chart] canvas")).to_have_count(ui.page.locator("[data-chart]").count())
    assert ui.page.locator("[data-chart] canvas").count() == 4
    drawn = "[...document.querySelectorAll('canvas')].map(one => one.toDataURL())"
    light = ui.page.evaluate(drawn)
    ui.page.evaluate("localStorage.setItem('theme', 'dark'); dispatchEvent(new StorageEvent('storage'))")
    assert not set(light) & set(ui.page.evaluate(drawn))


@pytest.mark.usefixtures("quiet")
def test_the_keyboard_reaches_the_content_and_its_links(ui: Ui, red: str) -> None:
    ui.page.goto("/imagesys/")
    ui.page.keyboard.press("Tab")
    expect(ui.page.get_by_role("link", name="To the content")).to_be_focused()
    ui.page.keyboard.press("Enter")
    ui.page.keyboard.press("Tab")
    focused = ui.page.locator(":focus")
    assert focused.evaluate("link => link.closest('main') !== null")


@pytest.mark.usefixtures("quiet")
def test_a_page_of_what_runs_reads_itself_anew(ui: Ui, live: Live, red: str) -> None:
    """Told by its own figure, without being loaded again."""
    with live.sandbox.mariadb.connect("imagesys", DAG_ID) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE lis_runs SET state = 'running', finished_at = NULL WHERE run_id = %s", (red,))
        connection.commit()
        ui.page.goto(f"/imagesys/dags/{DAG_ID}/runs/{red}")
        heading = ui.page.get_by_role("heading", level=1)
        expect(heading).to_contain_text("running")
        ui.page.evaluate("window.before = true")
        cursor.execute("UPDATE lis_runs SET state = 'failed', finished_at = started_at WHERE run_id = %s", (red,))
        connection.commit()
    expect(heading).to_contain_text("work lost", timeout=20_000)
    assert ui.page.evaluate("window.before")
