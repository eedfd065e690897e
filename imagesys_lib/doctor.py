"""Doctor: is everything that an installation needs as it must be? Each check names its remedy."""

from __future__ import annotations

import json
import shutil
import smtplib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from imagesys_lib.config import CountryConfig, config_path, load_config
from imagesys_lib.connections import require
from imagesys_lib.context import Context, open_context
from imagesys_lib.db.engine import probe, read
from imagesys_lib.db.upgrade import require_current
from imagesys_lib.errors import ConfigError, EnvironmentFault, ImageSysError
from imagesys_lib.nodes import NodeSession

POOLS = ("imagesys_download", "imagesys_thumbnail")
_PROGRAMS = ("ssh", "rsync")


@dataclass(frozen=True)
class Finding:
    """The result of one check; ``detail`` says what was found and, if not ``ok``, what to do."""

    check: str
    ok: bool
    detail: str


def examine(country: str | None = None) -> Iterator[Finding]:
    """Check everything, for one country or all, and yield each result as it comes. Changes nothing."""
    try:
        countries = load_config()
    except ConfigError as error:
        yield Finding("configuration", False, str(error))
        return
    yield Finding("configuration", True, f"{config_path()}: {len(countries)} countries")
    yield from (_program(name) for name in _PROGRAMS)
    chosen = {country: open_context(country).config} if country else countries
    first = open_context(next(iter(chosen)))
    yield _try("imagesys_shared", lambda: _schema(first, "shared"))
    yield _try("mail", lambda: _mail(first))
    yield _try("pools", _pools)
    for config in chosen.values():
        yield from _country(config)
    seen: set[str] = set()
    for name, config in ((n, c) for c in chosen.values() for n in c.nodes):
        if name not in seen:
            seen.add(name)
            yield _try(f"node {name}", lambda name=name, config=config: _node(config, name))  # type: ignore[misc]


def _try(check: str, work: Callable[[], str]) -> Finding:
    try:
        return Finding(check, True, work())
    except ImageSysError as error:
        return Finding(check, False, str(error))


def _program(name: str) -> Finding:
    path = shutil.which(name)
    return Finding(name, bool(path), path or f"{name} is not installed. Remedy: apt-get install {name}.")


def _country(config: CountryConfig) -> Iterator[Finding]:
    ctx = open_context(config.country)
    yield _try(f"{config.country} database", lambda: _schema(ctx, "country"))
    yield _try(f"{config.country} ETL", lambda: _etl(ctx))
    yield _try(f"{config.country} staging", lambda: _staging(ctx))
    ctx.close()


def _schema(ctx: Context, kind: str) -> str:
    engine = ctx.db if kind == "country" else ctx.shared
    probe(engine)
    version = require_current(engine, kind)
    server = read(engine, sa.select(sa.func.version()))[0][0]
    return f"{engine.url.database} at version {version}, server {server}"


def _etl(ctx: Context) -> str:
    table = ctx.config.etl
    probe(ctx.etl.engine)
    name = table.table if "." in table.table else f"{ctx.etl.engine.url.database}.{table.table}"
    inspector = sa.inspect(ctx.etl.engine)
    schema, _, bare = table.table.rpartition(".")
    if not inspector.has_table(bare, schema or None):
        raise EnvironmentFault(f"There is no ETL table {name}.", remedy="correct etl.table in the configuration.")
    columns = {column["name"] for column in inspector.get_columns(bare, schema or None)}
    needed = {table.listing_id, table.datasource_id, table.photo_urls, table.updated_at}
    if needed - columns:
        raise EnvironmentFault(
            f"ETL table {name} has no column {', '.join(sorted(needed - columns))}.",
            remedy="correct the etl columns in the configuration.",
        )
    leading = [index["column_names"][0] for index in inspector.get_indexes(bare, schema or None)]
    if table.updated_at not in leading:
        raise EnvironmentFault(
            f"ETL table {name} has no index that begins with {table.updated_at}: every run would scan it.",
            remedy=f"ask for an index on ({table.updated_at}, {table.listing_id}).",
        )
    return f"{name} with its columns and an index on {table.updated_at}"


def _staging(ctx: Context) -> str:
    ctx.staging.require_space()
    return f"{ctx.staging.settings.root}: {ctx.staging.free_bytes() >> 20} MB free"


def _node(config: CountryConfig, name: str) -> str:
    ctx = open_context(config.country)
    node = ctx.node(name)
    with NodeSession(node) as session:
        space = session.prepare()
    return f"{node.login}@{node.host}:{node.port}, {node.root}: {space.free_bytes >> 20} MB free, host key verified"


def _mail(ctx: Context) -> str:
    connection = require(ctx.resolver, "smtp_default")
    port = connection.port or 25
    try:
        with smtplib.SMTP(connection.host, port, timeout=10) as server:
            code, _ = server.noop()
    except (OSError, smtplib.SMTPException) as error:
        raise EnvironmentFault(
            f"Mail server {connection.host}:{port} does not answer: {error}.",
            remedy="correct the connection smtp_default, or start the server; no alert can be mailed until then.",
        ) from None
    return f"{connection.host}:{port} answers ({code}) as seen from {socket.gethostname()}"


def _pools() -> str:
    airflow = Path(sys.executable).with_name("airflow")
    if not airflow.exists():
        return "not checked: Airflow is not installed beside this command"
    done = subprocess.run(
        [str(airflow), "pools", "list", "--output", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    start = done.stdout.find("[")
    if done.returncode or start < 0:
        raise EnvironmentFault(
            f"`airflow pools list` failed: {done.stderr.strip()[-300:]}.",
            remedy="set AIRFLOW_HOME as the scheduler has it.",
        )
    there = {row["pool"]: row["slots"] for row in json.loads(done.stdout[start:])}
    missing = [pool for pool in POOLS if pool not in there]
    if missing:
        raise EnvironmentFault(
            f"Pools {', '.join(missing)} do not exist: their tasks would stay scheduled for ever.",
            remedy="run `airflow pools set NAME SLOTS DESCRIPTION` for each.",
        )
    return ", ".join(f"{pool} ({there[pool]} slots)" for pool in POOLS)
