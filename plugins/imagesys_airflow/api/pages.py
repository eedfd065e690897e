"""The pages of all countries, of one country and of one run. Below the app's root their paths are those of Airflow."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request, Response

from imagesys_airflow.api.contexts import context_of
from imagesys_airflow.api.rendering import respond
from imagesys_lib.context import Context
from imagesys_lib.dashboard.addresses import country_of
from imagesys_lib.dashboard.country import MONTH, YEAR, country_page
from imagesys_lib.dashboard.overview import overview
from imagesys_lib.dashboard.run import run_page
from imagesys_lib.db.engine import check_connection

router = APIRouter()


def context_of_dag(dag_id: str) -> Context:
    """Return the context of the country that a DAG is about.

    Answers 404 where it is about no single one, and at once 503 where its database is away.
    """
    country = country_of(dag_id)
    if country is None:
        raise HTTPException(404, f"DAG {dag_id} is of no single country.")
    ctx = context_of(country)
    check_connection(ctx.db)
    return ctx


@router.get("/")
def all_countries(request: Request) -> Response:
    """Show all countries on one screen."""
    page = overview(context_of)
    tables = (page.countries,)
    return respond(request, "overview.html", tables, title="Overview", running=page.running, here="Overview", page=page)


@router.get("/dags/{dag_id}")
def country(request: Request, dag_id: str, days: int = MONTH) -> Response:
    """Show a country's last thirty days, or its year."""
    page = country_page(context_of_dag(dag_id), YEAR if days > MONTH else MONTH)
    return respond(
        request, "country.html", page.tables, title=page.name, running=page.running, here=page.country, page=page
    )


@router.get("/dags/{dag_id}/runs/{run_id}")
@router.get("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}")
def run(request: Request, dag_id: str, run_id: str) -> Response:
    """Show one run; of a task it is the run's page, too."""
    page = run_page(context_of_dag(dag_id), run_id)
    title = f"{page.country.upper()} {page.day}"
    return respond(
        request, "run.html", page.tables, title=title, running=page.running, here=page.country, dag_id=dag_id, page=page
    )
