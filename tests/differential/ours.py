"""What the pipeline makes of URLs: the real fetcher, then thumbnails in decoding processes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from imagesys_lib.config import Fetch
from imagesys_lib.fetch.http.fetcher import Fetcher
from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.thumbnail.messages import Made, ThumbnailJob
from imagesys_lib.thumbnail.processes.pool import TASK_IMAGES, Decoders
from tests.differential.chromium import MIDDLE
from tests.support.poison import MAKING

_SETTINGS = Fetch(
    connect_timeout=5,
    read_timeout=10,
    allowed_addresses=["127.0.0.0/8"],
    user_agent="ImageSys-test/1 (+https://example.com)",
)
_MEMORY_MB, _SECONDS = 768, 20.0


@dataclass(frozen=True)
class Result:
    """A photo's mean colours in the middles of its thumbnail's quarters, or the reason why there is no thumbnail."""

    quarters: tuple[tuple[int, ...], ...] = ()
    reason: str = ""
    detail: str = ""


class Pipeline:
    """Fetches into ``folder``, and makes thumbnails of it."""

    def __init__(self, fetcher: Fetcher, folder: Path) -> None:
        self._fetcher, self._folder, self._count = fetcher, folder, 0

    def fetched(self, url: str) -> Path | Result:
        """Fetch one URL; returns its file, or why there is none."""
        self._count += 1
        target = self._folder / str(self._count)
        try:
            self._fetcher.fetch(url, target)
        except ImageFault as fault:
            return Result(reason=fault.reason.code, detail=fault.detail)
        return target

    def made(self, files: Mapping[str, Path | Result]) -> Mapping[str, Result]:
        """Make thumbnails of all files, and return what became of each name."""
        found = {name: one for name, one in files.items() if isinstance(one, Result)}
        names = [name for name in files if name not in found]
        jobs = [ThumbnailJob(n, files[name], self._folder, f"thumb-{n}", MAKING) for n, name in enumerate(names)]
        with Decoders(2, _MEMORY_MB, _SECONDS) as decoders:
            for piece in [decoders.submit(jobs[at : at + TASK_IMAGES]) for at in range(0, len(jobs), TASK_IMAGES)]:
                found |= {names[one.key]: self._result(one) for one in piece.result(300)}
        return found

    def _result(self, one: Made) -> Result:
        if not one.thumbs:
            return Result(reason=one.code or "lost", detail=one.detail)
        fitted = next(row for row in one.thumbs if row["n"] == 2)
        with Image.open(io.BytesIO((self._folder / fitted["path"]).read_bytes())) as picture:
            return Result(quarters=_middles(np.asarray(picture.convert("RGB"))))


@contextmanager
def pipeline(folder: Path) -> Iterator[Pipeline]:
    """A fetcher with the default settings that may ask loopback, and where it puts its files."""
    with Fetcher(_SETTINGS) as fetcher:
        yield Pipeline(fetcher, folder)


def _middles(pixels: np.ndarray) -> tuple[tuple[int, ...], ...]:
    height, width = pixels.shape[:2]

    def around(middle: float, length: int) -> slice:
        return slice(int((middle - MIDDLE) * length), int(np.ceil((middle + MIDDLE) * length)))

    found: Sequence[np.ndarray] = [
        pixels[around(top, height), around(left, width)].mean(axis=(0, 1))
        for top in (0.25, 0.75)
        for left in (0.25, 0.75)
    ]
    return tuple(tuple(round(float(value)) for value in colour) for colour in found)
