"""Progressive JPEGs without the scans that a small thumbnail does not need."""

from __future__ import annotations

import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from imagesys_lib.thumbnail.scans import needed_scans

WIDTH, HEIGHT = 640, 480


def picture() -> Image.Image:
    """Smooth, with fine noise, so that every scan has something to say."""
    x, y = np.arange(WIDTH) / 90, np.arange(HEIGHT)[:, None] / 70
    smooth = np.stack([127 + 90 * np.sin(x + c) * np.cos(y + c) for c in range(3)], 2)
    noise = np.random.default_rng(0).normal(0, 12, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def jpeg(mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    picture().convert(mode).save(buffer, "JPEG", **{"quality": 80, "progressive": True, **options})
    return buffer.getvalue()


def decoded(data: bytes, eighths: int, mode: str = "RGB") -> np.ndarray:
    width, height = WIDTH * eighths // 8, HEIGHT * eighths // 8
    space = "GRAY" if mode == "L" else "RGB"
    pixels = simplejpeg.decode_jpeg(data, space, min_width=width, min_height=height, min_factor=1, strict=True)
    assert pixels.shape[:2] == (height, width)
    return pixels.astype(int)


@pytest.mark.parametrize("options", [{}, {"subsampling": "4:4:4"}, {"mode": "L"}, {"restart_marker_blocks": 7}])
def test_half_of_the_bytes_go_and_nothing_is_seen_of_it(options):
    mode = options.get("mode", "RGB")
    whole = jpeg(**options)
    needed = needed_scans(whole)
    assert len(needed) < 0.7 * len(whole)
    assert (decoded(needed, 1, mode) == decoded(whole, 1, mode)).all()
    assert np.abs(decoded(needed, 2, mode) - decoded(whole, 2, mode)).mean() < 1.5


@pytest.mark.parametrize("options", [{}, {"subsampling": "4:4:4"}, {"mode": "L"}, {"restart_marker_blocks": 7}])
def test_coarsely_still_less_is_read_and_hardly_anything_seen_of_it(options):
    mode = options.get("mode", "RGB")
    whole = jpeg(**options)
    coarse = needed_scans(whole, coarse=True)
    assert len(coarse) < len(needed_scans(whole))
    assert np.abs(decoded(coarse, 1, mode) - decoded(whole, 1, mode)).mean() < 1
    assert np.abs(decoded(coarse, 2, mode) - decoded(whole, 2, mode)).mean() < 2.5


def test_what_has_no_such_scans_stays_as_it_is():
    lean = needed_scans(jpeg())
    assert needed_scans(lean) == lean
    baseline = jpeg(progressive=False)
    assert needed_scans(baseline) == baseline


def test_a_thumbnail_in_the_metadata_is_not_taken_for_a_scan():
    inner, outer = jpeg(), jpeg()
    exif = b"\xff\xe1" + (len(inner[:60_000]) + 2).to_bytes(2, "big") + inner[:60_000]
    made = needed_scans(outer[:2] + exif + outer[2:])
    assert made == outer[:2] + exif + needed_scans(outer)[2:]


def test_what_follows_the_end_is_kept():
    whole = jpeg()
    assert needed_scans(whole + b"second picture") == needed_scans(whole) + b"second picture"


@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.6, 0.99, 0.99999])
def test_a_cut_file_is_left_to_the_decoder_to_judge(share):
    cut = jpeg()[: int(len(jpeg()) * share)]
    assert needed_scans(cut) == cut


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:2] + b"\x00" + data[2:],
        lambda data: data[:2] + b"\xff" * 5000 + data[2:],
        lambda data: data[:2] + b"\xff\xfe\x00\x00" * 5000 + data[2:],
        lambda data: data[:2] + b"\xff\xfe\x00\x02" * 5000 + data[2:],
        lambda data: data[: data.index(b"\xff\xda") + 4],
    ],
)
def test_a_strange_file_is_left_to_the_decoder_to_judge(damage):
    strange = damage(jpeg())
    assert needed_scans(strange) == strange


def test_bits_are_kept_down_to_a_quarter_of_what_they_were():
    """A scan that refines coarser bits than the last two is needed: here the header says so of every one."""
    whole = jpeg()
    coarser = whole.replace(b"\x01\x3f\x21", b"\x01\x3f\x32").replace(b"\x01\x3f\x10", b"\x01\x3f\x32")
    assert coarser != whole
    assert needed_scans(coarser) == coarser
