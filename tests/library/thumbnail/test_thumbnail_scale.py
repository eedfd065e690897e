"""Scaling: as Pillow does it, whatever does it on this machine."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from imagesys_lib.thumbnail import scale
from imagesys_lib.thumbnail.pixels import as_image, as_pixels
from imagesys_lib.thumbnail.scale import scaled

CASES = [  # source, target, box
    ((300, 225), (160, 120), (0.0, 0.0, 299.5, 224.25)),
    ((640, 480), (60, 60), (80.0, 0.0, 560.0, 480.0)),
    ((50, 40), (60, 60), (5.0, 0.0, 45.0, 40.0)),
    ((160, 120), (160, 120), (0.0, 0.0, 160.0, 120.0)),
    ((3000, 33), (160, 2), (0.0, 0.0, 3000.0, 33.0)),
    ((1, 1), (60, 60), (0.0, 0.0, 1.0, 1.0)),
]


@pytest.fixture(params=["simd", "pillow"])
def way(request, monkeypatch):
    if request.param == "simd" and scale.simd is None:
        pytest.skip("no wheel of cykooz.resizer for this machine")
    if request.param == "pillow":
        monkeypatch.setattr(scale, "simd", None)
    return request.param


def waves(size: tuple[int, int], channels: int) -> np.ndarray:
    """A smooth picture, so that what is beyond a box looks like what is within."""
    x, y = np.arange(size[0]) / 40, np.arange(size[1])[:, None] / 30
    return np.stack([127 + 120 * np.sin(x + c) * np.cos(y + c) for c in range(channels)], 2).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("size", "target", "box"), CASES)
def test_it_is_lanczos_over_the_box(way, size, target, box, channels):
    pixels = waves(size, channels)
    made = scaled(pixels, target, box)
    assert made.shape == (target[1], target[0], channels)
    assert made.dtype == np.uint8
    wanted = as_pixels(as_image(pixels).resize(target, Image.Resampling.LANCZOS, box=box))
    assert np.abs(made.astype(int) - wanted).max() <= 3


def test_the_fourth_channel_is_no_alpha(way):
    pixels = np.full((40, 40, 4), 200, np.uint8)
    pixels[:, 20:, 3] = 0
    assert (scaled(pixels, (20, 20), (0.0, 0.0, 40.0, 40.0))[:, :, :3] == 200).all()


def test_a_box_that_ends_a_last_digit_beyond_the_picture_ends_with_it(way):
    made = scaled(waves((100, 75), 3), (50, 37), (0.0, 0.0, 100.0, np.nextafter(75.0, 76.0)))
    assert made.shape == (37, 50, 3)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_pixels_and_images_are_the_same_thing(mode):
    image = Image.merge(mode, [Image.effect_noise((31, 17), 60) for _ in Image.new(mode, (1, 1)).getbands()])
    pixels = as_pixels(image)
    assert pixels.shape == (17, 31, len(image.getbands()))
    assert as_image(pixels).tobytes() == image.tobytes()
    assert as_image(pixels).mode == mode
