"""What a decoder of Pillow's has painted of a picture, all of it or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ImageFile

from imagesys_lib.thumbnail.decoding.damage import check_painted, ends_early

Mask = np.ndarray[Any, np.dtype[np.bool_]]
"""Of pixels, height x width."""
RowNumbers = np.ndarray[Any, np.dtype[np.int_]]


def painted(
    kind: str, opened: Callable[[], ImageFile.ImageFile]
) -> tuple[ImageFile.ImageFile, Mask, RowNumbers | None]:
    """Decode over a dark and a light canvas: where these differ nothing was painted.

    Returns the picture over the light one, where it is blank, and, if it was not finished, which rows to show. Raises
    ImageFault if too much of it is blank then.
    """
    dark, _ = _on_canvas(opened(), 0)
    image, stopped = _on_canvas(opened(), 255)
    differs = np.asarray(dark) != np.asarray(image)
    clear: Mask = differs.reshape(image.height, image.width, -1).any(axis=2)
    if stopped is None:
        return image, clear, None
    left, top, right, bottom = stopped.extents
    rows = _rows(clear[:, left:right], top, bottom, interlaced=stopped.interlaced)
    blank = float(clear[rows][top:bottom, left:right].mean())
    check_painted(kind, blank, "truncated" if ends_early(stopped.cause, str(stopped.cause)) else "decode_error")
    return image, clear, rows


def _rows(clear: Mask, top: int, bottom: int, *, interlaced: bool) -> RowNumbers:
    """Return the number of the row to show as each: an interlaced GIF's stand for those that never came (GIF89a, E)."""
    rows = np.arange(len(clear))
    for first, step, tall in ((0, 8, 8), (4, 8, 4), (2, 4, 2), (1, 2, 1)) if interlaced else ():
        for y in range(top + first, bottom, step):
            if not clear[y].all():
                rows[y : min(y + tall, bottom)] = y
    return rows


@dataclass(frozen=True)
class _Stopped:
    """Why a decoder stopped, and the part of the picture that it was to paint: left, top, right, bottom."""

    cause: Exception
    extents: tuple[int, int, int, int]
    interlaced: bool


def _on_canvas(image: ImageFile.ImageFile, level: int) -> tuple[ImageFile.ImageFile, _Stopped | None]:
    prepare, (_, extents, _, args) = image.load_prepare, image.tile[0]

    def prepare_and_fill() -> None:
        prepare()
        bands = len(image.getbands())
        image.im.paste(level if bands == 1 else (level,) * bands, (0, 0, *image.size))

    image.load_prepare = prepare_and_fill  # type: ignore[method-assign]
    try:
        image.load()
    except (OSError, ValueError) as error:
        image.tile = []
        image.load_end()
        gif_args = args if isinstance(args, tuple) and image.format == "GIF" else (0, 0)
        return image, _Stopped(error, extents or (0, 0, *image.size), bool(gif_args[1]))
    return image, None
