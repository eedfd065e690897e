"""The pages of all countries, of one country and of one run. Below the app's root their paths are those of Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import APIRouter, HTTPException, Request, Response

from imagesys_airflow.api.rendering import respond
from imagesys_airflow.connections import airflow_connection
from imagesys_lib.context import Context, open_context
from imagesys_lib.dashboard.addresses import country_of
from imagesys_lib.dashboard.country import MONTH, YEAR, country_page
from imagesys_lib.dashboard.overview import overview
from imagesys_lib.dashboard.run import run_page

router = APIRouter()


@contextmanager
def country_context(dag_id: str) -> Iterator[Context]:
    """Open the context of the country that a DAG is about, with Airflow's connections, for one request."""
    country = country_of(dag_id)
    if country is None:
        raise HTTPException(404, f"DAG {dag_id} is of no single country.")
    ctx = open_context(country, resolver=airflow_connection)
    try:
        yield ctx
    finally:
        ctx.close()


@router.get("/")
def all_countries(request: Request) -> Response:
    """Show all countries on one screen."""
    page = overview(airflow_connection)
    tables = (page.countries,)
    return respond(request, "overview.html", tables, title="Overview", running=page.running, here="Overview", page=page)


@router.get("/dags/{dag_id}")
def country(request: Request, dag_id: str, days: int = MONTH) -> Response:
    """Show a country's last thirty days, or its year."""
    with country_context(dag_id) as ctx:
        page = country_page(ctx, YEAR if days > MONTH else MONTH)
    return respond(
        request, "country.html", page.tables, title=page.name, running=page.running, here=page.country, page=page
    )


@router.get("/dags/{dag_id}/runs/{run_id}")
@router.get("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}")
def run(request: Request, dag_id: str, run_id: str) -> Response:
    """Show one run; of a task it is the run's page, too."""
    with country_context(dag_id) as ctx:
        page = run_page(ctx, run_id)
    title = f"{page.country.upper()} {page.day}"
    return respond(
        request, "run.html", page.tables, title=title, running=page.running, here=page.country, dag_id=dag_id, page=page
    )
