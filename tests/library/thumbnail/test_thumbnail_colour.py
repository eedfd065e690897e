"""Colour profiles: what is sRGB is told by what its profile does, not by its name."""

from __future__ import annotations

import struct

import pytest
from PIL import Image

from imagesys_lib.thumbnail.decoding.colour import to_srgb
from imagesys_lib.thumbnail.pixels import as_pixels
from tests.support.images import linear_srgb_profile, quarters, srgb_profile, wide_gamut_profile

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


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (132 + 4, 1 << 20),  # where the first tag, a name, begins
        (132 + 4, (1 << 32) - 4),
        (132 + 8, 1 << 20),  # how long it is
        (132 + 8, 3),
        (128, 1 << 31),  # how many tags
        (128, 1000),
        (68, 0),  # its white
        (0, 140),  # how long it is itself
        (0, 1 << 20),
    ],
)
def test_a_profile_that_a_browser_refuses_for_its_header_is_not_applied(at: int, value: int) -> None:
    profile = bytearray(wide_gamut_profile())
    pixels = as_pixels(quarters(16, 16))
    assert to_srgb(pixels, bytes(profile)) is not pixels
    struct.pack_into(">I", profile, at, value)
    assert to_srgb(pixels, bytes(profile)) is pixels


@pytest.mark.parametrize("length", [1, 3, 100, 131, 132, 200])
def test_a_profile_that_is_cut_is_not_applied(length: int) -> None:
    pixels = as_pixels(quarters(16, 16))
    assert to_srgb(pixels, wide_gamut_profile()[:length]) is pixels
