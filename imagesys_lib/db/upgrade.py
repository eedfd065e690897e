"""Migrations: bring a schema to the newest version with Alembic, under a lock, so that two callers never race."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from imagesys_lib.db.engine import Session, named_lock, write
from imagesys_lib.errors import EnvironmentFault

_MIGRATIONS = Path(__file__).parent / "migrations"


def _config(kind: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS / kind))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(engine: Engine, kind: str) -> tuple[str | None, str | None]:
    """Migrate one schema; ``kind`` is ``country`` or ``shared``. Returns the versions before and after."""
    before = current_version(engine)
    config = _config(kind)

    def migrate(session: Session) -> None:
        config.attributes["connection"] = session
        command.upgrade(config, "head")

    with named_lock(engine, f"imagesys.migrate.{engine.url.database}", timeout=120):
        write(engine, migrate, patience=0)
    return before, current_version(engine)


def current_version(engine: Engine) -> str | None:
    """Return the schema's version; None where nothing was made yet."""
    return write(engine, lambda session: MigrationContext.configure(session).get_current_revision())


def head_version(kind: str) -> str | None:
    """Return the newest version this code knows."""
    return ScriptDirectory.from_config(_config(kind)).get_current_head()


def require_current(engine: Engine, kind: str) -> str | None:
    """Return the schema's version. Raises EnvironmentFault where it is not the newest that this code knows."""
    version, head = current_version(engine), head_version(kind)
    if version != head:
        raise EnvironmentFault(
            f"Schema {engine.url.database} on {engine.url.host} is at version {version or 'none'}, this code needs "
            f"{head}.",
            remedy="run `imagesys db upgrade`.",
        )
    return version


def tables(engine: Engine) -> set[str]:
    """Return the names of the schema's tables."""
    return set(sa.inspect(engine).get_table_names())
