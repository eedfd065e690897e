"""Decoding: no more pixels than the thumbnails need, as grey, RGB or CMYK without alpha."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

import simplejpeg
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from imagesys_lib.thumbnail.colour import eight_bits
from imagesys_lib.thumbnail.pixels import Pixels, as_pixels
from imagesys_lib.thumbnail.scans import needed_scans

_ORIENTATION = 0x0112  # EXIF 2.3, 4.6.4
_EIGHTS = 8
_FINER = 1.25
"""One eighth is the mere mean of each block: it takes so much more of it to look as good as the other scales."""
_COARSE = 2  # eighths up to which a progressive JPEG's last bits go unseen

# The decoders themselves, not Image.open(): no other decoder ever sees the bytes, Image.open's global
# MAX_IMAGE_PIXELS and its warning play no part (ours is checked instead, per call), and a phone's
# multi-picture JPEG is its first picture.
DECODERS: dict[str, Callable[[IO[bytes]], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}


@dataclass(frozen=True)
class Decoded:
    """Decoded pixels; the picture fills ``width`` x ``height`` of them, from the top left.

    These are fractions where a scaled decode rounded up to a whole pixel: to stretch that pixel would shift the
    picture, which costs more fidelity than half the resolution does. ``whole`` says that the decoder has read the file
    to its end and found no fault.
    """

    pixels: Pixels  # of 1 channel (grey), 3 (RGB) or 4 (CMYK)
    width: float
    height: float
    whole: bool = False


def orientation(image: ImageFile.ImageFile, kind: str) -> int:
    """Return the EXIF orientation, 1 to 8. Damaged EXIF costs its photo nothing but the rotation."""
    if kind == "TIFF":
        return 1  # Pillow turns TIFF itself as it loads
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (ValueError, TypeError, KeyError, IndexError, SyntaxError, struct.error):
        return 1
    return value if value in range(1, 9) else 1


def decoded(image: ImageFile.ImageFile, kind: str, data: bytes, scale: float, *, coarse: bool = False) -> Decoded:
    """Decode to ``scale`` of the source or somewhat more, as grey, RGB or CMYK without alpha.

    JPEG scales while decoding (in the DCT, by 2, 4 or 8), which saves most of the time and memory; what else is larger
    than needed by a whole factor is averaged down before anything else touches it.
    """
    wanted = (max(1, math.ceil(image.width * scale)), max(1, math.ceil(image.height * scale)))
    if kind == "JPEG" and (scaled := _by_turbojpeg(image, data, scale, coarse)):
        return scaled  # averaging down what is left would cost more fidelity than it saves time
    box = drafted[1] if kind == "JPEG" and (drafted := image.draft(None, wanted)) else None
    image.load()
    plain = _plain(image)
    width, height = (box[2], box[3]) if box else plain.size
    factor = max(1, int(min(width / wanted[0], height / wanted[1])))
    made = plain.reduce(factor) if factor > 1 else plain
    if made.mode in ("LA", "RGBA"):
        made = _on_white(made)
    elif kind == "JPEG" and made.mode == "CMYK" and "adobe" not in image.info:
        # Pillow takes every CMYK JPEG for Adobe's inverted kind; without Adobe's marker it is not.
        made = ImageChops.invert(made)
    return Decoded(as_pixels(made), width / factor, height / factor)


def _by_turbojpeg(image: ImageFile.ImageFile, data: bytes, scale: float, coarse: bool) -> Decoded | None:
    """Decode an ordinary JPEG by libjpeg-turbo alone, a tenth faster than through Pillow.

    Returns None for what is out of the ordinary or not faultless: whether that is good enough, Pillow decides.
    Raises ValueError where data end too early, which Pillow passes over if an end is marked.
    """
    if image.mode not in ("L", "RGB") or image.info.get("adobe_transform", 1) != 1:
        return None
    # libjpeg scales by M/8 in its inverse DCT, but only these have fast ones, and others look worse.
    eighths = next((m for m in (1, 2, 4) if m >= _EIGHTS * scale * (_FINER if m == 1 else 1)), _EIGHTS)
    width, height = image.width * eighths / _EIGHTS, image.height * eighths / _EIGHTS
    in_part = eighths <= _COARSE and "progressive" in image.info
    try:
        pixels = simplejpeg.decode_jpeg(
            needed_scans(data, eighths, coarse=coarse) if in_part else data,
            "GRAY" if image.mode == "L" else "RGB",
            min_width=math.ceil(width),
            min_height=math.ceil(height),
            min_factor=1,
            strict=True,
        )
    except ValueError as error:
        if ends_early(error):
            raise
        return None
    if pixels.shape[:2] != (math.ceil(height), math.ceil(width)):
        return None  # it chose another scale, so the fractions above would be wrong
    return Decoded(pixels, width, height, whole=True)


def ends_early(error: Exception) -> bool:
    """Say whether a decoder's error means that the file is cut."""
    text = str(error).lower()
    return isinstance(error, EOFError) or any(sign in text for sign in ("truncat", "end of file", "premature end"))


def opened(kind: str, data: bytes) -> ImageFile.ImageFile:
    """Read the header of ``data`` with the decoder of its format."""
    return DECODERS[kind](io.BytesIO(data))


def _plain(image: Image.Image) -> Image.Image:
    """Return the image in a mode that can be scaled: L, LA, RGB, RGBA or CMYK."""
    mode = image.mode
    if mode in ("I", "F") or mode.startswith("I;16"):
        return eight_bits(image)
    if mode in ("PA", "La", "RGBa") or (mode in ("1", "L", "P", "RGB") and image.has_transparency_data):
        return image.convert("RGBA")
    if mode in ("L", "LA", "RGB", "RGBA", "CMYK"):
        return image
    return image.convert("L" if mode == "1" else "RGB")


def _on_white(image: Image.Image) -> Image.Image:
    mode = "L" if image.mode == "LA" else "RGB"
    canvas = Image.new(mode, image.size, "white")
    canvas.paste(image.convert(mode), mask=image.getchannel("A"))
    return canvas
