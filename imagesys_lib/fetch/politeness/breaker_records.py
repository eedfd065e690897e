"""Circuit breakers in the database: ``lis_hosts`` keeps those of hosts, ``lis_datasources`` those of data sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.mysql import insert

from imagesys_lib.db.engine import Row, chunks, from_now, read, seconds_until
from imagesys_lib.fetch.politeness.circuit_breaker import Circuit


def load_circuits(db: Engine, table: sa.Table, keys: Iterable[Any]) -> dict[Any, Circuit]:
    """Return the circuits of those ``keys`` of which anything is remembered."""
    (key,) = table.primary_key
    pages = (read(db, _select(table).where(key.in_(piece))) for piece in chunks(sorted(set(keys))))
    return {row[0]: _circuit(row) for page in pages for row in page}


def change_circuit(
    connection: Connection, table: sa.Table, of: object, decide: Callable[[Circuit], Circuit], **values: object
) -> tuple[Circuit, Circuit]:
    """Change one circuit as ``decide`` says, with other ``values`` of its row; returns it before and after.

    Its row is locked until the transaction ends, and made if there is none.
    """
    (key,) = table.primary_key
    connection.execute(insert(table).values({key.name: of}).on_duplicate_key_update({key.name: key}))
    before = _circuit(connection.execute(_select(table).where(key == of).with_for_update()).one())
    after = decide(before)
    values |= {"attempts": after.attempts, "failures": after.failures, "openings": after.openings}
    if after.wait != before.wait:
        values["not_before"] = from_now(round(after.wait))
    if after.age != before.age:
        values["window_at"] = None if after.age is None else from_now(-round(after.age))
    connection.execute(sa.update(table).where(key == of).values(values))
    return before, after


def _select(table: sa.Table) -> sa.Select[Any]:
    (key,), c = table.primary_key, table.c
    wait, began = seconds_until(c.not_before).label("wait"), seconds_until(c.window_at).label("began")
    return sa.select(key, c.attempts, c.failures, c.openings, wait, began)


def _circuit(row: Row) -> Circuit:
    wait = max(0.0, float(row.wait or 0))
    return Circuit(row.attempts, row.failures, row.openings, wait, None if row.began is None else -float(row.began))
