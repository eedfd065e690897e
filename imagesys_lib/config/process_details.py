"""Settings of thumbnails: sizes, a data source's process details, and the processes that make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from imagesys_lib.config.section import (
    HttpStatus,
    Seconds,
    Section,
    StatusMeaning,
)


class Size(Section):
    """One thumbnail size in pixels; ``crop`` fills the box exactly, ``fit`` stays inside it."""

    width: Annotated[int, Field(ge=16, le=4096)]
    height: Annotated[int, Field(ge=16, le=4096)]
    mode: Literal["crop", "fit"]


class ProcessDetails(Section):
    """How a data source's thumbnails are finished: ``sharpen`` is radius x sigma, as ImageMagick means it."""

    sharpen: Annotated[str, Field(pattern=r"^\d+(\.\d+)?x\d+(\.\d+)?$")] = "0x1"
    gamma: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    quality: Annotated[int, Field(ge=1, le=100)] = 90


class DataSource(ProcessDetails):
    """What holds for one data source alone: how its thumbnails are finished, what its hosts' statuses mean.

    Process details that it does not name are the country's.
    """

    statuses: Mapping[HttpStatus, StatusMeaning] = Field(default_factory=dict)


class Thumbnailing(Section):
    """How thumbnails are made. ``processes`` decode at once, each within ``memory_mb`` and ``seconds`` an image.

    ``encoder``: ``lean`` spends time on fewer bytes, ``fast`` does not. ``siblings`` are made beside each JPEG.
    The same bytes on more than ``placeholder_listings`` listings of one data source are a placeholder (0: never).
    """

    encoder: Literal["lean", "fast"] = "lean"
    siblings: tuple[Literal["webp", "avif"], ...] = ()
    processes: Annotated[int, Field(ge=1, le=256)] | None = None
    memory_mb: Annotated[int, Field(ge=128, le=65536)] = 768
    seconds: Seconds = 20
    placeholder_listings: Annotated[int, Field(ge=0)] = 50
