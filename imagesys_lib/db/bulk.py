"""Values of many rows in one statement: an UPDATE for each row costs both sides ten times as much."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

__all__ = ["Kinds", "given"]

Kinds = Mapping[str, type[int] | type[str]]
"""What each column holds."""

_TYPES: Mapping[type, tuple[str, sa.types.TypeEngine[Any]]] = {
    int: ("BIGINT", sa.BigInteger()),
    # Not VARCHAR: what is too long would be NULL here, and is an error when it is assigned.
    str: ("LONGTEXT", sa.Text()),
}


def given(rows: Sequence[Mapping[str, Any]], columns: Kinds) -> sa.Subquery:
    """Return ``rows`` as a table to join, by ``JSON_TABLE`` (MySQL 8, MariaDB 10.6).

    None is NULL. Join it by a number: its texts have the connection's collation, which no index has. The rows are one
    bound parameter, so that any number is the same statement.
    """
    kinds = ", ".join(f"{name} {_TYPES[kind][0]} PATH '$.{name}' ERROR ON ERROR" for name, kind in columns.items())
    # A null of JSON need not be one of SQL; what is not there is.
    document = [{name: row[name] for name in columns if row[name] is not None} for row in rows]
    return (
        sa.text(f"SELECT * FROM JSON_TABLE(:given_rows, '$[*]' COLUMNS ({kinds})) AS given_table")  # noqa: S608
        .bindparams(given_rows=json.dumps(document))
        .columns(**{name: _TYPES[kind][1] for name, kind in columns.items()})
        .subquery("given")
    )
