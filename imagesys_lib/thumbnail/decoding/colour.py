"""Colour of decoded photos: any mode and profile to 8-bit sRGB."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np
from PIL import Image, ImageChops, ImageCms

from imagesys_lib.thumbnail.pixels import Pixels, as_image, as_pixels

_MAX_PROFILE_BYTES = 4 * 1024 * 1024
_TAGS = 132  # where a profile's table of tags begins, behind their number
_UNSEEN = 3  # levels of 255
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}

_D65 = (0.3127, 0.329)
PRIMARIES: dict[int, tuple[float, ...]] = {
    1: (*_D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06),
    4: (0.31, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06),
    6: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    7: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (*_D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    12: (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
"""By number (ITU-T H.273, table 2): x and y of white, red, green and blue. 1 is sRGB's."""
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # IEC 61966-2-1, as ICC's function 3


def to_srgb(pixels: Pixels, profile: bytes | None) -> Pixels:
    """Return pixels as sRGB, through their ICC profile where that is present and usable.

    Without one, RGB and grey are taken for sRGB and CMYK is converted by the plain formula.
    """
    if profile and _is_sound(profile):
        image = as_image(pixels)
        made = _transform(profile, image.mode)
        if made is not None:
            mode, transform = made
            return as_pixels(ImageCms.applyTransform(image.convert(mode), transform) or image)
    return pixels if pixels.shape[2] == 3 else as_pixels(as_image(pixels).convert("RGB"))


def _is_sound(profile: bytes) -> bool:
    """Say whether a browser uses an ICC profile (ICC.1, 7.2 and 7.3): all tags lie within it, and its white is D50.

    LittleCMS passes over a tag that is not there or not needed.
    """
    if not _TAGS <= len(profile) <= _MAX_PROFILE_BYTES:
        return False
    (size,), (count,) = struct.unpack_from(">I", profile), struct.unpack_from(">I", profile, _TAGS - 4)
    white = struct.unpack_from(">3i", profile, 68)
    if not _TAGS + 12 * count <= size <= len(profile):
        return False
    if any(abs(part / 65536 - usual) > 0.01 for part, usual in zip(white, _D50, strict=True)):
        return False
    tags = struct.iter_unpack(">4sII", profile[_TAGS : _TAGS + 12 * count])
    return all(length >= 4 and start + length <= size for _, start, length in tags)


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> tuple[str, ImageCms.ImageCmsTransform] | None:
    """Return the mode to bring the image to and the transform to sRGB; None where there is nothing to do.

    Most photos carry one of a few profiles, so they are kept; a transform may serve several threads.
    """
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        wanted = _SPACES.get(opened.profile.xcolor_space.strip())
        if wanted is None or (wanted == "CMYK") != (mode == "CMYK") or (mode == "RGB" and wanted == "L"):
            return None  # a profile for another kind of image
        transform = partial(
            ImageCms.buildTransform,
            opened,
            ImageCms.createProfile("sRGB"),
            wanted,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
        # Most are from sRGB. To prepare one for speed takes 2 ms, which is too much for a few colours.
        if wanted == "RGB" and _changes_nothing(transform(flags=_FLAGS | ImageCms.Flags.NOOPTIMIZE)):
            return None
        return wanted, transform(flags=_FLAGS)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # a damaged profile costs its photo nothing but the colour management


def matrix_profile(around: Sequence[float], exponent: float | None) -> bytes | None:
    """Return an ICC profile of RGB samples; None for colours that are none.

    ``around``: x and y of white, red, green and blue. ``exponent``: samples raised to it are light, None for sRGB's
    curve.
    """
    pairs = np.reshape(around, (4, 2))
    xyz = np.array([(x / y, 1.0, (1 - x - y) / y) if y else (0.0, 0.0, 0.0) for x, y in pairs]).T
    white, primaries = xyz[:, 0], xyz[:, 1:]
    if abs(np.linalg.det(primaries)) < 1e-6 or not white.any():
        return None
    matrix = primaries * np.linalg.solve(primaries, white)
    adapt = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    matrix = np.linalg.inv(_BRADFORD) @ adapt @ _BRADFORD @ matrix
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > 100:
        return None
    curve = (0, exponent) if exponent is not None else (3, *_SRGB_CURVE)
    tags = {
        **{name: b"XYZ " + bytes(4) + _fixed(*column) for name, column in zip(_COLUMNS, matrix.T, strict=True)},
        **dict.fromkeys(_TONES, b"para" + bytes(4) + struct.pack(">HH", curve[0], 0) + _fixed(*curve[1:])),
    }
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(tag))
        body += tag
    head = struct.pack(">I4sI4s4s4s12x4s28x", start + len(body), b"", 0x04000000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return (head + _fixed(*_D50)).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


_COLUMNS, _TONES = (b"rXYZ", b"gXYZ", b"bXYZ"), (b"rTRC", b"gTRC", b"bTRC")


def _fixed(*numbers: float) -> bytes:
    """Return s15Fixed16Numbers (ICC.1, 4.6)."""
    return struct.pack(f">{len(numbers)}i", *(round(max(-32768, min(32767, number)) * 65536) for number in numbers))


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Say whether a transform is from sRGB, too: its name does not tell, as linear profiles are called so as well."""
    levels = range(0, 256, 5)
    colours = [colour for n in levels for colour in ((n, n, n), (n, 0, 0), (0, n, 0), (0, 0, n), (255, n, 128))]
    before = Image.frombytes("RGB", (len(colours), 1), bytes(sample for colour in colours for sample in colour))
    after = ImageCms.applyTransform(before, transform) or before
    return max(ImageChops.difference(before, after).tobytes()) <= _UNSEEN


def eight_bits(image: Image.Image) -> Image.Image:
    """Return an image of 16-bit, 32-bit or float samples as 8-bit grey.

    Sixteen bits mean 0 to 65535. For wider samples no format says what white is, so the smallest usual range
    that holds them is taken: 0 to 1 (float), 255, 65535, 2^31 - 1.
    """
    top = 65535.0
    if not image.mode.startswith("I;16"):
        extrema = image.getextrema()
        highest = float(extrema[1]) if isinstance(extrema[1], int | float) else 0.0
        ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        top = next((value for value in ranges if highest <= value), float(2**31 - 1))
    wide = image.convert("F") if image.mode != "F" else image
    return wide.point(lambda sample: sample * (255.0 / top) + 0.0).convert("L")
