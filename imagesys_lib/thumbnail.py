"""Thumbnails of one photo: sniff, decode no more than needed, upright sRGB, small JPEGs without metadata."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageFile,
    ImageFilter,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from imagesys_lib.colour import eight_bits, to_srgb
from imagesys_lib.config import ProcessDetails, Size
from imagesys_lib.reasons import ImageFault
from imagesys_lib.sniff import HEAD_BYTES, boxes_end, sniff, webp_header

__all__ = ["Limits", "Thumbnail", "create_thumbnails_of_image", "sniff"]

OVERSAMPLING = 2
"""A decoder's own scaling stops at this many times the largest thumbnail: measured in facts-images.md."""

_ORIENTATION = 0x0112  # EXIF 2.3, 4.6.4
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# The decoders themselves, not Image.open(): no other decoder ever sees the bytes, Image.open's global
# MAX_IMAGE_PIXELS and its warning play no part (ours is checked instead, per call and per thread), and a
# phone's multi-picture JPEG is its first picture.
_DECODERS: dict[str, Callable[[IO[bytes]], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}


@dataclass(frozen=True)
class Limits:
    """What a photo may be, in pixels; width and height as a viewer sees them."""

    max_pixels: int
    min_width: int
    min_height: int


@dataclass(frozen=True)
class Thumbnail:
    """One finished JPEG. ``number`` counts the configured sizes from 1; width and height in pixels."""

    number: int
    width: int
    height: int
    data: bytes = field(repr=False)


def create_thumbnails_of_image(
    source: Path, sizes: Sequence[Size], details: ProcessDetails, limits: Limits
) -> tuple[Thumbnail, ...]:
    """Return one thumbnail per size, in order: upright, sRGB, on white, first frame, no metadata.

    Raises ImageFault: ``not_an_image``, ``unsupported_format``, ``too_many_pixels`` and ``too_small`` before
    any pixel is decoded, ``truncated``, ``decode_error``. An OSError of opening ``source`` passes through.

    Here alone everything is caught: the decoders are C libraries and parsers fed by strangers, which raise
    whatever they stumble over (struct.error, KeyError, ZeroDivisionError, MemoryError ...), and whatever it
    is, it concerns this image only.
    """
    with source.open("rb") as file:
        head = file.read(HEAD_BYTES)
        kind = sniff(head)
        try:
            if kind == "WEBP":
                _check_webp(head, source.stat().st_size, limits)
            elif kind == "AVIF":
                _check_complete(kind, boxes_end(file), source.stat().st_size)
            file.seek(0)
            return _make(file, kind, sizes, details, limits)
        except ImageFault:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise ImageFault("too_many_pixels", f"{kind}: far more than allowed") from None
        except MemoryError:
            raise ImageFault("decode_error", f"{kind}: not enough memory") from None
        except Exception as error:
            code = "truncated" if _ends_early(error) else "decode_error"
            raise ImageFault(code, f"{kind}: {type(error).__name__}: {error}") from error


def _make(
    file: IO[bytes], kind: str, sizes: Sequence[Size], details: ProcessDetails, limits: Limits
) -> tuple[Thumbnail, ...]:
    image = _DECODERS[kind](file)
    _check_pixels(image.size, limits)
    orientation = _orientation(image, kind)
    width, height = image.size[::-1] if orientation >= 5 else image.size
    if width < limits.min_width or height < limits.min_height:
        raise ImageFault("too_small", f"{width}x{height}, at least {limits.min_width}x{limits.min_height} wanted")
    scale = min(1.0, OVERSAMPLING * max(_scale(width, height, size) for size in sizes))
    upright = _upright(_decoded(image, kind, scale), orientation)
    profile = image.info.get("icc_profile")
    del image  # a large original goes before the next allocations
    made = []
    for number, size in enumerate(sizes, 1):
        thumbnail = to_srgb(_resized(upright, width, height, size), profile)
        thumbnail = _finished(thumbnail, details)
        made.append(Thumbnail(number, thumbnail.width, thumbnail.height, _encoded(thumbnail, details.quality)))
    return tuple(made)


def _check_pixels(size: tuple[int, int], limits: Limits) -> None:
    if size[0] * size[1] > limits.max_pixels:
        raise ImageFault("too_many_pixels", f"{size[0]}x{size[1]}, {limits.max_pixels} pixels allowed")


def _check_webp(head: bytes, length: int, limits: Limits) -> None:
    """Check what the header announces: Pillow's WebP decoder allocates the canvas when it is opened."""
    announced, size = webp_header(head)
    if size is not None:
        _check_pixels(size, limits)
    _check_complete("WEBP", announced, length)


def _check_complete(kind: str, announced: int, length: int) -> None:
    """Tell a cut file from a broken one where the decoder does not."""
    if announced > length:
        raise ImageFault("truncated", f"{kind}: {length} of {announced} bytes")


def _ends_early(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, EOFError) or "truncat" in text or "end of file" in text


def _orientation(image: ImageFile.ImageFile, kind: str) -> int:
    """Return the EXIF orientation, 1 to 8. Damaged EXIF costs its photo nothing but the rotation."""
    if kind == "TIFF":
        return 1  # Pillow turns TIFF itself as it loads
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (ValueError, TypeError, KeyError, IndexError, SyntaxError, struct.error):
        return 1
    return value if value in _UPRIGHT else 1


def _scale(width: int, height: int, size: Size) -> float:
    """Return thumbnail pixels per source pixel: `crop` covers the box, `fit` stays in it, never enlarging."""
    across, down = size.width / width, size.height / height
    return max(across, down) if size.mode == "crop" else min(across, down, 1.0)


def _decoded(image: ImageFile.ImageFile, kind: str, scale: float) -> Image.Image:
    """Decode to ``scale`` of the source or somewhat more, as grey, RGB or CMYK without alpha.

    JPEG scales while decoding (in the DCT, by 2, 4 or 8), which saves most of the time and memory; what is
    still larger than needed by a whole factor is averaged down before anything else touches it.
    """
    wanted = (max(1, math.ceil(image.width * scale)), max(1, math.ceil(image.height * scale)))
    if kind == "JPEG":
        image.draft(None, wanted)
    image.load()
    plain = _plain(image)
    factor = min(plain.width // wanted[0], plain.height // wanted[1])
    if factor >= 2:
        plain = plain.reduce(factor)
    if plain.mode in ("LA", "RGBA"):
        plain = _on_white(plain)
    if kind == "JPEG" and plain.mode == "CMYK" and "adobe" not in image.info:
        # Pillow takes every CMYK JPEG for Adobe's inverted kind; without Adobe's marker it is not.
        plain = ImageChops.invert(plain)
    return plain


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


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _resized(image: Image.Image, width: int, height: int, size: Size) -> Image.Image:
    """Scale to the size, cropping the centre for `crop`; width and height are the whole source's."""
    if size.mode == "fit":
        scale = _scale(width, height, size)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
        return image.resize(target, Image.Resampling.LANCZOS)
    scale = _scale(image.width, image.height, size)
    left = max(0.0, (image.width - size.width / scale) / 2)
    top = max(0.0, (image.height - size.height / scale) / 2)
    box = (left, top, image.width - left, image.height - top)
    return image.resize((size.width, size.height), Image.Resampling.LANCZOS, box=box)


def _finished(image: Image.Image, details: ProcessDetails) -> Image.Image:
    """Apply gamma, then sharpen, as the data source's process details say."""
    if details.gamma != 1.0:
        image = image.point(_gamma_table(details.gamma) * len(image.getbands()))
    sharpen = sharpening(details.sharpen)
    return image.filter(sharpen) if sharpen is not None else image


@lru_cache(maxsize=32)
def _gamma_table(gamma: float) -> list[int]:
    """ImageMagick's -gamma: out = in ** (1 / gamma), so above 1 lightens."""
    return [round(255 * (value / 255) ** (1 / gamma)) for value in range(256)]


@lru_cache(maxsize=32)
def sharpening(text: str) -> ImageFilter.UnsharpMask | None:
    """Return ImageMagick's ``-sharpen RxS`` (radius and sigma in pixels) as an unsharp mask, None if idle.

    ImageMagick convolves with a negated Gaussian g, cut at ``ceil(radius)`` pixels (radius 0: where its
    weight falls below 1/65535), whose centre is replaced by twice its sum, normalised (SharpenImage and
    GetOptimalKernelWidth2D in MagickCore). With S the sum and c the centre of g that equals
    ``in + S / (S + c) * (in - blur(in))``: an unsharp mask without threshold, for 0x1 of 86 per cent.
    The amount is exact; Pillow's blur is three box blurs of g's own variance. Measured: with radius 0 half
    a level off on average, 4 of 255 at most; a Gaussian cut short (1x1, 3x10) one on average.
    """
    radius, sigma = (float(part) for part in text.split("x"))
    if sigma < 1e-6:
        return None
    reach = math.ceil(radius) if radius > 0 else _reach(sigma)
    weights = {u: math.exp(-u * u / (2 * sigma * sigma)) for u in range(-reach, reach + 1)}
    total = sum(weights.values())
    variance = sum(u * u * weight for u, weight in weights.items()) / total
    amount = 1 / (1 + 1 / total**2)  # S / (S + c): both share the factor 1 / (2 pi sigma^2), g(0) = 1
    return ImageFilter.UnsharpMask(math.sqrt(variance), round(100 * amount), 0)


def _reach(sigma: float) -> int:
    total, reach = 1 + 2 * math.exp(-1 / (2 * sigma * sigma)), 1
    while True:
        weight = math.exp(-((reach + 1) ** 2) / (2 * sigma * sigma))
        total += 2 * weight
        if weight / total**2 < 1 / 65535:
            return reach
        reach += 1


def _encoded(image: Image.Image, quality: int) -> bytes:
    image.info.clear()  # Pillow would write a comment it finds here
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0", optimize=True)
    return buffer.getvalue()
