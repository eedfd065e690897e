"""How one photo is made from an original: crop, scale, mirror, tone, encode. Runs in the pool's processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from include.sandbox.photos.originals import Original

MEDIA_TYPES = {
    "baseline": "image/jpeg",
    "progressive": "image/jpeg",
    "exif": "image/jpeg",
    "cmyk": "image/jpeg",
    "grey": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
}

_EXIF_ORIENTATION = 0x0112

_STORED_AS = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
"""Orientation -> how upright pixels are turned for storage, so that a viewer who follows EXIF sees them
upright.
"""


@dataclass(frozen=True)
class Recipe:
    """One photo: size as displayed, which part of which original, tones and encoding."""

    index: int
    photo_class: str
    original: Original
    width: int
    height: int
    box: tuple[float, float, float, float]
    mirrored: bool
    gains: tuple[float, ...]
    brightness: float
    quality: int
    orientation: int

    @property
    def extension(self) -> str:
        return {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/gif": "gif"}[
            MEDIA_TYPES[self.photo_class]
        ]

    @property
    def file_name(self) -> str:
        return f"{self.index:06d}-{self.photo_class}.{self.extension}"


def make_variants(original: Path, jobs: Sequence[tuple[Recipe, Path]]) -> int:
    """Make all photos of one original, which is decoded once; returns how many."""
    with Image.open(original) as source:
        full = source.convert("RGB")
    halved: Image.Image | None = None
    for recipe, file in jobs:
        shrinkage = (recipe.box[2] - recipe.box[0]) / recipe.width
        if shrinkage >= 2:  # a small photo of a large original: scaling from half the size costs a quarter
            halved = halved or full.reduce(2)
            _save(_render(halved, recipe, 0.5), recipe, file)
        else:
            _save(_render(full, recipe, 1.0), recipe, file)
    return len(jobs)


def _render(source: Image.Image, recipe: Recipe, scale: float) -> Image.Image:
    left, top, right, bottom = (edge * scale for edge in recipe.box)
    box = (left, top, min(right, source.width), min(bottom, source.height))
    image = source.resize((recipe.width, recipe.height), Image.Resampling.BICUBIC, box=box)
    if recipe.mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image.point(
        [
            round(min(255, max(0, (v - 128) * gain + 128 + recipe.brightness)))
            for gain in recipe.gains
            for v in range(256)
        ]
    )


def _save(image: Image.Image, recipe: Recipe, file: Path) -> None:
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    _encode(image, recipe, draft)
    draft.replace(file)


def _encode(image: Image.Image, recipe: Recipe, draft: Path) -> None:
    match recipe.photo_class:
        case "png":
            image.putalpha(Image.radial_gradient("L").resize(image.size).point([255 - v // 2 for v in range(256)]))
            image.save(draft, "PNG", compress_level=3)
        case "webp":
            image.save(draft, "WEBP", quality=recipe.quality, method=1)
        case "gif":
            image.quantize(128, method=Image.Quantize.FASTOCTREE).save(draft, "GIF")
        case "cmyk":
            image.convert("CMYK").save(draft, "JPEG", quality=recipe.quality)
        case "grey":
            image.convert("L").save(draft, "JPEG", quality=recipe.quality)
        case "progressive":
            image.save(draft, "JPEG", quality=recipe.quality, progressive=True)
        case "exif":
            exif = Image.Exif()
            exif[_EXIF_ORIENTATION] = recipe.orientation
            image.transpose(_STORED_AS[recipe.orientation]).save(draft, "JPEG", quality=recipe.quality, exif=exif)
        case _:
            image.save(draft, "JPEG", quality=recipe.quality)
