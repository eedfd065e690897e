"""Parts of the tree: any seven days see every folder once, and both sides mean the same files by a part."""

from __future__ import annotations

import datetime as dt

import pytest

from imagesys_lib.stages.check.parts import WHOLE, Folder, Part, named, of_day, of_range

MONDAY = dt.date(2026, 3, 30)


def holds(part: Part, digits: str) -> bool:
    """Whether a part's folders and its ranges of hashes hold what begins with these two digits: they must agree."""
    h = digits.ljust(40, "7")
    path = f"{digits[0]}/{digits[1]}/7/"
    by_path = [f"{folder.path}/" == path[: len(folder.path) + 1] or not folder.path for folder in part.folders]
    by_hash = [folder.low < h and (not folder.high or h < folder.high) for folder in part.folders]
    assert by_path == by_hash
    assert sum(by_path) <= 1
    return any(by_path)


ALL = [f"{number:02x}" for number in range(256)]


@pytest.mark.parametrize("first", [MONDAY, MONDAY + dt.timedelta(days=3)])
def test_seven_days_see_every_folder_once_and_each_about_a_seventh(first: dt.date) -> None:
    week = [of_day(first + dt.timedelta(days=number)) for number in range(7)]
    assert of_day(first) == of_day(first + dt.timedelta(days=7)) == week[0]
    for digits in ALL:
        assert sum(holds(part, digits) for part in week) == 1
    assert {sum(holds(part, digits) for digits in ALL) for part in week} == {32, 48}
    assert {len(part.folders) for part in week} == {2, 3}


def test_folders_come_in_byte_order_and_whole_ones_are_not_cut() -> None:
    part = of_range(0x0E, 0x31)
    assert [folder.path for folder in part.folders] == ["0/e", "0/f", "1", "2", "3/0", "3/1"]
    assert part.folders[2] == Folder("1", "1", "2")
    assert of_range(0xF0, 0xFF).folders == (Folder("f", "f", ""),)
    assert part.name == "0e-31"


@pytest.mark.parametrize(
    ("text", "name"),
    [("a", "a0-af"), ("A0", "a0-a0"), ("a/0", "a0-a0"), ("24-48", "24-48"), ("0-f", "all"), ("all", "all")],
)
def test_a_part_is_named_by_its_first_digits(text: str, name: str) -> None:
    part = named(text)
    assert part.name == name
    assert (part == WHOLE) == (name == "all")
    assert named(part.name) == part


@pytest.mark.parametrize("text", ["", "g", "a0b", "48-24", "../a", "a/../b", "-"])
def test_anything_else_is_no_part(text: str) -> None:
    with pytest.raises(ValueError, match="no"):
        named(text)


def test_how_far_a_check_is_shows_in_the_hash_it_has_reached() -> None:
    assert WHOLE.share("8" + "0" * 39) == 0.5
    assert of_range(0x80, 0xFF).share("c" + "0" * 39) == 0.5
    assert 0 < WHOLE.share("0" * 40) < WHOLE.share("f" * 40) <= 1
