"""The dashboard in Airflow's own API server: who may see what, and what its answers say to the browser."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import warnings
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import requests

from imagesys_lib.config import load_config
from include.sandbox.settings import PROJECT
from tests.airflow.conftest import HOME
from tests.support.world import World, set_connection, wait_for

UPLOT = PROJECT / "plugins" / "imagesys_airflow" / "api" / "static" / "uplot"
USERS = {"viewer": "viewer", "editor": "user", "other": "user"}


class Server:
    """An app on a port of loopback, as clients of it see it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **how: Any) -> requests.Response:
        prepared = requests.Request(method, self._url, headers=headers, **how).prepare()
        prepared.url = self._url + path  # as it is: requests would resolve its dots
        with requests.Session() as session:
            return session.send(prepared, allow_redirects=False, timeout=60)


@contextlib.contextmanager
def serving(app: Any) -> Iterator[Server]:
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive(), "the server", 60)
        yield Server(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def server(airflow_database: None) -> Iterator[Server]:
    """Airflow's whole API server, with three users of the simple auth manager."""
    passwords = HOME / "passwords.json"
    passwords.write_text(json.dumps(dict.fromkeys(USERS, "secret")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", ",".join(f"{n}:{role}" for n, role in USERS.items()))
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
        patch.setenv("AIRFLOW__API__SECRET_KEY", "for tests")
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "for tests, " * 6)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Airflow's own imports
            from airflow.api_fastapi.app import create_app

            app = create_app(apps="core")
        with serving(app) as found:
            yield found


def token(server: Server, user: str) -> dict[str, str]:
    answer = server.ask("POST", "/auth/token", json={"username": user, "password": "secret"})
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def routes() -> list[tuple[str, str]]:
    """Every (method, path) of the app but its static files, with values for what paths name."""
    from starlette.routing import Mount

    from imagesys_airflow.api.views import dashboard_app

    named = {"dag_id": "imagesys_uk", "run_id": "test-1", "task_id": "sync"}
    found = []
    for route in dashboard_app().routes:
        if isinstance(route, Mount):
            assert route.path == "/static", f"{route.path} is public"
            continue
        found += [(method, route.path.format(**named)) for method in sorted(route.methods - {"HEAD", "OPTIONS"})]
    return found


def ask(server: Server, method: str, path: str, headers: dict[str, str]) -> requests.Response:
    return server.ask(method, f"/imagesys{path}", headers)


@pytest.fixture
def ran(world: World, live: dict[str, object]) -> World:
    """A country with one run that went well."""
    return world


def test_every_route_refuses_who_is_not_logged_in(server: Server) -> None:
    assert len(routes()) >= 4
    for method, path in routes():
        for headers in ({}, {"Authorization": "Bearer forged"}):
            answer = ask(server, method, path, headers)
            assert answer.status_code in (401, 403), f"{method} {path}: {answer.status_code}"
            assert "uk" not in answer.text, f"{path} names a country"


def test_a_viewer_may_see_every_page_and_change_nothing(server: Server, ran: World) -> None:
    headers = token(server, "viewer")
    ran.sql("UPDATE lis_runs SET run_id = 'test-1'")
    for method, path in routes():
        answer = ask(server, method, path, headers)
        assert answer.status_code == (200 if method == "GET" else 403), f"{method} {path}: {answer.text[:500]}"


def test_the_forms_of_fastapi_and_the_schema_are_not_served(server: Server) -> None:
    headers = token(server, "editor")
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert ask(server, "GET", path, headers).status_code == 404


def test_files_alone_are_public_and_nothing_beside_them(server: Server) -> None:
    assert ask(server, "GET", "/static/dashboard.css", {}).status_code == 200
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fpages.py", "/static/"):
        assert ask(server, "GET", path, {}).status_code in (401, 404)


def test_every_answer_forbids_inline_scripts_strange_frames_and_keeping_data(server: Server, ran: World) -> None:
    headers = token(server, "viewer")
    for path in ("/", "/?format=json", "/dags/imagesys_uk", "/dags/imagesys_xx", "/static/dashboard.js"):
        found = ask(server, "GET", path, headers).headers
        policy = dict(part.split(" ", 1) for part in found["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["frame-ancestors"] == "'self'"
        assert found["x-content-type-options"] == "nosniff"
        assert found["cache-control"] == ("max-age=300" if "static" in path else "no-store")


def test_a_strangers_words_are_text_on_every_page(server: Server, ran: World) -> None:
    """A URL, a detail, a subject and a fault as somebody might write them who wants to act in a page."""
    evil = "<script>alert(1)</script>\x1b[2J\u202e"
    ran.sql(
        "UPDATE lis_runs SET run_id = 'test-1', summary = JSON_SET(summary, '$.anomalies', JSON_ARRAY(:evil))",
        evil=evil,
    )
    ran.sql("UPDATE lis_batches SET run_id = 'test-1', holder = :evil", evil=evil)
    ran.sql("INSERT INTO lis_mails (subject, text, html, created_at) VALUES (:evil, '', '', NOW())", evil=evil)
    headers = token(server, "viewer")
    for method, path in routes():
        if method == "GET":
            page = ask(server, method, path, headers).text
            assert "<script>alert" not in page
            assert "\x1b" not in page
            assert "\u202e" not in page
    assert (
        "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J\\u202e" in ask(server, "GET", "/dags/imagesys_uk", headers).text
    )


def test_tables_are_had_as_csv_and_json_at_the_same_address(server: Server, ran: World) -> None:
    headers = token(server, "viewer")
    whole = ask(server, "GET", "/dags/imagesys_uk?format=json", headers).json()
    (run,) = whole["runs"]
    assert run["live"] == run["images"] == 40
    assert ask(server, "GET", "/dags/imagesys_uk?format=json&table=runs", headers).json() == whole["runs"]
    assert ask(server, "GET", "/dags/imagesys_uk", {**headers, "Accept": "application/json"}).json() == whole
    answer = ask(server, "GET", "/dags/imagesys_uk?table=runs", {**headers, "Accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text.splitlines()[0].startswith("day,state,kind,images,live,")
    assert len(answer.text.splitlines()) == 2
    assert ask(server, "GET", "/dags/imagesys_uk?format=csv&table=nothing", headers).status_code == 404


def test_what_is_not_there_is_said_and_not_a_fault_of_the_server(server: Server, ran: World) -> None:
    headers = {**token(server, "viewer"), "Accept": "text/html"}
    for path, words in {
        "/dags/imagesys_zz": "No country",
        "/dags/imagesys_purge_approval": "no single country",
        "/dags/imagesys_uk/runs/none": "has no run none",
    }.items():
        answer = ask(server, "GET", path, headers)
        assert answer.status_code == 404
        assert words in answer.text


def test_a_database_that_is_away_is_said_at_once_with_the_remedy(server: Server, world: World) -> None:
    from imagesys_airflow.api import contexts

    headers = {**token(server, "viewer"), "Accept": "text/html"}
    world.patch.setattr(contexts, "_open", {})
    set_connection(world, "IMAGESYS_DB", port=1)
    for path in ("/dags/imagesys_uk", "/dags/imagesys_uk/runs/test-1"):
        answer = ask(server, "GET", path, headers)
        assert answer.status_code == 503
        assert "did not answer" in answer.text
        assert answer.elapsed.total_seconds() < 20
    answer = ask(server, "GET", "/", headers)
    assert answer.status_code == 200
    assert answer.text.count("cannot be read: Database 127.0.0.1:1/imagesys_") == len(load_config())
    world.patch.setattr(contexts, "_open", {})


def test_addresses_in_pages_are_relative_and_lead_somewhere_below_a_prefix_too(server: Server, ran: World) -> None:
    """Those of the dashboard are asked; those of Airflow itself are paths of its UI."""
    ran.sql("UPDATE lis_runs SET run_id = 'test-1', started_at = UTC_TIMESTAMP(6), finished_at = UTC_TIMESTAMP(6)")
    headers = {**token(server, "viewer"), "Accept": "text/html"}
    seen: set[str] = set()
    for path in ("/", "/dags/imagesys_uk", "/dags/imagesys_uk/runs/test-1", "/dags/imagesys_uk/runs/test-1/tasks/sync"):
        page = ask(server, "GET", path, headers).text
        found = re.findall(r'(?:href|src)="([^"]*)"', page)
        assert not [address for address in found if address.startswith(("/", "http"))]
        seen |= {urljoin(f"/prefix/imagesys{path}", unescape(address)).partition("#")[0] for address in found}
    ours = {address.removeprefix("/prefix/imagesys") for address in seen if address.startswith("/prefix/imagesys/")}
    assert {"/static/dashboard.css", "/static/uplot/uPlot.iife.min.js", "/dags/imagesys_uk/runs/test-1"} <= ours
    for address in ours:
        known = re.match(r"/dags/imagesys_(?!uk)", address) is None  # the schemas of other countries are not made here
        assert ask(server, "GET", address, headers).status_code == (200 if known else 503), address
    others = {address for address in seen if not address.startswith("/prefix/imagesys/")}
    assert "/prefix/dags/imagesys_uk/runs/test-1" in others
    assert all(address.startswith("/prefix/dags/") for address in others)


def test_a_change_needs_the_right_to_edit_and_a_token_of_this_very_user(server: Server) -> None:
    """Asked of an app with one route that changes something, as the dashboard's own are guarded."""
    from fastapi import Depends, FastAPI

    from imagesys_airflow.api.security import CHANGES, FORGERY_HEADER, READS, forgery_token

    app = FastAPI(dependencies=READS)

    @app.get("/form")
    def form(token: str = Depends(forgery_token)) -> str:
        return token

    @app.post("/dags/{dag_id}/change", dependencies=CHANGES)
    def change(dag_id: str) -> str:
        return dag_id

    with serving(app) as changing:
        viewer, editor, other = (token(server, name) for name in ("viewer", "editor", "other"))
        mine, others, viewers = (changing.ask("GET", "/form", who).json() for who in (editor, other, viewer))

        def post(who: dict[str, str], *, header: str = "", **how: Any) -> int:
            headers = {**who, FORGERY_HEADER: header} if header else who
            return changing.ask("POST", "/dags/imagesys_uk/change", headers, **how).status_code

        assert post({}, data={"token": mine}) == 401
        assert post(viewer, data={"token": viewers}) == 403
        assert post(editor) == 403
        assert post(editor, data={"token": "forged"}) == 403
        assert post(editor, data={"token": others}) == 403
        assert post(editor, data={"token": mine}) == 200
        assert post(editor, header=mine) == 200
        assert post(editor, header=others) == 403


def test_airflow_shows_the_dashboard_in_frames_of_its_own(server: Server) -> None:
    plugins = server.ask("GET", "/api/v2/plugins", token(server, "editor"))
    views = [view for plugin in plugins.json().get("plugins", []) for view in plugin["external_views"]]
    ours = {view["destination"]: view for view in views if view["href"].startswith("imagesys/")}
    assert set(ours) == {"nav", "dag", "dag_run", "task_instance"}
    assert len({view["url_route"] for view in ours.values()}) == 4


def test_the_vendored_charts_are_what_the_script_brought() -> None:
    sums = dict(reversed(line.split()) for line in (UPLOT / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {"LICENSE", "uPlot.iife.min.js", "uPlot.min.css"}
    assert {name: hashlib.sha256(Path(UPLOT / name).read_bytes()).hexdigest() for name in sums} == sums
