"""One table of the dashboard: shown as HTML by the web app, given as CSV and JSON from here."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from imagesys_lib.dashboard import words

Value: TypeAlias = str | int | float | dt.datetime | dt.date | None


class Kind(str, Enum):
    """What a column's values are, which says how they are written and aligned."""

    TEXT = "text"
    CODE = "code"
    NUMBER = "number"
    BYTES = "bytes"
    SECONDS = "seconds"
    SHARE = "share"  # 0 to 1
    TIME = "time"  # naive UTC
    STRIP = "strip"  # parts drawn as one small mark each
    SPAN = "span"  # drawn from where to where of the whole it lies


class Tone(str, Enum):
    """How good something is. A colour, and always a word beside it."""

    NONE = ""
    GOOD = "good"
    BUSY = "busy"
    WARN = "warn"
    BAD = "bad"


_NUMERIC = frozenset({Kind.NUMBER, Kind.BYTES, Kind.SECONDS, Kind.SHARE})


@dataclass(frozen=True)
class Column:
    """A column: ``key`` is its name in CSV and JSON, ``label`` what people read; ``wide`` ones hold sentences."""

    key: str
    label: str
    kind: Kind = Kind.TEXT
    help: str = ""
    wide: bool = False

    @property
    def numeric(self) -> bool:
        """Whether its values are aligned as numbers are."""
        return self.kind in _NUMERIC


@dataclass(frozen=True)
class Cell:
    """A value, or ``parts`` that have one each. ``text`` is shown in the place of the value as its column writes it.

    ``link`` is an address below the dashboard's root, or, with ``airflow``, below Airflow's own. ``span`` says which
    part of a whole (0 to 1) it takes.
    """

    value: Value = None
    text: str = ""
    link: str = ""
    airflow: bool = False
    tone: Tone = Tone.NONE
    title: str = ""
    parts: tuple[Cell, ...] = ()
    span: tuple[float, float] = (0.0, 0.0)

    def shown(self, kind: Kind) -> str:
        """Return what people read; a dash where there is no value."""
        return self.text or written(self.value, kind)

    def plain(self) -> Value:
        """Return what a machine reads: the value, where there is none the texts of the parts."""
        if self.parts and self.value is None:
            return "; ".join(part.text or str(part.plain() or "") for part in self.parts)
        return self.value


Entry: TypeAlias = Cell | Value


@dataclass(frozen=True)
class Table:
    """Rows of cells, or of plain values, in the order of ``columns``; ``empty`` is what to say where there is none.

    A page shows the first ``most`` of them; CSV and JSON have all.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Entry, ...], ...]
    empty: str = "None."
    note: str = ""
    most: int = 100

    def __post_init__(self) -> None:
        """Refuse a row that has not a value for each column."""
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"a row of table {self.name} has not {len(self.columns)} values")

    def cells(self) -> tuple[tuple[tuple[Column, Cell], ...], ...]:
        """Return the rows as pairs of column and cell."""
        return tuple(
            tuple((column, as_cell(entry)) for column, entry in zip(self.columns, row, strict=True))
            for row in self.rows
        )

    def as_json(self) -> list[dict[str, Any]]:
        """Return a mapping by column for each row; instants and days are ISO 8601 texts."""
        return [{column.key: machine_value(cell.plain()) for column, cell in row} for row in self.cells()]

    def as_csv(self) -> str:
        """Return it as RFC 4180 has it, with a head. A quote precedes what a spreadsheet would take for a formula."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow([column.key for column in self.columns])
        for row in self.as_json():
            writer.writerow([_no_formula(value) for value in row.values()])
        return out.getvalue()


def as_cell(entry: Entry) -> Cell:
    """Return a cell of a plain value."""
    return entry if isinstance(entry, Cell) else Cell(entry)


def machine_value(value: Value) -> str | int | float | None:
    """Return a value as JSON has it."""
    if isinstance(value, dt.datetime):
        return f"{value.isoformat()}Z"
    return value.isoformat() if isinstance(value, dt.date) else value


def written(value: Value, kind: Kind) -> str:
    """Return a value as people read it."""
    if value is None:
        return "" if kind in {Kind.TEXT, Kind.CODE} else "–"
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, str | dt.date) or kind in {Kind.TEXT, Kind.CODE}:
        return str(value)
    return _WRITERS.get(kind, words.number)(value)


_WRITERS = {Kind.BYTES: words.size, Kind.SECONDS: words.duration, Kind.SHARE: words.share}


def _no_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def by_name(tables: Sequence[Table], name: str) -> Table | None:
    """Return the table of that name; the first one for no name, None where there is none."""
    return next((table for table in tables if name in ("", table.name)), None)
