"""Progressive JPEGs without the scans that a small thumbnail does not need."""

from __future__ import annotations

import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from imagesys_lib.thumbnail.decoding.jpeg_scans import needed_scans

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
    for eighths in (1, 2):
        assert len(needed_scans(whole, eighths)) < 0.7 * len(whole)
    assert (decoded(needed_scans(whole, 1), 1, mode) == decoded(whole, 1, mode)).all()
    assert np.abs(decoded(needed_scans(whole, 2), 2, mode) - decoded(whole, 2, mode)).mean() < 1.5


@pytest.mark.parametrize("options", [{}, {"subsampling": "4:4:4"}, {"mode": "L"}, {"restart_marker_blocks": 7}])
def test_coarsely_still_less_is_read_and_hardly_anything_seen_of_it(options):
    mode = options.get("mode", "RGB")
    whole = jpeg(**options)
    for eighths, most in ((1, 1), (2, 2.5)):
        coarse, needed = needed_scans(whole, eighths, coarse=True), needed_scans(whole, eighths)
        assert len(coarse) < len(needed) or (eighths == 1 and mode == "L" and coarse == needed)  # the means alone
        assert np.abs(decoded(coarse, eighths, mode) - decoded(whole, eighths, mode)).mean() < most


def test_where_chrominance_shares_luminances_table_an_eighth_is_still_what_it_was():
    whole = jpeg(qtables=[[8] * 64])
    needed = needed_scans(whole, 1)
    assert len(needed) < len(whole)
    assert (decoded(needed, 1) == decoded(whole, 1)).all()


def test_one_quantiser_of_luminance_becomes_zero_so_that_libjpeg_smooths_nothing():
    whole = jpeg(mode="L")
    needed = needed_scans(whole, 2)
    at = needed.index(b"\xff\xdb") + 5
    assert (needed[at + 5], whole[at + 5] > 0) == (0, True)
    assert needed[at : at + 5] + needed[at + 6 : at + 64] == whole[at : at + 5] + whole[at + 6 : at + 64]


@pytest.mark.parametrize("eighths", [1, 2])
def test_its_coefficient_is_not_looked_at_in_so_small_a_decode(eighths):
    whole = jpeg(progressive=False)
    value = whole.index(b"\xff\xdb") + 5 + 5
    without = whole[:value] + b"\0" + whole[value + 1 :]
    assert (decoded(without, eighths) == decoded(whole, eighths)).all()
    assert (decoded(without, 4) != decoded(whole, 4)).any()


def test_what_has_no_such_scans_stays_as_it_is():
    lean = needed_scans(jpeg(), 2)
    assert needed_scans(lean, 2) == lean
    baseline = jpeg(progressive=False)
    assert needed_scans(baseline, 2) == baseline


def test_a_thumbnail_in_the_metadata_is_not_taken_for_a_scan():
    inner, outer = jpeg(), jpeg()
    exif = b"\xff\xe1" + (len(inner[:60_000]) + 2).to_bytes(2, "big") + inner[:60_000]
    made = needed_scans(outer[:2] + exif + outer[2:], 2)
    assert made == outer[:2] + exif + needed_scans(outer, 2)[2:]


def test_what_follows_the_end_is_kept():
    whole = jpeg()
    assert needed_scans(whole + b"second picture", 2) == needed_scans(whole, 2) + b"second picture"


@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.6, 0.99, 0.99999])
def test_a_cut_file_is_left_to_the_decoder_to_judge(share):
    cut = jpeg()[: int(len(jpeg()) * share)]
    assert needed_scans(cut, 2) == cut


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
    assert needed_scans(strange, 2) == strange


def test_bits_are_kept_down_to_a_quarter_of_what_they_were():
    """A scan that refines coarser bits than the last two is needed: here the header says so of every one."""
    whole = jpeg()
    coarser = whole.replace(b"\x01\x3f\x21", b"\x01\x3f\x32").replace(b"\x01\x3f\x10", b"\x01\x3f\x32")
    assert coarser != whole
    assert needed_scans(coarser, 2) == coarser
