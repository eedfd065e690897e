"""Ways of coming from a JPEG to pixels of a size, and from there to two thumbnails: what others do, and the bound."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import simplejpeg
from PIL import Image, ImageOps

from .settings import QUALITY, SIZES

LANCZOS = Image.Resampling.LANCZOS


def fitted(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """Return the size of an image that fits into a box, without enlarging it."""
    scale = min(box[0] / size[0], box[1] / size[1], 1.0)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def full(file: Path, box: tuple[int, int]) -> Image.Image:
    """Decode in full and scale with LANCZOS: the reference."""
    with Image.open(file) as image:
        return image.convert("RGB").resize(fitted(image.size, box), LANCZOS)


def draft(file: Path, box: tuple[int, int], oversampling: int = 1) -> Image.Image:
    """Let the decoder scale, to ``oversampling`` times the size or more, and scale the rest with LANCZOS."""
    with Image.open(file) as image:
        size = fitted(image.size, box)
        drafted = image.draft("RGB", (size[0] * oversampling, size[1] * oversampling))
        # The picture fills only a part of the last pixels; Pillow's thumbnail() minds that too.
        return image.convert("RGB").resize(size, LANCZOS, box=drafted[1] if drafted else None)


def scaled_by_simplejpeg(file: Path, box: tuple[int, int]) -> Image.Image:
    """Let simplejpeg scale, by any eighth, and scale the rest with LANCZOS."""
    data = file.read_bytes()
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    size = fitted((width, height), box)
    pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=size[1], min_width=size[0], min_factor=1)
    scale = next(eighths / 8 for eighths in range(1, 9) if math.ceil(width * eighths / 8) == pixels.shape[1])
    return Image.fromarray(pixels).resize(size, LANCZOS, box=(0, 0, width * scale, height * scale))


def jpeg(image: Image.Image, quality: int = QUALITY, *, optimize: bool = False) -> bytes:
    """Encode with Pillow: 4:2:0, which is its default."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=optimize)
    return buffer.getvalue()


def _two_from_full(file: Path) -> None:
    with Image.open(file) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    for width, height, mode in SIZES:
        small = (
            ImageOps.fit(upright, (width, height), LANCZOS)
            if mode == "crop"
            else upright.resize(fitted(upright.size, (width, height)), LANCZOS)
        )
        jpeg(small)


def _two_by_thumbnail(file: Path) -> None:
    with Image.open(file) as image:
        image.thumbnail(SIZES[0][:2], LANCZOS)
        first = image.convert("RGB")
    jpeg(first)
    jpeg(ImageOps.fit(first, SIZES[1][:2], LANCZOS))


def _bound(files: Sequence[Path]) -> Callable[[Path], None]:
    """Decode scaled, and encode two images that were scaled ahead of the clock: what no way of these can do without."""
    ready = {file: [draft(file, size[:2]) for size in SIZES] for file in files}

    def way(file: Path) -> None:
        with Image.open(file) as image:
            image.draft(None, fitted(image.size, SIZES[0][:2]))
            image.load()
        for thumbnail in ready[file]:
            jpeg(thumbnail)

    return way


BOUND = "bound: scaled decode + encoding"

WAYS: dict[str, Callable[[Sequence[Path]], Callable[[Path], None]]] = {
    BOUND: _bound,
    "Pillow thumbnail()": lambda _files: _two_by_thumbnail,
    "Pillow, full decode": lambda _files: _two_from_full,
}
"""Name -> what prepares for some files and returns what makes two thumbnails of one and drops them."""
