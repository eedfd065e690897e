"""A page as HTML, or its tables as CSV or JSON, at one address."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from imagesys_lib.config import load_config
from imagesys_lib.dashboard import words
from imagesys_lib.dashboard.addresses import country_link, dag_of, run_link
from imagesys_lib.dashboard.tables import Kind, Table, by_name, written
from imagesys_lib.errors import ConfigError
from imagesys_lib.output.printable import printable

REFRESH_SECONDS = 10
"""So often a page is read anew while something runs that it shows."""


SECTIONS = (("Overview", ""),)
"""What the head of each page leads to beside the countries: name, and address below the root."""


def _shown(value: Any) -> Any:
    """Spell what would act on who sees it; markup of our own has no such characters, or is spelt already."""
    return printable(value, lines=True) if type(value) is str else value


_pages = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
_pages.globals |= {"Kind": Kind, "written": written, "words": words}
_pages.globals |= {"SECTIONS": SECTIONS, "country_link": country_link, "run_link": run_link}
_pages.filters["dag_of"] = dag_of


def respond(
    request: Request,
    template: str,
    tables: Sequence[Table],
    *,
    title: str,
    running: bool = False,
    here: str = "",
    **values: Any,
) -> Response:
    """Return a page; with ``?format=csv`` or ``json`` (or by Accept) its tables, or the one that ``?table=`` names.

    CSV is of one table, the first if none is named. ``here`` is the tab that the page belongs to.
    """
    wanted, name = _format(request), request.query_params.get("table", "")
    if wanted == "html":
        refresh = REFRESH_SECONDS if running else 0
        page = _html(request, template, title=title, here=here, refresh=refresh, countries=_countries(), **values)
        return HTMLResponse(page, headers={"Vary": "Accept"})
    table = by_name(tables, name)
    if table is None:
        raise HTTPException(404, f"This page has no table {name!r}, but: {', '.join(one.name for one in tables)}.")
    if wanted == "csv":
        headers = {"Content-Disposition": f'attachment; filename="{table.name}.csv"', "Vary": "Accept"}
        return Response(table.as_csv(), media_type="text/csv", headers=headers)
    found = table.as_json() if name else {one.name: one.as_json() for one in tables}
    return JSONResponse(found, headers={"Vary": "Accept"})


def error_page(request: Request, status: int, message: str) -> Response:
    """Return a page that says what is wrong, or JSON to whoever asked for that."""
    if _format(request) == "html":
        told = {"title": f"Error {status}", "status": status, "message": message}
        page = _html(request, "error.html", here="", refresh=0, countries={}, **told)
        return HTMLResponse(page, status)
    return JSONResponse({"detail": message}, status)


def _html(request: Request, template: str, **values: Any) -> str:
    root = _root(request)
    return _pages.get_template(template).render(root=root, airflow=f"{root}../", **values)


def _root(request: Request) -> str:
    """Return the app's own address seen from the page's: relative, so that it holds below any prefix.

    By the route and not by the path, of which a proxy may have taken a part.
    """
    route = getattr(request.scope.get("route"), "path", "/")
    return "../" * (route.count("/") - 1) or "./"


def _format(request: Request) -> str:
    asked = request.query_params.get("format", "")
    if asked not in ("", "html", "csv", "json"):
        asked = "html"
    accepted = request.headers.get("accept", "")
    if not asked and "html" not in accepted:
        asked = "csv" if "text/csv" in accepted else "json" if "application/json" in accepted else ""
    return asked or "html"


def _countries() -> dict[str, str]:
    """Return the countries' names by code, for the head of each page; none while the configuration cannot be read."""
    try:
        return {code: config.name for code, config in load_config().items()}
    except ConfigError:
        return {}
