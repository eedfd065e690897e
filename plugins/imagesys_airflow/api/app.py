"""The web app: its routes, what every answer says to the browser, and what it says when something is wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from imagesys_airflow.api import pages
from imagesys_airflow.api.rendering import error_page
from imagesys_airflow.api.security import READS
from imagesys_lib.errors import ImageSysError, UsageError

STATIC = Path(__file__).with_name("static")

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
    )
)


def build_app() -> FastAPI:
    """Return the app. The files in ``static`` alone are public: dependencies of an app do not reach what is mounted."""
    app = FastAPI(title="ImageSys", dependencies=READS, docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_say_to_the_browser)
    app.exception_handler(HTTPException)(_refused)
    app.exception_handler(RequestValidationError)(_misspelt)
    app.exception_handler(ImageSysError)(_failed)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


async def _say_to_the_browser(request: Request, handle: Callable[[Request], Awaitable[Response]]) -> Response:
    answer = await handle(request)
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "same-origin"
    answer.headers.setdefault("Cache-Control", "max-age=300" if "etag" in answer.headers else "no-store")
    return answer


async def _refused(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    return error_page(request, status, str(getattr(error, "detail", error)))


async def _misspelt(request: Request, _error: Exception) -> Response:
    return error_page(request, 422, "The address asks for something that there is not.")


async def _failed(request: Request, error: Exception) -> Response:
    return error_page(request, 404 if isinstance(error, UsageError) else 503, str(error))
