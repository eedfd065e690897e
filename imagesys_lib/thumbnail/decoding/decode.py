"""Decoding: no more pixels than the thumbnails need, as grey, RGB or CMYK without alpha, as a browser shows them."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import IO

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from imagesys_lib.thumbnail.decoding import exif
from imagesys_lib.thumbnail.decoding.bmp import (
    MaskedBmp,
    embedded_profile,
    masked_bmp,
    with_fewer_colours,
    with_usual_header,
)
from imagesys_lib.thumbnail.decoding.canvas import Mask, painted
from imagesys_lib.thumbnail.decoding.colour import eight_bits, to_srgb
from imagesys_lib.thumbnail.decoding.gif import with_cut_block
from imagesys_lib.thumbnail.decoding.jpeg import JpegHeader, jpeg_header
from imagesys_lib.thumbnail.decoding.png import Png, read_png
from imagesys_lib.thumbnail.decoding.png_rows import spread
from imagesys_lib.thumbnail.pixels import Pixels, as_image, as_pixels

_EIGHTS = 8
_RUN_LENGTHS = (1, 2)  # BI_RLE8, BI_RLE4
_CODE_BITS = range(2, 9)  # GIF89a, 22
_ANIMATED = 2  # of VP8X's flags (RFC 9649, 2.7.1)

# The decoders themselves, not Image.open(): no other decoder ever sees the bytes, and Image.open's global
# MAX_IMAGE_PIXELS and its warning play no part (ours is checked instead, per call).
DECODERS: dict[str, Callable[[IO[bytes]], ImageFile.ImageFile]] = {
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
    to its end and found no fault, ``profile`` (ICC) what the samples mean, None for sRGB.
    """

    pixels: Pixels  # of 1 channel (grey), 3 (RGB) or 4 (CMYK)
    width: float
    height: float
    whole: bool = False
    profile: bytes | None = None


@dataclass(frozen=True)
class Opened:
    """A photo whose header was read: its size as stored, EXIF orientation, and what decodes it.

    ``decoded(scale, coarse)`` decodes to ``scale`` of the source or somewhat more.
    """

    size: tuple[int, int]
    orientation: int
    decoded: Callable[[float, bool], Decoded]
    run_lengths: bool = False


def opened(kind: str, data: bytes) -> Opened:
    """Read the header of ``data`` with the decoder of its format."""
    if kind == "JPEG":
        header = jpeg_header(data)
        size = header.width, header.height
        return Opened(size, exif.orientation(header.exif), partial(_jpeg, header, data))
    if kind == "PNG":
        png = read_png(data)
        return Opened((png.width, png.height), exif.orientation(png.exif), partial(_png, png))
    if kind == "BMP":
        data = with_usual_header(data)
    if kind == "BMP" and (bmp := masked_bmp(data)):
        return Opened((bmp.width, bmp.height), 1, partial(_bmp, bmp, data))
    return _opened_by_pillow(kind, with_fewer_colours(data) if kind == "BMP" else data)


def _opened_by_pillow(kind: str, data: bytes) -> Opened:
    image = _image(kind, data)
    turn = exif.orientation(_without_prefix(image.info.get("exif"))) if kind in ("WEBP", "AVIF") else 1

    def decoded(scale: float, _coarse: bool) -> Decoded:
        profile = embedded_profile(data) if kind == "BMP" else image.info.get("icc_profile")
        return _scaled(_gif(data) if kind == "GIF" else _plain(_loaded(kind, data, image)), scale, profile)

    return Opened(image.size, turn, decoded, kind == "BMP" and image.info.get("compression") in _RUN_LENGTHS)


def _without_prefix(data: bytes | None) -> bytes | None:
    return data.removeprefix(b"Exif\0\0") if data else None


def _image(kind: str, data: bytes) -> ImageFile.ImageFile:
    image = DECODERS[kind](io.BytesIO(data))
    if kind == "TIFF":
        image.info.pop("xmp", None)  # Pillow turns TIFF itself as it loads, by XMP where EXIF says nothing
    if kind == "GIF" and image.tile and image.tile[0].args[0] not in _CODE_BITS:  # type: ignore[index, operator]
        raise ValueError("codes of no known width")
    if isinstance(image, WebPImagePlugin.WebPImageFile) and data[12:16] == b"VP8X" and data[20] & _ANIMATED:
        image.rawmode = image._mode = "RGBA"  # the first frame may be smaller than the canvas, which is clear
    return image


def _jpeg(header: JpegHeader, data: bytes, scale: float, coarse: bool) -> Decoded:
    pixels, eighths, whole = header.decoded(data, scale, coarse=coarse)
    width, height = header.width * eighths / _EIGHTS, header.height * eighths / _EIGHTS
    return Decoded(pixels, width, height, whole, header.profile)


def _bmp(bmp: MaskedBmp, data: bytes, scale: float, _coarse: bool) -> Decoded:
    return _scaled(Image.fromarray(bmp.decoded(data)), scale, embedded_profile(data))


def _png(png: Png, scale: float, _coarse: bool) -> Decoded:
    data, known = png.for_decoder()
    image = _image("PNG", data)
    image.load()
    clear = _clear(png, image, data)
    plain = _plain(image) if clear is None else _with_clear(_plain(image), clear)
    if known and png.interlaced:
        plain = Image.fromarray(spread(np.asarray(plain), known))
    if png.frame:
        canvas = Image.new("RGBA", (png.width, png.height))
        canvas.paste(plain, png.frame[:2])
        plain = canvas
    return _scaled(plain, scale, png.profile())


def _clear(png: Png, image: Image.Image, data: bytes) -> Mask | None:
    """Return where the pixels are of the transparent colour, None if there is none."""
    key = png.key()
    if key is None:
        return None
    samples = np.asarray(image)
    if len(key) == 1:
        step = 1 if png.depth in (1, 16) else 0xFF // ((1 << png.depth) - 1)  # Pillow spreads samples of 2 and 4 bits
        grey: Mask = samples == key[0] * step
        return grey
    upper = [sample >> png.depth - 8 for sample in key]
    clear: Mask = (samples == upper).all(axis=2)
    if png.depth == 16:  # of which Pillow keeps the upper halves; here are the lower ones
        lower = _image("PNG", data)
        lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]
        clear &= (np.asarray(lower) == [sample & 255 for sample in key]).all(axis=2)
    return clear


def _with_clear(image: Image.Image, clear: Mask) -> Image.Image:
    if clear.any():
        image.putalpha(Image.fromarray(np.where(clear, np.uint8(0), np.uint8(255))))
    return image


def _gif(data: bytes) -> Image.Image:
    """Return a GIF's first frame on a clear canvas."""
    image, clear, rows = painted("GIF", partial(_image, "GIF", with_cut_block(data)))
    index = image.info.pop("transparency", None)
    if index is not None:
        clear |= np.asarray(image) == index
    plain = _with_clear(image.convert("RGB"), clear)
    return plain if rows is None else Image.fromarray(np.asarray(plain)[rows])


def _loaded(kind: str, data: bytes, image: ImageFile.ImageFile) -> Image.Image:
    try:
        image.load()
    except (OSError, ValueError):
        if kind not in ("BMP", "TIFF"):
            raise  # nothing of it would be shown
        image = painted(kind, partial(_image, kind, data))[0]
    return image


def _scaled(plain: Image.Image, scale: float, profile: bytes | None) -> Decoded:
    """Average down by a whole factor to ``scale`` or somewhat more, and flatten on white."""
    wanted = (max(1, math.ceil(plain.width * scale)), max(1, math.ceil(plain.height * scale)))
    factor = max(1, int(min(plain.width / wanted[0], plain.height / wanted[1])))
    made = plain.reduce(factor) if factor > 1 else plain
    if made.mode in ("LA", "RGBA"):
        made, profile = _on_white(made, profile), None
    return Decoded(as_pixels(made), plain.width / factor, plain.height / factor, profile=profile)


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


def _on_white(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the image on white, which is sRGB's, so that it is brought to sRGB itself before."""
    mode = "L" if image.mode == "LA" else "RGB"
    colours = image.convert(mode)
    if profile:
        mode, colours = "RGB", as_image(to_srgb(as_pixels(colours), profile))
    canvas = Image.new(mode, image.size, "white")
    canvas.paste(colours, mask=image.getchannel("A"))
    return canvas
