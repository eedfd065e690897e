"""ThumbHash: what other implementations of the format make of the same pixels."""

from __future__ import annotations

import numpy as np
import pytest

from imagesys_lib.thumbnail.pixels import Pixels
from imagesys_lib.thumbnail.thumbhash import thumbhash


def stripes(width: int, height: int) -> Pixels:
    """Curved stripes: of even ones some cosines are zero but for rounding."""
    y, x = np.mgrid[0:height, 0:width]
    return np.dstack([(x * x // 9 + 3 * y) % 256, x * y // 5 % 256, (7 * x + y * y // 7) % 256]).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((80, 60), "9d270615862222983075b773885687963130f3cbd4"),
        ((60, 80), "9d37061d08436330742b875a788567795430f39c94"),
        ((60, 60), "9c37061f06229277409669838856687779782704559f3a0d"),
        ((100, 30), "5b27061a88205283618756990061c3f6d6"),
    ],
)
def test_it_is_the_one_of_the_python_package_thumbhash(size, expected):
    assert thumbhash(stripes(*size)).hex() == expected


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (2, 3), (640, 480), (100, 100)])
def test_any_size_has_a_short_one(size):
    assert 15 <= len(thumbhash(stripes(*size))) <= 26


def test_a_large_picture_has_that_of_a_small_one_but_for_rounding():
    small, large = (np.kron(stripes(40, 30), np.ones((n, n, 1), np.uint8)) for n in (2, 16))
    levels = [[*(data >> 4 for data in one), *(data & 15 for data in one)] for one in map(thumbhash, (small, large))]
    assert max(abs(a - b) for a, b in zip(*levels, strict=True)) <= 1
