"""Pictures of every family, half of them held out from the weights, and how well they are told apart."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.classes.graphics import GRAPHICS, as_jpeg, blank
from benchmarks.classes.photos import MADE, TAKEN, cropped
from imagesys_lib.config.classes import Kind
from imagesys_lib.thumbnail.classes import WEIGHTS, class_of, measures
from imagesys_lib.thumbnail.pixels import Pixels

_Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Picture:
    """A picture as it is when its class is asked; one that is ``held_out`` has no part in the weights."""

    kind: Kind
    family: str
    held_out: bool
    pixels: Pixels


def pictures(
    photographs: Mapping[str, Image.Image],
    drawings: Mapping[str, Image.Image],
    each: int,
    size: tuple[int, int] = (160, 120),
) -> Iterator[Picture]:
    """Yield ``each`` pictures of every family, and those given, as thumbnails within ``size``.

    Drawn ones are held out by their seed, photographs with all that is made of them.
    """
    for family, draw in {**GRAPHICS, "blank": blank, **MADE}.items():
        kind: Kind = "photo" if family in MADE else "blank" if family == "blank" else "graphic"
        for seed in range(each):
            chance = random.Random(f"{family} {seed}")
            picture = draw(chance)
            stored = as_jpeg(picture, chance.randint(40, 92)) if chance.random() < 0.7 else picture
            yield Picture(kind, family, seed % 2 == 1, _thumbnail(stored, size))
    names = sorted(photographs)
    for family, change in TAKEN.items():
        for seed in range(each if names else 0):
            chance = random.Random(f"{family} {seed}")
            name = chance.choice(names)
            stored = as_jpeg(change(cropped(photographs[name], chance), chance), chance.randint(50, 92))
            yield Picture("photo", family, _odd(name), _thumbnail(stored, size))
    for name in names:
        yield Picture("photo", "whole photograph", _odd(name), _thumbnail(photographs[name], size))
    for name in sorted(drawings):
        yield Picture("graphic", "real graphic", _odd(name), _thumbnail(drawings[name], size))


def _odd(name: str) -> bool:
    return zlib.crc32(name.encode()) % 2 == 1


def _thumbnail(picture: Image.Image, size: tuple[int, int]) -> Pixels:
    scale = min(size[0] / picture.width, size[1] / picture.height, 1)
    target = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return np.asarray(picture.convert("RGB").resize(target, Image.Resampling.LANCZOS, reducing_gap=2.5))


@dataclass(frozen=True)
class Told:
    """How pictures were told apart: ``confusion`` counts (what it is, what was said), ``right`` the share by family."""

    confusion: Mapping[tuple[Kind, Kind], int]
    right: Mapping[str, float]

    @property
    def precision(self) -> float:
        """Of what was said to be a photo, the share that is one."""
        return self._of(1)

    @property
    def recall(self) -> float:
        """Of the photos, the share that was said to be one."""
        return self._of(0)

    def _of(self, side: int) -> float:
        photos = sum(count for pair, count in self.confusion.items() if pair[side] == "photo")
        return self.confusion["photo", "photo"] / max(1, photos)


def told(some: Iterable[Picture]) -> Told:
    """Classify pictures and count."""
    confusion: Counter[tuple[Kind, Kind]] = Counter()
    families: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for picture in some:
        said = class_of(picture.pixels)
        confusion[picture.kind, said] += 1
        families[picture.family] += 1
        right[picture.family] += said == picture.kind
    return Told(confusion, {family: right[family] / count for family, count in families.items()})


def fitted(some: Sequence[Picture]) -> dict[str, float]:
    """Return the weights, and the ``bias``, that a logistic regression has from pictures that are not held out."""
    used = [picture for picture in some if not picture.held_out and picture.kind != "blank"]
    rows = [measures(picture.pixels) for picture in used]
    names = sorted(WEIGHTS)
    found = np.array([[row[name] for name in names] for row in rows])
    photo = np.array([picture.kind == "photo" for picture in used], float)
    weight = np.where(photo == 1, 0.5 / photo.mean(), 0.5 / (1 - photo.mean()))  # as if there were as many of both
    mean, spread = found.mean(axis=0), found.std(axis=0)
    scaled = np.column_stack([np.ones(len(used)), (found - mean) / spread])
    solved: _Floats = np.zeros(scaled.shape[1])
    ridge = np.diag([0.0] + [1e-3] * len(names))
    for _ in range(60):  # Newton's steps
        likely = 1 / (1 + np.exp(-scaled @ solved))
        slope = scaled.T @ (weight * (likely - photo)) / len(used) + ridge @ solved
        bend = (scaled * (weight * likely * (1 - likely))[:, None]).T @ scaled / len(used) + ridge
        solved = solved - np.linalg.solve(bend, slope)
    weights = solved[1:] / spread
    return {
        **{name: float(one) for name, one in zip(names, weights, strict=True)},
        "bias": float(solved[0] - weights @ mean),
    }
