"""A table is the same in HTML, CSV and JSON, and no value in it is taken for anything else."""

from __future__ import annotations

import csv
import datetime as dt
import io

import pytest

from imagesys_lib.dashboard import words
from imagesys_lib.dashboard.tables import Cell, Column, Kind, Table, by_name, written

NOON = dt.datetime(2026, 3, 1, 12)  # noqa: DTZ001 - as the database keeps instants
COLUMNS = (Column("name", "Name"), Column("images", "Images", Kind.NUMBER), Column("at", "At", Kind.TIME))


def table(*rows: tuple) -> Table:
    return Table("things", "Things", COLUMNS, rows)


def test_json_has_the_values_and_not_how_they_are_shown() -> None:
    made = table((Cell("n1", "the first", "dags/x"), 1234567, NOON), ("n2", None, None))
    assert made.as_json() == [
        {"name": "n1", "images": 1234567, "at": "2026-03-01T12:00:00Z"},
        {"name": "n2", "images": None, "at": None},
    ]


def test_csv_has_the_same_rows_under_the_columns_keys() -> None:
    found = list(csv.reader(io.StringIO(table(('a "quoted", one\nof two lines', 3, NOON)).as_csv())))
    assert found == [["name", "images", "at"], ['a "quoted", one\nof two lines', "3", "2026-03-01T12:00:00Z"]]


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_spreadsheet_takes_a_strangers_words_for_a_formula(formula: str) -> None:
    rows = list(csv.reader(io.StringIO(table((formula, -5, None)).as_csv(), newline="")))
    assert rows[1] == [f"'{formula}", "-5", ""]


def test_a_cell_of_parts_is_their_texts() -> None:
    assert table((Cell(parts=(Cell("n1", "n1 well"), Cell("n2"))), 0, None)).as_json()[0]["name"] == "n1 well; n2"


def test_a_row_that_lacks_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="things has not 3 values"):
        table(("n1", 2))


def test_tables_are_found_by_name_and_the_first_by_none() -> None:
    one, two = table(), Table("others", "Others", COLUMNS, ())
    assert by_name([one, two], "others") is two
    assert by_name([one, two], "") is one
    assert by_name([one, two], "none") is None


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (1234567, Kind.NUMBER, "1,234,567"),
        (3.14159, Kind.NUMBER, "3.1"),
        (1_234_000_000, Kind.BYTES, "1.2 GB"),
        (999, Kind.BYTES, "999 B"),
        (0.1234, Kind.SHARE, "12.3 %"),
        (4.25, Kind.SECONDS, "4.2 s"),
        (185, Kind.SECONDS, "3 min 05 s"),
        (25_920, Kind.SECONDS, "7 h 12 min"),
        (273_600, Kind.SECONDS, "3 d 4 h"),
        (NOON, Kind.TIME, "2026-03-01 12:00"),
        (None, Kind.NUMBER, "–"),
        (7, Kind.TEXT, "7"),
    ],
)
def test_values_are_written_as_people_read_them(value: object, kind: Kind, text: str) -> None:
    assert written(value, kind) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(20, "just now"), (300, "5 min ago"), (7200, "2 h ago"), (100_000, "28 h ago"), (259_200, "3 d ago")],
)
def test_ages_are_told_by_their_largest_unit(seconds: float, text: str) -> None:
    assert words.ago(seconds) == text
