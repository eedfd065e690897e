"""A schema that an older version made becomes what the newest makes from nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row

from imagesys_lib.db.engine import write
from imagesys_lib.db.upgrade import head_version, upgrade
from tests.support.world import World

OLDEST = Path(__file__).with_name("schema_0_1_0.sql")


def an_empty_schema(world: World) -> Engine:
    world.sql("DROP SCHEMA IF EXISTS imagesys_de")
    world.sql("CREATE SCHEMA imagesys_de CHARACTER SET utf8mb4")
    return sa.create_engine(world.ctx.db.url.set(database="imagesys_de"), isolation_level="READ COMMITTED")


def made_by_0_1_0(connection: Connection) -> None:
    for statement in OLDEST.read_text().split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(statement.replace("%", "%%"))
    connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('0.1.0')")


def what_it_is(engine: Engine) -> tuple[list[Row[tuple[object, ...]]], ...]:
    """Return its columns and its indexes; places of columns and comments do not matter."""
    columns = (
        "SELECT table_name, column_name, column_type, is_nullable, column_default, collation_name,"
        " extra FROM information_schema.columns WHERE table_schema = 'imagesys_de' AND table_name LIKE 'lis%%'"
        " ORDER BY 1, 2"
    )
    indexes = (
        "SELECT table_name, index_name, seq_in_index, column_name, non_unique FROM information_schema.statistics"
        " WHERE table_schema = 'imagesys_de' AND table_name LIKE 'lis%%' ORDER BY 1, 2, 3"
    )
    with engine.connect() as connection:
        return tuple(list(connection.exec_driver_sql(query).all()) for query in (columns, indexes))


@pytest.mark.parametrize(
    "done",
    ["SELECT 1", "ALTER TABLE lis_batches ADD rechecks SMALLINT UNSIGNED NOT NULL DEFAULT 0"],
    ids=["whole", "killed"],
)
def test_a_schema_of_the_oldest_version_is_migrated_to_what_the_newest_makes(world: World, done: str) -> None:
    engine = an_empty_schema(world)
    upgrade(engine, "country")
    newest = what_it_is(engine)
    assert len(newest[0]) > 100
    engine.dispose()

    engine = an_empty_schema(world)
    write(engine, made_by_0_1_0)
    write(engine, lambda connection: connection.exec_driver_sql(done))
    assert upgrade(engine, "country") == ("0.1.0", head_version("country"))
    columns, indexes = what_it_is(engine)
    engine.dispose()
    assert (columns, indexes) == newest
