"""A picture for the eye: photos by row, contenders by column, enlarged, with bytes and scores below each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from . import decoders, engine
from .metrics import BY_SCALE, SSIM, Reference
from .settings import QUALITY, SIZES

_BOX = (SIZES[0][0], SIZES[0][1])
_ENLARGED = 3
_MARGIN, _CAPTION = 10, 26
_COLUMNS = ("reference: full decode, LANCZOS", "lean", "fast", "img2dataset", "lean as delivered (sharpened)")


@dataclass(frozen=True)
class Row:
    """One photo and img2dataset's thumbnail of it."""

    file: Path
    peer: Path


def draw(rows: Sequence[Row], target: Path) -> Path:
    """Write the sheet and return its path."""
    cell = (_BOX[0] * _ENLARGED + _MARGIN, _BOX[1] * _ENLARGED + _CAPTION + _MARGIN)
    sheet = Image.new("RGB", (_MARGIN + cell[0] * len(_COLUMNS), _MARGIN + _CAPTION + cell[1] * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(16)
    for column, name in enumerate(_COLUMNS):
        pen.text((_MARGIN + column * cell[0], _MARGIN), name, "black", font)
    for number, row in enumerate(rows):
        top = _MARGIN + _CAPTION + number * cell[1]
        for column, (image, caption) in enumerate(_cells(row)):
            left = _MARGIN + column * cell[0]
            large = image.resize((image.width * _ENLARGED, image.height * _ENLARGED), Image.Resampling.NEAREST)
            sheet.paste(large, (left, top))
            pen.text((left, top + large.height + 3), caption, "black", font)
    sheet.save(target, optimize=True)
    return target


def _cells(row: Row) -> list[tuple[Image.Image, str]]:
    full = decoders.full(row.file, _BOX)
    reference = Reference(full)
    cells = [(full, f"{full.width}x{full.height}")]
    files = [
        engine.thumbnail(row.file, "lean", _BOX, QUALITY, sharpen="0x0"),
        engine.thumbnail(row.file, "fast", _BOX, QUALITY, sharpen="0x0"),
        row.peer.read_bytes(),
    ]
    for data in files:
        image = _image(data)
        scores = reference.scores(image)
        caption = f"{len(data):,} bytes, {BY_SCALE} {scores[BY_SCALE]:.1f}, {SSIM} {scores[SSIM]:.3f}"
        cells.append((image, caption))
    delivered = engine.thumbnail(row.file, "lean", _BOX, QUALITY, sharpen="0x1")
    return [*cells, (_image(delivered), f"{len(delivered):,} bytes")]


def _image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")
