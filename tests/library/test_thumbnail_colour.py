"""Colour profiles: what is sRGB is told by what its profile does, not by its name."""

from __future__ import annotations

import pytest
from PIL import Image

from imagesys_lib.thumbnail.colour import to_srgb
from imagesys_lib.thumbnail.pixels import as_pixels
from tests.library.images import linear_srgb_profile, quarters, srgb_profile

NAME = "sRGB".encode("utf-16-be")


@pytest.mark.parametrize("name", ["sRGB", "mine"])
def test_a_linear_profile_is_applied_whatever_it_is_called(name: str) -> None:
    profile = linear_srgb_profile().replace(NAME, name.encode("utf-16-be"))
    grey = as_pixels(Image.new("RGB", (16, 16), (55, 55, 55)))  # linear 0.216
    assert {abs(int(sample) - 128) <= 1 for sample in to_srgb(grey, profile).flat} == {True}


@pytest.mark.parametrize("name", ["sRGB", "mine"])
def test_pixels_that_are_srgb_are_not_touched(name: str) -> None:
    pixels = as_pixels(quarters(16, 16))
    assert to_srgb(pixels, srgb_profile().replace(NAME, name.encode("utf-16-be"))) is pixels
