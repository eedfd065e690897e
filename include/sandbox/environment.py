"""What a process finds of the sandbox: its countries.yaml, and its services as Airflow connections."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from imagesys_lib.config.reading import merge
from include.sandbox.photos.canary import canary_settings
from include.sandbox.services.mail import Mail
from include.sandbox.services.nodes import Nodes
from include.sandbox.settings import LOOPBACK, PROJECT, SandboxSettings, write_atomically

START = time(3)
"""When the schedule starts the run of the day before, local time."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast, and tests do this often
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_OVERRIDES: dict[str, Any] = {
    "start": f"{START:%H:%M}",
    "fetch": {
        "connect_timeout": 3,
        "read_timeout": 4,
        "image_deadline": 5,
        "pause_between_tries": 0.3,
        "allowed_addresses": ["127.0.0.0/8"],  # the sandbox's own web site
    },
    "transfer": {"connect_timeout": 5, "io_timeout": 60},
    "purge": {"grace_hours": 0},  # one run shows both phases of a purge
    "alerts": {"mail_to": ["ops@example.test"]},
}


def due_day(time_zone: str) -> date:
    """Return the last local day whose run is due: yesterday, or until `START` the day before."""
    now = datetime.now(ZoneInfo(time_zone))
    return now.date() - timedelta(days=1 if now.time() >= START else 2)


def config_path(settings: SandboxSettings) -> Path:
    return settings.base / "countries.yaml"


def write_config(
    settings: SandboxSettings,
    overrides: Mapping[str, Any] | None = None,
    countries: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write the sandbox's countries.yaml: defaults overridden for quick failures, then by `overrides`.

    uk has a canary. `countries` overrides single countries.
    """
    config = yaml.load((PROJECT / "include" / "countries.yaml").read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506
    own = {
        "staging": {"root": str(settings.base / "staging"), "min_free_mb": 64},
        "image_base_url": f"http://{LOOPBACK}:{settings.port('example')}/lis",
    }
    for layer in (_OVERRIDES, own, overrides or {}):
        config["defaults"] = merge(config["defaults"], layer)
    for layers in ({"uk": {"canary": canary_settings(settings)}}, countries or {}):
        for country, layer in layers.items():
            config["countries"][country] = merge(config["countries"][country], layer)
    path = config_path(settings)
    text = yaml.dump(config, Dumper=_DUMPER, sort_keys=False)
    if not (path.exists() and path.read_text(encoding="utf-8") == text):
        write_atomically(path, text)
    return path


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
