"""Colour of decoded photos: any mode and profile to 8-bit sRGB."""

from __future__ import annotations

import io
from functools import lru_cache, partial

from PIL import Image, ImageChops, ImageCms

from imagesys_lib.thumbnail.pixels import Pixels, as_image, as_pixels

_MAX_PROFILE_BYTES = 4 * 1024 * 1024
_UNSEEN = 3  # levels of 255
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
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
