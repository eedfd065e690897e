"""The sandbox as Airflow connections: what a scheduler, a task or the library needs to find its services."""

from __future__ import annotations

import json
from typing import Any

from include.sandbox.config import config_path, write_config
from include.sandbox.services.mail import Mail
from include.sandbox.services.nodes import Nodes
from include.sandbox.settings import LOOPBACK, SandboxSettings


def environment(settings: SandboxSettings) -> dict[str, str]:
    """AIRFLOW_CONN_* in JSON form (in a URI the text 'false' would count as true). Makes keys and passwords
    where missing. IMAGESYS_CONFIG names the sandbox's own countries.yaml.
    """
    connections: dict[str, dict[str, Any]] = {
        "IMAGESYS_DB": _mysql(settings, "imagesys", ""),
        "IMAGESYS_SHARED": _mysql(settings, "imagesys", "imagesys_shared"),
        "ETL": _mysql(settings, "etl_reader", "etl"),
        "SMTP_DEFAULT": {
            "conn_type": "smtp",
            "host": LOOPBACK,
            "port": Mail(settings).port,
            "extra": {
                "disable_tls": True,
                "disable_ssl": True,
                "from_email": "imagesys@example.test",
                "timeout": 10,
            },
        },
    }
    for node in Nodes(settings).all():
        connections[node.name.upper()] = {
            "conn_type": "ssh",
            "host": LOOPBACK,
            "port": node.port,
            "login": node.user,
            "extra": {
                "key_file": str(node.client_key),
                "host_key": node.host_key,
                "no_host_key_check": "false",
                "cmd_timeout": "600",
                "root": str(node.root),
            },
        }
    if not config_path(settings).exists():
        write_config(settings)
    return {
        **{f"AIRFLOW_CONN_{name}": json.dumps(connection) for name, connection in connections.items()},
        "IMAGESYS_CONFIG": str(config_path(settings)),
        "IMAGESYS_LOGS": str(settings.log_dir / "imagesys"),
    }


def _mysql(settings: SandboxSettings, user: str, schema: str) -> dict[str, Any]:
    return {
        "conn_type": "mysql",
        "host": LOOPBACK,
        "port": settings.port("mariadb"),
        "login": user,
        "password": settings.secret(f"mariadb-{user}"),
        "schema": schema,
    }
