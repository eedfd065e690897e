"""The thumbnail engine as the benchmark calls it: everything that knows the engine's own functions is here."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from imagesys_lib.thumbnail import one_photo
from imagesys_lib.thumbnail.decoding.sniff import HEAD_BYTES, sniff
from imagesys_lib.thumbnail.encode import encoded, encoded_sibling
from imagesys_lib.thumbnail.messages import Made, Making, PlainSize, ThumbnailJob
from imagesys_lib.thumbnail.one_photo import Limits, create_thumbnails_of_image
from imagesys_lib.thumbnail.processes.pool import TASK_IMAGES, Decoders

from .settings import ENCODERS, QUALITY, SCRATCH, SIZES

Encode = Callable[[Image.Image, int], bytes]

_OUT = SCRATCH / "cpu-out"
_LIMITS = Limits(max_pixels=50_000_000, min_width=32, min_height=32)
_SIZES: tuple[PlainSize, ...] = tuple(PlainSize(width, height, mode) for width, height, mode in SIZES)  # type: ignore[arg-type]
_MEMORY_MB, _SECONDS = 768, 20.0  # the settings' defaults
_SIBLING_START = 85
_AHEAD = 2  # chunks handed out ahead of the one that is worked on


def encoders() -> dict[str, Encode]:
    """Return the engine's encoders by name: image and quality to bytes."""
    return {name: partial(_encoded, name) for name in ENCODERS}


def siblings() -> dict[str, tuple[Encode, int]]:
    """Return the encoders of sibling formats, each with a quality to begin with."""
    return {
        "ImageSys WebP": (partial(_sibling, "webp"), _SIBLING_START),
        "ImageSys AVIF": (partial(_sibling, "avif"), _SIBLING_START),
    }


def scaled(file: Path, encoder: str, box: tuple[int, int]) -> Image.Image:
    """Return the pixels of the first size, before sharpening and encoding."""
    data = file.read_bytes()
    if _SIZES[0] != PlainSize(*box, "fit"):
        raise ValueError(f"{box} is not the first size")
    picture, profile, _ = one_photo._picture(
        data, sniff(data[:HEAD_BYTES]), _SIZES, _LIMITS, one_photo.EFFORTS[encoder]
    )
    images = dict(one_photo._resized_all(picture, profile, _SIZES, one_photo.EFFORTS[encoder].cascade))
    return Image.fromarray(images[1])


def thumbnail(file: Path, encoder: str, box: tuple[int, int], quality: int, sharpen: str) -> bytes:
    """Return a finished file of one size."""
    size = PlainSize(*box, "fit")
    making = Making((size,), sharpen, 1.0, quality, encoder, (), _LIMITS)  # type: ignore[arg-type]
    (made,) = create_thumbnails_of_image(file, making.sizes, making, making.limits, making.encoder)
    return made.data


@contextmanager
def pool(encoder: str) -> Iterator[Callable[[Sequence[Path]], None]]:
    """Open the engine's pool with one process, as its peers have, and yield what makes both thumbnails of many files.

    That raises RuntimeError if one of them could not be made.
    """
    making = Making(_SIZES, "0x1", 1.0, QUALITY, encoder, (), _LIMITS)  # type: ignore[arg-type]
    _OUT.mkdir(parents=True, exist_ok=True)
    with Decoders(1, _MEMORY_MB, _SECONDS) as decoders:

        def make_all(files: Sequence[Path]) -> None:
            jobs = [ThumbnailJob(number, file, _OUT, str(number), making) for number, file in enumerate(files)]
            waiting: deque[Future[list[Made]]] = deque()
            for at in range(0, len(jobs), TASK_IMAGES):
                waiting.append(decoders.submit(jobs[at : at + TASK_IMAGES]))
                if len(waiting) > _AHEAD:
                    _check(waiting.popleft())
            while waiting:
                _check(waiting.popleft())

        try:
            yield make_all
        finally:
            shutil.rmtree(_OUT, ignore_errors=True)


def _check(future: Future[list[Made]]) -> None:
    failed = [made for made in future.result() if not made.thumbs]
    if failed:
        raise RuntimeError(f"{len(failed)} of a chunk failed: {failed[0].code} {failed[0].detail}")


def _encoded(name: str, image: Image.Image, quality: int) -> bytes:
    return encoded(np.asarray(image), quality, name)


def _sibling(kind: str, image: Image.Image, quality: int) -> bytes:
    return encoded_sibling(np.asarray(image), quality, kind)
