"""Encoders: lean takes fewer bytes for what looks the same, siblings are what they say, and nothing else is written."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image, ImageFilter, features

from imagesys_lib.thumbnail.encode import between, encoded, encoded_sibling


def scene(width: int = 160, height: int = 120) -> Image.Image:
    """Something like a photo: soft colours, edges, a little noise."""
    rng = random.Random(7)
    picture = Image.new("RGB", (width, height), (120, 150, 190))
    for _ in range(40):
        x, y = rng.randrange(width), rng.randrange(height)
        colour = tuple(rng.randrange(30, 230) for _ in range(3))
        picture.paste(colour, (x, y, x + rng.randrange(8, 60), y + rng.randrange(8, 50)))
    picture = picture.filter(ImageFilter.GaussianBlur(1.2))
    noise = Image.merge("RGB", [Image.effect_noise((width, height), 14) for _ in range(3)])
    return Image.blend(picture, noise, 0.15)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def pillow(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(60, 60), (160, 120), (640, 480)])
@pytest.mark.parametrize("quality", [60, 75, 90, 95])
def test_lean_takes_fewer_bytes_than_pillows_default_at_every_size_and_quality(size, quality):
    picture = scene(*size)
    assert len(encoded(np.asarray(picture), quality, "lean")) < len(pillow(picture, quality))


def test_fast_is_libjpeg_itself():
    picture = scene()
    fast, reference = opened(encoded(np.asarray(picture), 87, "fast")), opened(pillow(picture, 87))
    assert fast.quantization == reference.quantization
    off = [abs(a - b) for a, b in zip(fast.tobytes(), reference.tobytes(), strict=True)]
    assert sum(off) / len(off) < 1.5  # it is asked through another interface, which rounds colours otherwise


@pytest.mark.parametrize("encoder", ["lean", "fast"])
@pytest.mark.parametrize("size", [(60, 60), (640, 480), (1, 1), (9, 2)])
def test_a_file_holds_the_picture_and_nothing_else(encoder, size):
    picture = scene(*size)
    picture.info |= {"comment": b"secret", "exif": b"Exif\0\0secret", "icc_profile": b"secret", "dpi": (300, 300)}
    data = encoded(np.asarray(picture), 90, encoder)
    assert b"secret" not in data
    seen = opened(data)
    assert (seen.format, seen.mode, seen.size) == ("JPEG", "RGB", size)
    assert not {"exif", "icc_profile", "comment", "dpi"} & seen.info.keys()
    assert [(h, v) for _, h, v, _ in seen.layer] == [(2, 2), (1, 1), (1, 1)]  # 4:2:0


def test_progressive_scans_are_for_sizes_that_gain_by_them():
    assert "progressive" not in opened(encoded(np.asarray(scene()), 90)).info
    assert "progressive" in opened(encoded(np.asarray(scene(640, 480)), 90)).info


@pytest.mark.parametrize("encoder", ["lean", "fast"])
def test_more_quality_is_never_fewer_bytes(encoder):
    sizes = [len(encoded(np.asarray(scene()), quality, encoder)) for quality in range(1, 101, 3)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    "kind", ["webp", pytest.param("avif", marks=pytest.mark.skipif(not features.check("avif"), reason="no AVIF"))]
)
def test_a_sibling_is_a_smaller_picture_of_its_format_without_metadata(kind):
    picture = scene()
    picture.info |= {"exif": b"Exif\0\0secret", "icc_profile": b"secret"}
    data = encoded_sibling(np.asarray(picture), 90, kind)
    seen = opened(data)
    assert (seen.format, seen.size) == (kind.upper(), (160, 120))
    assert not {"exif", "icc_profile"} & seen.info.keys()
    assert len(data) < len(pillow(scene(), 90))


def test_a_sibling_of_another_format_is_refused():
    with pytest.raises(ValueError, match="webp and avif"):
        encoded_sibling(np.asarray(scene()), 90, "gif")


@pytest.mark.parametrize(("at", "value"), [(0, 5), (5, 7.5), (10, 10), (15, 5), (20, 0), (25, 0)])
def test_a_mapping_is_straight_between_its_corners(at, value):
    assert between(((0, 5.0), (10, 10.0), (20, 0.0)), at) == value
