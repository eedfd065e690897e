"""As many different photographs as wanted, made from the originals: which ones (pure), and how each is made.

Photo number `index` of a seed depends on seed and index alone, so a larger count only adds photos, and a
second call makes nothing anew.
"""

from __future__ import annotations

import math
import multiprocessing
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from include.sandbox.photos.maker import MEDIA_TYPES, Recipe, make_variants
from include.sandbox.photos.originals import Original, fetch_originals
from include.sandbox.services.process import file_lock

_VERSION = "v1"
"""Part of the cache's path: raise it when a recipe comes out differently."""

_WORKERS = 2
_RECIPES_A_JOB = 40

_CLASSES_EVEN = {
    "baseline": 34,
    "progressive": 8,
    "exif": 3,
    "cmyk": 1,
    "grey": 1,
    "png": 1,
    "webp": 1,
    "gif": 1,
}
_CLASSES_ODD = {
    "baseline": 36,
    "progressive": 7,
    "exif": 2,
    "cmyk": 1,
    "grey": 1,
    "png": 1,
    "webp": 1,
    "gif": 1,
}
"""What 50 photos consist of; blocks of 50 alternate, so that 100 hold 70 % baseline, 15 % progressive, 5 %
rotated by EXIF.
"""

CLASSES = tuple(_CLASSES_EVEN)

_MEGAPIXELS = {(0.6, 1.0): 12, (1.9, 2.2): 5, (4.0, 6.0): 2, (10.0, 12.0): 1}
"""What 20 photos consist of."""

_ASPECTS = ((4, 3), (3, 2), (16, 9), (4, 3), (3, 2), (3, 4), (2, 3))
_ORIENTATIONS = (3, 6, 8)

Progress = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Photo:
    """A photo on disk; width and height as displayed, that is after the EXIF orientation."""

    index: int
    file: Path
    width: int
    height: int
    photo_class: str
    original: str

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.photo_class]


def generate(
    count: int,
    seed: int | str,
    cache: Path,
    *,
    skip: frozenset[int] = frozenset(),
    forced: Mapping[int, str] | None = None,
    progress: Progress | None = None,
) -> dict[int, Photo]:
    """Photos 0 to count-1 of `seed` by index, made where the cache lacks them.

    `skip` names indices that nobody will look at, `forced` gives an index another class. `progress(done,
    total)` is called now and then, the last time with done == total.
    """
    originals = fetch_originals(cache)
    directory = cache / f"{_VERSION}-{len(originals)}-{seed}"
    recipes = [
        recipe_for(index, seed, originals, (forced or {}).get(index)) for index in range(count) if index not in skip
    ]
    photos = {recipe.index: _photo(recipe, directory) for recipe in recipes}
    report = progress or _ignore
    with file_lock(directory / ".lock", seconds=3600):
        missing = [recipe for recipe in recipes if not _is_made(photos[recipe.index].file)]
        done = len(recipes) - len(missing)
        report(done, len(recipes))
        if missing:
            _make(missing, cache, directory, lambda made: report(done + made, len(recipes)))
    return photos


def recipe_for(index: int, seed: int | str, originals: Sequence[Original], forced_class: str | None = None) -> Recipe:
    """What photo `index` of `seed` is: pure, and the same for ever."""
    block, place = divmod(index, 50)
    classes = _deal(_CLASSES_ODD if block % 2 else _CLASSES_EVEN, index, 50, f"{seed}:class")
    photo_class = forced_class or classes[place]
    low, high = _deal(_MEGAPIXELS, index, 20, f"{seed}:size")[index % 20]
    rng = random.Random(f"{seed}:{index}")
    if photo_class in ("png", "gif") and high > 1.0:
        low, high = 0.6, 1.0  # these formats hold photographs badly: 10 megapixels would be 20 MB
    pixels = rng.uniform(low, high) * 1e6
    across, down = rng.choice(_ASPECTS)
    width = round(math.sqrt(pixels * across / down))
    height = round(pixels / width)
    large_enough = [one for one in originals if _full_crop(one, width / height)[0] >= width]
    original = rng.choice(large_enough or sorted(originals, key=lambda one: one.pixels)[-3:])
    full = _full_crop(original, width / height)
    # Of the largest crop with this aspect, a part, but not so small that the photo would be blurred by
    # enlarging it.
    zoom = rng.uniform(min(1.0, max(0.55, 0.9 * width / full[0])), 1.0)
    crop_width, crop_height = full[0] * zoom, full[1] * zoom
    left = rng.uniform(0, max(0.0, original.width - crop_width))  # rounding can make the crop a hair too large
    top = rng.uniform(0, max(0.0, original.height - crop_height))
    contrast, brightness = rng.uniform(0.88, 1.15), rng.uniform(-18, 18)
    return Recipe(
        index=index,
        photo_class=photo_class,
        original=original,
        width=width,
        height=height,
        box=(left, top, min(left + crop_width, original.width), min(top + crop_height, original.height)),
        mirrored=rng.random() < 0.5,
        gains=tuple(contrast * rng.uniform(0.93, 1.07) for _ in range(3)),
        brightness=brightness,
        quality=rng.randint(77, 84),
        orientation=_ORIENTATIONS[(classes[:place].count("exif") + block) % 3] if photo_class == "exif" else 1,
    )


def _deal(counts: Mapping[T, int], index: int, size: int, key: str) -> list[T]:
    """The values of the block of `size` that holds `index`, shuffled, so that every block has its full share
    of each.
    """
    values = [value for value, number in counts.items() for _ in range(number)]
    random.Random(f"{key}:{index // size}").shuffle(values)
    return values


def _full_crop(original: Original, aspect: float) -> tuple[float, float]:
    """Width and height of the largest part of the original with this aspect."""
    width = min(original.width, original.height * aspect)
    return width, width / aspect


def _photo(recipe: Recipe, directory: Path) -> Photo:
    file = directory / f"{recipe.index // 1000:03d}" / recipe.file_name
    return Photo(recipe.index, file, recipe.width, recipe.height, recipe.photo_class, recipe.original.name)


def _is_made(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0  # a power cut may leave an empty file behind a rename


def _make(recipes: Sequence[Recipe], cache: Path, directory: Path, report: Callable[[int], None]) -> None:
    """Over two processes; all variants of one original in one job, so that it is decoded once."""
    by_original: dict[Original, list[Recipe]] = {}
    for recipe in recipes:
        by_original.setdefault(recipe.original, []).append(recipe)
    jobs = [
        (original, group[at : at + _RECIPES_A_JOB])
        for original, group in by_original.items()
        for at in range(0, len(group), _RECIPES_A_JOB)
    ]
    jobs.sort(
        key=lambda job: -sum(recipe.width * recipe.height for recipe in job[1])
    )  # the longest first: both end together
    for recipe in recipes:
        _photo(recipe, directory).file.parent.mkdir(parents=True, exist_ok=True)
    made = 0
    # spawn: the caller may have threads, which a fork would freeze in whatever lock they hold
    with ProcessPoolExecutor(min(_WORKERS, len(jobs)), mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [
            pool.submit(
                make_variants,
                original.file(cache),
                [(recipe, _photo(recipe, directory).file) for recipe in group],
            )
            for original, group in jobs
        ]
        try:
            for future in as_completed(futures):
                made += future.result()
                report(made)
        finally:
            for future in futures:
                future.cancel()


def _ignore(_done: int, _total: int) -> None:
    """The progress of a caller who does not ask for it."""
