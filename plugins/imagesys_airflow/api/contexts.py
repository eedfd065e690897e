"""The countries' contexts that requests share: a page neither connects anew nor compiles its statements again."""

from __future__ import annotations

import threading
import time

from imagesys_airflow.connections import airflow_connection
from imagesys_lib.config import country_config
from imagesys_lib.context import Context

_SECONDS = 60
"""For so long a context is used: a changed connection holds from then on, changed settings at once."""

_lock = threading.Lock()
_open: dict[str, tuple[Context, float]] = {}


def context_of(country: str) -> Context:
    """Return a country's context with Airflow's connections. Raises UsageError for one that is not configured."""
    config = country_config(country)
    with _lock:
        old, since = _open.get(country, (None, 0.0))
        if old is not None and old.config is config and time.monotonic() - since < _SECONDS:
            return old
        ctx = Context(config, airflow_connection)
        _open[country] = ctx, time.monotonic()
    if old is not None:
        old.close()  # what is still at work with it keeps its connection until it is done
    return ctx
