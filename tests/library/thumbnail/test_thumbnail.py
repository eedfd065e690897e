"""Thumbnails: every class of photo, upright and on white, the right reason for everything else."""

from __future__ import annotations

import io
import math
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from imagesys_lib.config import ProcessDetails, Size
from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.thumbnail.decoding import decode
from imagesys_lib.thumbnail.decoding.sniff import sniff
from imagesys_lib.thumbnail.gamma_and_sharpen import finished, sharpened, sharpening
from imagesys_lib.thumbnail.messages import Limits
from imagesys_lib.thumbnail.one_photo import Thumbnail, create_thumbnails_of_image
from tests.support import images
from tests.support.images import BLUE, GREEN, QUARTERS, RED, WHITE, encoded, quarters

SIZES = (Size(width=60, height=60, mode="crop"), Size(width=160, height=120, mode="fit"))
PLAIN = ProcessDetails(sharpen="0x0", gamma=1.0, quality=95)
LIMITS = Limits(max_pixels=50_000_000, min_width=32, min_height=32)
NEEDS_AVIF = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


@pytest.fixture
def thumbnails(tmp_path: Path):
    def make(data: bytes, details: ProcessDetails = PLAIN, sizes=SIZES, limits=LIMITS) -> tuple[Thumbnail, ...]:
        source = tmp_path / "original"
        source.write_bytes(data)
        return create_thumbnails_of_image(source, sizes, details, limits)

    return make


def opened(thumbnail: Thumbnail) -> Image.Image:
    return Image.open(io.BytesIO(thumbnail.data))


def near(seen, wanted, tolerance: int = 14) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(seen, wanted, strict=True))


def assert_quarters(thumbnail: Thumbnail, wanted=QUARTERS, tolerance: int = 14) -> None:
    picture = opened(thumbnail)
    w, h = picture.size
    seen = [picture.getpixel((x, y)) for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)]
    assert all(near(a, b, tolerance) for a, b in zip(seen, wanted, strict=True)), (seen, wanted)


def reason(make, data: bytes, **options) -> str:
    with pytest.raises(ImageFault) as caught:
        make(data, **options)
    return caught.value.reason.code


def grey_of(colour) -> tuple[int, int, int]:
    level = Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0))
    return (level, level, level)


def test_both_sizes_are_exact_and_numbered_from_one(thumbnails):
    first, second = thumbnails(encoded(quarters(1600, 1200), "JPEG"))
    assert (first.number, first.width, first.height) == (1, 60, 60)
    assert (second.number, second.width, second.height) == (2, 160, 120)
    assert [opened(one).size for one in (first, second)] == [(60, 60), (160, 120)]
    assert_quarters(first)
    assert_quarters(second)


@pytest.mark.parametrize(
    ("source", "fitted"),
    [
        ((1600, 900), (160, 90)),
        ((900, 1600), (68, 120)),
        ((100, 80), (100, 80)),  # never enlarged
        ((40, 2000), (2, 120)),
        ((5000, 33), (160, 1)),
        ((161, 121), (160, 120)),
    ],
)
def test_fit_stays_inside_the_box_and_crop_fills_it(thumbnails, source, fitted):
    cropped, inside = thumbnails(encoded(quarters(*source), "JPEG"))
    assert (cropped.width, cropped.height) == (60, 60)
    assert (inside.width, inside.height) == fitted


def test_crop_takes_the_centre_and_may_enlarge(thumbnails):
    picture = Image.new("RGB", (300, 40), RED)
    picture.paste(BLUE, (130, 0, 170, 40))
    cropped, _ = thumbnails(encoded(picture, "PNG"))
    seen = opened(cropped)
    assert seen.size == (60, 60)
    assert all(near(seen.getpixel(at), BLUE) for at in ((5, 5), (30, 30), (54, 54)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", pytest.param("AVIF", marks=NEEDS_AVIF)])
def test_every_exif_orientation_ends_upright(thumbnails, kind, orientation):
    cropped, fitted = thumbnails(images.rotated(orientation, kind, 800, 400))
    assert (fitted.width, fitted.height) == (160, 80)
    assert_quarters(fitted)
    assert_quarters(cropped)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_costs_only_the_rotation(thumbnails):
    data = encoded(quarters(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert_quarters(thumbnails(data)[1])


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_baseline_and_progressive(thumbnails, progressive):
    assert_quarters(thumbnails(encoded(quarters(3000, 2000), "JPEG", progressive=progressive))[1])


def test_grey_jpeg_becomes_rgb(thumbnails):
    made = thumbnails(encoded(quarters().convert("L"), "JPEG"))[1]
    assert opened(made).mode == "RGB"
    assert_quarters(made, [grey_of(colour) for colour in QUARTERS])


def test_cmyk_jpeg_of_adobe_kind(thumbnails):
    made = thumbnails(encoded(quarters().convert("CMYK"), "JPEG", quality=95))[1]
    assert opened(made).mode == "RGB"
    assert_quarters(made)


def test_cmyk_jpeg_without_adobe_marker_is_taken_for_adobes_kind_as_in_a_browser(thumbnails):
    data = encoded(quarters().convert("CMYK"), "JPEG", quality=95)
    at = data.index(b"\xff\xee")
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    assert_quarters(thumbnails(data[:at] + data[at + 2 + length :])[1])


def test_cmyk_tiff(thumbnails):
    assert_quarters(thumbnails(encoded(quarters().convert("CMYK"), "TIFF"))[1])


def test_embedded_profile_is_applied(thumbnails):
    made = thumbnails(encoded(quarters(), "JPEG", icc_profile=images.wide_gamut_profile()))[1]
    red, green, *_ = (opened(made).getpixel(at) for at in ((40, 30), (120, 30)))
    assert red[1] > red[0]
    assert green[0] > green[1]


@pytest.mark.parametrize("profile", [images.srgb_profile(), b"rubbish" * 40, images.wide_gamut_profile()[:200]])
def test_srgb_or_unusable_profile_changes_nothing(thumbnails, profile):
    assert_quarters(thumbnails(encoded(quarters(), "PNG", icc_profile=profile))[1])


def test_profile_of_another_kind_of_image_is_ignored(thumbnails):
    data = encoded(quarters().convert("CMYK"), "JPEG", icc_profile=images.srgb_profile(), quality=95)
    assert_quarters(thumbnails(data)[1])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_flattened_on_white(thumbnails, mode):
    picture = quarters(640, 480).convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 320, 240))
    picture.paste((0, 0, 0, 128), (320, 0, 640, 240))
    made = thumbnails(encoded(picture.convert(mode), "PNG"))[1]
    rest = [BLUE, QUARTERS[3]] if mode == "RGBA" else [grey_of(BLUE), grey_of(QUARTERS[3])]
    assert_quarters(made, [WHITE, (127, 127, 127), *rest])


def test_palette_with_transparency_is_flattened_on_white(thumbnails):
    picture = quarters(640, 480).quantize(8)
    picture.info["transparency"] = picture.getpixel((10, 10))
    for kind in ("PNG", "GIF"):
        data = encoded(picture, kind, transparency=picture.getpixel((10, 10)))
        assert_quarters(thumbnails(data)[1], [WHITE, *QUARTERS[1:]], 30)


def test_transparent_palette_entries_in_bytes(thumbnails):
    picture = quarters(640, 480).quantize(4)
    alphas = bytearray(b"\xff" * 4)
    alphas[picture.getpixel((10, 10))] = 0
    assert_quarters(thumbnails(encoded(picture, "PNG", transparency=bytes(alphas)))[1], [WHITE, *QUARTERS[1:]], 30)


def test_bilevel_and_palette(thumbnails):
    assert_quarters(thumbnails(encoded(quarters().quantize(16), "PNG"))[1], tolerance=30)
    half = Image.new("1", (400, 300), 1)
    assert near(opened(thumbnails(encoded(half, "PNG"))[1]).getpixel((80, 60)), WHITE)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_tones(thumbnails, kind):
    picture = Image.new("I;16", (400, 300), 32768)
    assert near(opened(thumbnails(encoded(picture, kind))[1]).getpixel((80, 60)), (128, 128, 128), 3)


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", 32768)])
def test_wider_samples_are_brought_to_eight_bits(thumbnails, mode, value):
    picture = Image.new(mode, (400, 300), value)
    picture.putpixel((0, 0), value * 2 - (mode == "I"))
    assert near(opened(thumbnails(encoded(picture, "TIFF"))[1]).getpixel((80, 60)), (128, 128, 128), 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(thumbnails, kind):
    first, second = quarters(), Image.new("RGB", (800, 600), GREEN)
    data = encoded(first, kind, save_all=True, append_images=[second])
    assert_quarters(thumbnails(data)[1], tolerance=30)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 90}),
        pytest.param("AVIF", {}, marks=NEEDS_AVIF),
    ],
)
def test_the_other_formats(thumbnails, kind, options):
    data = encoded(quarters(), kind, **options)
    assert sniff(data[:1024]) == kind
    assert_quarters(thumbnails(data)[1])


def test_multi_picture_jpeg_gives_its_first_picture(thumbnails):
    data = encoded(quarters(), "MPO", save_all=True, append_images=[Image.new("RGB", (800, 600), GREEN)])
    assert_quarters(thumbnails(data)[1])


def test_nothing_but_the_picture_is_in_the_output(thumbnails):
    data = encoded(
        quarters(), "JPEG", exif=images.exif_of(1), icc_profile=images.srgb_profile(), comment=b"secret comment"
    )
    for made in thumbnails(data):
        picture = opened(made)
        assert "secret" not in str(made.data)
        assert not {"exif", "icc_profile", "comment", "dpi"} & picture.info.keys()
        assert b"ICC_PROFILE" not in made.data
        assert [(h, v) for _, h, v, _ in picture.layer] == [(2, 2), (1, 1), (1, 1)]  # 4:2:0


def test_quality_and_gamma_take_effect(thumbnails):
    data = encoded(Image.effect_mandelbrot((600, 450), (-2, -1.2, 1, 1.2), 60).convert("RGB"), "JPEG")
    rough, fine = (thumbnails(data, ProcessDetails(sharpen="0x0", quality=q))[1] for q in (30, 95))
    assert len(rough.data) < len(fine.data)
    grey = encoded(Image.new("RGB", (200, 150), (64, 64, 64)), "PNG")
    light = thumbnails(grey, ProcessDetails(sharpen="0x0", gamma=2.0, quality=95))[1]
    expected = round(255 * (64 / 255) ** 0.5)
    assert near(opened(light).getpixel((50, 50)), (expected,) * 3, 2)


def imagemagick_sharpen(picture: Image.Image, radius: float, sigma: float) -> list[list[float]]:
    """ImageMagick's SharpenImage on a grey picture, written from its definition, edges extended."""
    width = 2 * math.ceil(radius) + 1 if radius > 0 else 0
    if not width:
        width = 5
        while True:
            j = width // 2
            total = sum(math.exp(-(u * u + v * v) / (2 * sigma**2)) for u in range(-j, j + 1) for v in range(-j, j + 1))
            if math.exp(-(j * j) / (2 * sigma**2)) / total < 1 / 65535:
                break
            width += 2
        width -= 2
    j = width // 2
    kernel = {(u, v): -math.exp(-(u * u + v * v) / (2 * sigma**2)) for u in range(-j, j + 1) for v in range(-j, j + 1)}
    kernel[0, 0] = -2 * sum(kernel.values())
    scale = 1 / sum(kernel.values())
    w, h = picture.size
    pixels = picture.load()
    return [
        [
            min(255.0, max(0.0, sum(
                weight * scale * pixels[min(max(x + u, 0), w - 1), min(max(y + v, 0), h - 1)]
                for (u, v), weight in kernel.items()
            )))
            for x in range(w)
        ]
        for y in range(h)
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["0x1", "0x0.5", "1x1", "2x1", "0x1.5", "1x0.5", "3x10"])
def test_sharpening_is_imagemagicks(text):
    noise = Image.effect_noise((36, 30), 40)
    noise.paste(20, (0, 0, 12, 30))
    noise.paste(230, (12, 6, 20, 30))
    radius, sigma = map(float, text.split("x"))
    wanted = imagemagick_sharpen(noise, radius, sigma)
    sharpen = sharpening(text)
    assert sharpen is not None
    sharp = sharpened(np.asarray(noise)[:, :, None], sharpen)
    off = [abs(int(sharp[y, x, 0]) - wanted[y][x]) for y in range(30) for x in range(36)]
    assert sum(off) / len(off) < 0.4, (sum(off) / len(off), max(off))
    assert max(off) < 3
    assert sharp.tobytes() != noise.tobytes()


@pytest.mark.parametrize("text", ["0x0", "5x0", "0.0x0.0"])
def test_no_sigma_means_no_sharpening(text):
    assert sharpening(text) is None


def test_the_originals_sharpening_is_an_unsharp_mask_of_86_per_cent():
    sharpen = sharpening("0x1")
    assert sharpen is not None
    assert sharpen.amount == pytest.approx(0.863, abs=0.001)
    assert 2 * sum(sharpen.weights) - sharpen.weights[0] == pytest.approx(1)


def test_sharpening_treats_each_colour_by_itself_and_leaves_plain_colours_alone():
    bands = [Image.effect_noise((40, 30), 50) for _ in range(3)]
    sharpen = sharpening("0x1")
    together = finished(np.asarray(Image.merge("RGB", bands)), ProcessDetails(sharpen="0x1"))
    for number, band in enumerate(bands):
        assert (together[:, :, number] == sharpened(np.asarray(band)[:, :, None], sharpen)[:, :, 0]).all()
    plain = Image.new("RGB", (30, 20), (3, 128, 255))
    assert finished(np.asarray(plain), ProcessDetails(sharpen="0x1")).tobytes() == plain.tobytes()


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"", "not_an_image"),
        (b"   \r\n", "not_an_image"),
        (b"<!DOCTYPE html><html><body>404 <svg></svg>", "not_an_image"),
        (b"\xef\xbb\xbf<html>", "not_an_image"),
        (b"BM and other words", "not_an_image"),
        (b'{"error": "gone"}', "not_an_image"),
        (bytes(range(200, 256)), "not_an_image"),
        (b'<?xml version="1.0"?><!-- x --><svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format"),
        (b"<svg width='1'/>", "unsupported_format"),
        (b"%PDF-1.7\n", "unsupported_format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "unsupported_format"),
        (b"\xc5\xd0\xd3\xc6\x1e\0\0\0", "unsupported_format"),
        (b"8BPS\0\1", "unsupported_format"),
        (b"\0\0\1\0\1\0\x10\x10", "unsupported_format"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "unsupported_format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported_format"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "unsupported_format"),
        (b"\xff\x0a\xfa\x1f", "unsupported_format"),
        (b"P6\n4 4\n255\n", "unsupported_format"),
        (b"II*\0\x10\0\0\0CR\2\0", "unsupported_format"),
        (b"RIFF\x10\0\0\0AVI LIST", "unsupported_format"),
    ],
)
def test_what_is_no_accepted_image_never_reaches_a_decoder(thumbnails, monkeypatch, head, code):
    monkeypatch.setattr(decode, "DECODERS", {})
    assert reason(thumbnails, head) == code


@pytest.mark.parametrize("side", [8000, 10_000, 100_000])
def test_a_png_bomb_is_refused_by_its_header(thumbnails, side):
    # 64 MP, 100 MP (where Pillow would warn) and 10,000 MP (where it would raise).
    assert reason(thumbnails, images.png_header(side, side)) == "too_many_pixels"


def test_gif_and_webp_bombs_are_refused_by_their_headers(thumbnails):
    gif = b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0) + b","
    gif += struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02\x4c\x01\x00;"
    assert reason(thumbnails, gif) == "too_many_pixels"
    small = b"GIF89a" + struct.pack("<HHBBB", 40, 40, 0, 0, 0) + b","
    small += struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02\x4c\x01\x00;"
    assert reason(thumbnails, small) == "too_many_pixels"
    canvas = (16_382).to_bytes(3, "little") * 2
    webp = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + canvas
    assert reason(thumbnails, b"RIFF" + struct.pack("<I", len(webp)) + webp) == "too_many_pixels"


def test_pixel_cap_is_the_callers(thumbnails):
    data = encoded(quarters(400, 300), "PNG")
    assert reason(thumbnails, data, limits=Limits(119_999, 1, 1)) == "too_many_pixels"
    assert thumbnails(data, limits=Limits(120_000, 1, 1))


@pytest.mark.parametrize(("width", "height", "orientation"), [(31, 400, 1), (400, 31, 1), (39, 100, 6)])
def test_too_small_is_judged_as_a_viewer_sees_it(thumbnails, width, height, orientation):
    limits = Limits(50_000_000, 32, 32) if orientation == 1 else Limits(50_000_000, 40, 32)
    assert reason(thumbnails, images.rotated(orientation, "JPEG", width, height), limits=limits) == "too_small"


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("PNG", {}),
        ("GIF", {"interlace": 0}),
        ("WEBP", {}),
        ("BMP", {}),
        ("TIFF", {}),
        pytest.param("AVIF", {}, marks=NEEDS_AVIF),
    ],
)
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_cut_file_is_truncated(thumbnails, kind, options, part):
    noisy = Image.effect_noise((300, 200), 60).convert("RGB")
    data = encoded(noisy, kind, **options)
    assert reason(thumbnails, data[: int(len(data) * part)]) == "truncated"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", pytest.param("AVIF", marks=NEEDS_AVIF)])
def test_a_cut_header_ends_with_a_reason(thumbnails, kind):
    data = encoded(quarters(100, 80), kind)
    for length in (20, 40, 60):
        assert reason(thumbnails, data[:length]) in ("truncated", "decode_error", "not_an_image", "too_small")


def test_rubbish_behind_a_good_header_is_a_decode_error(thumbnails):
    data = bytearray(encoded(quarters(300, 200), "PNG"))
    at = data.index(b"IDAT")
    data[at + 4 : at + 60] = bytes(range(56))
    assert reason(thumbnails, bytes(data)) == "decode_error"


class Panic(BaseException):
    """What Rust code raises when it panics is no Exception."""


class Wordless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("x"),
        RecursionError(),
        struct.error("unpack requires a buffer"),
        SyntaxError("broken PNG file"),
        OverflowError("too large"),
        Warning("strange"),
        Panic("index out of bounds"),
        Wordless(),
        KeyError("\udcff\x1b[31m\0 \u202e"),
        ValueError("word " * 200_000),
        UnicodeDecodeError("utf-8", b"\xff" * 100_000, 0, 1, "invalid start byte"),
        GeneratorExit(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_decoder_raises_is_its_images_fault_said_in_few_plain_words(thumbnails, monkeypatch, error):
    def decoder(_file):
        raise error

    monkeypatch.setitem(decode.DECODERS, "PNG", decoder)
    with pytest.raises(ImageFault) as caught:
        thumbnails(encoded(quarters(), "PNG"))
    detail = caught.value.detail
    assert caught.value.reason.code == "decode_error"
    assert type(error).__name__ in detail
    assert detail.isascii()
    assert detail.isprintable()
    assert len(detail) <= 250


def test_want_of_memory_is_left_to_whoever_can_try_elsewhere(thumbnails, monkeypatch):
    def decoder(_file):
        raise MemoryError

    monkeypatch.setitem(decode.DECODERS, "PNG", decoder)
    with pytest.raises(MemoryError):
        thumbnails(encoded(quarters(), "PNG"))


def test_a_missing_file_is_the_callers_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        create_thumbnails_of_image(tmp_path / "none", SIZES, PLAIN, LIMITS)


def test_a_scaled_decode_looks_like_a_full_one(thumbnails):
    scene = Image.effect_mandelbrot((2400, 1800), (-2, -1.2, 1, 1.2), 80).convert("RGB")
    jpeg, png = encoded(scene, "JPEG", quality=95), encoded(scene, "PNG")
    a, b = (opened(thumbnails(data)[1]).convert("L") for data in (jpeg, png))
    full = scene.resize((160, 120), Image.Resampling.LANCZOS).convert("L")
    for made in (a, b):
        off = [abs(x - y) for x, y in zip(made.tobytes(), full.tobytes(), strict=True)]
        assert sum(off) / len(off) < 3


def test_several_threads_at_once_give_the_same_bytes(tmp_path):
    source = tmp_path / "photo"
    source.write_bytes(encoded(quarters(), "JPEG", icc_profile=images.wide_gamut_profile()))
    details = ProcessDetails()
    seen = []
    work = [
        threading.Thread(target=lambda: seen.append(create_thumbnails_of_image(source, SIZES, details, LIMITS)))
        for _ in range(8)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1
