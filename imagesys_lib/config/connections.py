"""Connections: Airflow's ``AIRFLOW_CONN_*`` variables, read without Airflow: all that commands and Interface see.

Tasks get theirs from Airflow, its database and secrets backend too, as the same :class:`Connection`; see ``plugins/``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from imagesys_lib.errors import ConnectionMissing, EnvironmentFault


@dataclass(frozen=True)
class Connection:
    """One connection. The password and the extras stay out of ``repr`` and so out of logs."""

    conn_id: str
    host: str
    port: int | None = None
    login: str = ""
    password: str = field(default="", repr=False)
    schema: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


POOLS = DOWNLOAD_POOL, THUMBNAIL_POOL = "imagesys_download", "imagesys_thumbnail"
"""Airflow's pools, whose slots say how many batches are worked on at once."""

AIRFLOW_API = "imagesys_airflow_api"
"""An optional connection (type http): host, port, scheme, and a user who may edit DAG runs, so that runs get notes."""

AIRFLOW_API_PORT = 8080
"""Where the connection names none."""

Resolver = Callable[[str], Connection | None]
"""Looks a connection up by its id; None where there is none."""


def environment_connection(conn_id: str) -> Connection | None:
    """Return a connection from the variable ``AIRFLOW_CONN_<ID>``, in JSON or URI form."""
    text = os.environ.get(f"AIRFLOW_CONN_{conn_id.upper()}")
    return parse_connection(conn_id, text) if text else None


def parse_connection(conn_id: str, text: str) -> Connection:
    """Read one connection. Raises EnvironmentFault without repeating the text, which holds a password."""
    try:
        if text.lstrip().startswith("{"):
            return _from_json(conn_id, json.loads(text))
        return _from_uri(conn_id, text)
    except (ValueError, TypeError, AttributeError):
        raise EnvironmentFault(
            f"Connection {conn_id!r} (AIRFLOW_CONN_{conn_id.upper()}) cannot be read.",
            remedy='write it as JSON: {"conn_type": ..., "host": ..., "login": ..., "password": ...}.',
        ) from None


def _from_json(conn_id: str, raw: Mapping[str, Any]) -> Connection:
    extra = raw.get("extra") or {}
    return Connection(
        conn_id=conn_id,
        host=raw.get("host") or "",
        port=int(raw["port"]) if raw.get("port") else None,
        login=raw.get("login") or "",
        password=raw.get("password") or "",
        schema=raw.get("schema") or "",
        extra=dict((json.loads(extra) if isinstance(extra, str) else extra) or {}),
    )


def _from_uri(conn_id: str, text: str) -> Connection:
    parts = urlsplit(text)
    query = dict(parse_qsl(parts.query))
    packed = query.pop("__extra__", "")
    return Connection(
        conn_id=conn_id,
        host=unquote(parts.hostname or ""),
        port=parts.port,
        login=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        schema=unquote(parts.path.lstrip("/")),
        extra={**query, **(json.loads(packed) if packed else {})},
    )


def require(resolver: Resolver, *conn_ids: str) -> Connection:
    """Return the first of ``conn_ids`` that exists. Raises ConnectionMissing naming them and the way out."""
    for conn_id in conn_ids:
        found = resolver(conn_id)
        if found is not None:
            return found
    names = " or ".join(repr(conn_id) for conn_id in conn_ids)
    raise ConnectionMissing(
        f"Connection {names} does not exist.",
        remedy=f"set AIRFLOW_CONN_{conn_ids[-1].upper()}, or, for tasks alone, add it in Airflow (Admin, Connections): "
        "commands do not see connections that are only in Airflow's database or secrets backend.",
    )
