"""The benchmark of tables by size: what it says of a size that it has not measured."""

from __future__ import annotations

import pytest

from benchmarks.ops_scale.__main__ import COUNTRY_IMAGES, extended


def test_a_line_that_rises_is_followed_and_one_that_falls_promises_nothing() -> None:
    rising = [(100_000, 1.0), (300_000, 1.2), (1_000_000, 1.9)]
    assert extended(rising) == pytest.approx(0.9 + COUNTRY_IMAGES / 1_000_000)
    assert extended([(100_000, 0.86), (300_000, 0.78), (1_000_000, 0.75)]) == 0.86
    assert extended([(100_000, 0.78), (300_000, 0.86), (1_000_000, 0.78)]) == 0.86
