"""Colour of decoded photos: any mode and profile to 8-bit sRGB."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image, ImageCms

from imagesys_lib.thumbnail.pixels import Pixels, as_image, as_pixels

_MAX_PROFILE_BYTES = 4 * 1024 * 1024
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def to_srgb(pixels: Pixels, profile: bytes | None) -> Pixels:
    """Return pixels as sRGB, through their ICC profile where that is present and usable.

    Without one, RGB and grey are taken for sRGB and CMYK is converted by the plain formula.
    """
    if profile and len(profile) <= _MAX_PROFILE_BYTES:
        image = as_image(pixels)
        made = _transform(profile, image.mode)
        if made is not None:
            mode, transform = made
            return as_pixels(ImageCms.applyTransform(image.convert(mode), transform) or image)
    return pixels if pixels.shape[2] == 3 else as_pixels(as_image(pixels).convert("RGB"))


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
        if wanted == "RGB" and "sRGB" in (opened.profile.profile_description or ""):
            return None
        return wanted, ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            wanted,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # a damaged profile costs its photo nothing but the colour management


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
