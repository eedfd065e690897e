"""The dashboard as Airflow registers it: an app that is made when it is first asked, and where its pages are shown."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

PREFIX = "/imagesys"


class Dashboard:
    """The ASGI app. Each process of Airflow loads the plugin, and only the API server needs what pages need."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await dashboard_app()(scope, receive, send)


@cache
def dashboard_app() -> FastAPI:
    """Return the app of this process."""
    from imagesys_airflow.api.app import build_app

    return build_app()


APPS: list[dict[str, Any]] = [{"app": Dashboard(), "url_prefix": PREFIX, "name": "ImageSys"}]


def _view(destination: str, name: str, route: str, path: str) -> dict[str, Any]:
    """Return a view. Only one with a ``url_route`` is a frame, and of two with the same Airflow drops one.

    Its address is relative, so that it holds where Airflow is served below a prefix.
    """
    root = PREFIX.removeprefix("/")
    icon = f"{root}/static/icon.svg"
    return {"name": name, "href": f"{root}/{path}", "destination": destination, "url_route": route, "icon": icon}


VIEWS = [
    {**_view("nav", "ImageSys", "imagesys", ""), "nav_top_level": True},
    _view("dag", "ImageSys", "imagesys-country", "dags/{DAG_ID}"),
    _view("dag_run", "ImageSys", "imagesys-run", "dags/{DAG_ID}/runs/{RUN_ID}"),
    _view("task_instance", "ImageSys", "imagesys-task", "dags/{DAG_ID}/runs/{RUN_ID}/tasks/{TASK_ID}"),
]
