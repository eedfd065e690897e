"""What a decoding process is asked and what it answers: plain, small, and free of imports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["photo", "graphic", "blank"]
"""The kinds of :mod:`imagesys_lib.config.classes`, which decoding processes do not import."""


@dataclass(frozen=True)
class Limits:
    """What a photo may be, in pixels; width and height as a viewer sees them."""

    max_pixels: int
    min_width: int
    min_height: int


@dataclass(frozen=True)
class PlainSize:
    """:class:`imagesys_lib.config.Size` without its validation."""

    width: int
    height: int
    mode: Literal["crop", "fit"]


@dataclass(frozen=True)
class Making:
    """How a photo's thumbnails are made: sizes, process details, encoder, siblings, and what a photo may be."""

    sizes: tuple[PlainSize, ...]
    sharpen: str
    gamma: float
    quality: int
    encoder: Literal["lean", "fast"]
    siblings: tuple[str, ...]
    limits: Limits


@dataclass(frozen=True)
class ThumbnailJob:
    """One photo: ``source`` is its file; thumbnail n becomes ``<root>/<stem>.<n>.<suffix>``.

    ``sha1`` is that of the bytes that were fetched, if it is known.
    """

    key: int
    source: Path
    root: Path
    stem: str
    making: Making
    sha1: str | None = None


@dataclass(frozen=True)
class Made:
    """What became of a job: its thumbnails' rows and what they show, or a reason's code and detail.

    Neither if its file is lost.
    ``raised`` is the traceback of an exception that nobody foresaw.
    """

    key: int
    thumbs: tuple[dict[str, Any], ...] = ()
    image_class: Kind | None = None
    code: str = ""
    detail: str = ""
    raised: str = ""


ThumbnailWork = Callable[[ThumbnailJob], Made]
