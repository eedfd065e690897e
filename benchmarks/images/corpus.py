"""The photographs: the sandbox's own, and as many different files as wanted made of them."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from include.sandbox.photos.catalogue import Photo, generate
from include.sandbox.services.website_answers import with_comment
from include.sandbox.settings import DEFAULT_CACHE

from .settings import BASE

ROOT = BASE / "www"
"""What the web server serves."""

_SEED = "uk-0"  # the demo's own: what it has made is not made again
_OTHERS = 0.06  # of the sandbox's photos are no JPEGs


def photos(count: int) -> list[Photo]:
    """Return ``count`` photos of all classes, making those that the cache lacks.

    Three in a hundred are PNG, WebP or GIF, as in the list that the targets were set by: half of the sandbox's.
    """
    made = list(generate(math.ceil(count / (1 - _OTHERS / 2)), _SEED, DEFAULT_CACHE / "photos").values())
    others = [photo for photo in made if photo.media_type != "image/jpeg"]
    left_out = {photo.file for photo in others[::2]}
    return [photo for photo in made if photo.file not in left_out][:count]


def jpegs(some: Sequence[Photo]) -> list[Photo]:
    """Return those that are JPEGs, grey and CMYK ones among them."""
    return [photo for photo in some if photo.media_type == "image/jpeg"]


def plain_photos(count: int, available: Sequence[Photo]) -> list[Photo]:
    """Return up to ``count`` upright RGB JPEGs, spread over the list, for comparing pixels."""
    plain = [photo for photo in available if photo.photo_class in ("baseline", "progressive")]
    return random.Random(0).sample(plain, min(count, len(plain)))


def publish_different(some: Sequence[Photo], count: int) -> list[str]:
    """Write ``count`` files of which no two have the same bytes: ImageSys works on the same bytes only once."""
    folder = ROOT / f"{count}-of-{len(some)}"
    sources = [some[number % len(some)] for number in range(count)]
    names = [f"{number:06d}{photo.file.suffix}" for number, photo in enumerate(sources)]
    if not folder.exists():
        draft = _emptied(f".{folder.name}")
        for number, (photo, name) in enumerate(zip(sources, names, strict=True)):
            data, text = photo.file.read_bytes(), f"copy {number}"
            is_jpeg = photo.media_type == "image/jpeg"  # decoders pass over what follows the end of another one
            (draft / name).write_bytes(with_comment(data, text) if is_jpeg else data + text.encode())
        draft.rename(folder)
    return [f"/{folder.name}/{name}" for name in names]


def publish_huge(original: Path) -> str:
    """Write one progressive JPEG of 100 megapixels, enlarged from ``original``, and return its path."""
    target = ROOT / "huge" / "100mp.jpg"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(".draft.jpg")
        with Image.open(original) as source:
            enlarged = source.convert("RGB").resize((11_600, 8_700), Image.Resampling.BILINEAR)
        enlarged.save(draft, "JPEG", quality=75, progressive=True)
        draft.rename(target)
    return "/huge/100mp.jpg"


def _emptied(name: str) -> Path:
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
