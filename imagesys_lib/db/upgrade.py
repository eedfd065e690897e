"""Bring a schema to the newest version: an empty one is made whole from ``schema.py``, an older one is migrated.

Alembic's migrations count from 0.1.0. All under a lock, so that two callers never race.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from imagesys_lib.db.engine import write
from imagesys_lib.db.locks import named_lock
from imagesys_lib.db.schema import country_metadata, shared_metadata
from imagesys_lib.errors import EnvironmentFault

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

# Alembic is imported where it is used: it takes a third of a second, and most commands need none of it.
_MIGRATIONS = Path(__file__).parent / "migrations"


def _config(kind: str) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS / kind))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(engine: Engine, kind: str) -> tuple[str | None, str | None]:
    """Migrate one schema; ``kind`` is ``country`` or ``shared``. Returns the versions before and after.

    Raises EnvironmentFault where the schema's version is one that this code does not know.
    """
    from alembic import command

    config = _config(kind)
    metadata = country_metadata if kind == "country" else shared_metadata

    def migrate(connection: Connection) -> None:
        config.attributes["connection"] = connection
        if before is None:
            metadata.create_all(connection)  # also what a call that was killed had not made yet
            command.stamp(config, "head")
        else:
            command.upgrade(config, "head")

    with named_lock(engine, f"imagesys.migrate.{engine.url.database}", timeout=120):
        before = current_version(engine)
        _require_known(engine, kind, before)
        write(engine, migrate, patience=0)
    return before, current_version(engine)


def _require_known(engine: Engine, kind: str, version: str | None) -> None:
    known = {script.revision for script in _scripts(kind).walk_revisions()}
    if version is not None and version not in known:
        raise EnvironmentFault(
            f"Schema {engine.url.database} on {engine.url.host} is at version {version}, "
            "which this code does not know.",
            remedy="if a newer ImageSys made it, install that; if one from before 0.1.0 did, "
            "start with an empty schema (in a demo: `make down`, and delete `.local/`).",
        )


def _scripts(kind: str) -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config(kind))


def current_version(engine: Engine) -> str | None:
    """Return the schema's version; None where nothing was made yet."""
    from alembic.runtime.migration import MigrationContext

    return write(engine, lambda connection: MigrationContext.configure(connection).get_current_revision())


def head_version(kind: str) -> str | None:
    """Return the newest version this code knows."""
    return _scripts(kind).get_current_head()


def require_current(engine: Engine, kind: str) -> str | None:
    """Return the schema's version. Raises EnvironmentFault where it is not the newest that this code knows."""
    version, head = current_version(engine), head_version(kind)
    _require_known(engine, kind, version)
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
