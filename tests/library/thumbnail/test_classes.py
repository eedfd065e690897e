"""Photos are told from graphics and blanks, on pictures that the weights are not from."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from benchmarks.classes.__main__ import opened
from benchmarks.classes.measure import Told, pictures, told
from imagesys_lib.config.classes import KINDS
from imagesys_lib.thumbnail import messages
from imagesys_lib.thumbnail.classes import class_of
from include.sandbox.photos.originals import fetch_originals
from include.sandbox.settings import DEFAULT_CACHE


def held_out(each: int) -> Told:
    photographs = opened(original.file(DEFAULT_CACHE) for original in fetch_originals(DEFAULT_CACHE))
    return told(picture for picture in pictures(photographs, {}, each) if picture.held_out)


def test_photos_are_told_from_the_rest() -> None:
    result = held_out(4)
    assert result.precision >= 0.95
    assert result.recall >= 0.95
    assert result.right["blank"] == 1
    assert result.right["floor plan"] == 1


@pytest.mark.long
def test_photos_are_told_from_the_rest_on_many_pictures() -> None:
    result = held_out(60)
    assert result.precision >= 0.95
    assert result.recall >= 0.95


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 60, 1), (60, 7, 3), (2, 300, 3), (900, 700, 1), (8, 8, 3)])
def test_pictures_of_any_shape_have_a_class(shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    assert class_of(noise) in ("photo", "graphic", "blank")
    for level in (0, 200, 255):
        assert class_of(np.full(shape, level, np.uint8)) == "blank"


def test_decoding_processes_know_the_kinds_that_the_configuration_knows() -> None:
    assert get_args(messages.Kind) == KINDS
