"""One photo: sniff, decode no more than needed, upright sRGB, small files without metadata."""

from __future__ import annotations

import hashlib
import io
import mmap
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from PIL import Image

from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.thumbnail.classes import class_of
from imagesys_lib.thumbnail.decoding.colour import to_srgb
from imagesys_lib.thumbnail.decoding.damage import ends_early
from imagesys_lib.thumbnail.decoding.decode import Decoded, Opened, opened
from imagesys_lib.thumbnail.decoding.sniff import HEAD_BYTES, boxes_end, sniff, webp_header
from imagesys_lib.thumbnail.encode import encoded, encoded_sibling
from imagesys_lib.thumbnail.gamma_and_sharpen import Details, finished
from imagesys_lib.thumbnail.messages import Kind, Limits
from imagesys_lib.thumbnail.pixels import Pixels
from imagesys_lib.thumbnail.scale import scaled
from imagesys_lib.thumbnail.thumbhash import thumbhash


@dataclass(frozen=True)
class Effort:
    """How closely pixels follow a full decode; measured against one in docs/processing.md.

    A decoder's own scaling stops at ``oversampling`` times the largest thumbnail. A smaller thumbnail is made from the
    next larger one where that has ``cascade`` times its pixels a side. ``coarse`` reads less of a progressive JPEG.
    """

    oversampling: float
    cascade: float
    coarse: bool


EFFORTS = {"lean": Effort(2.5, 1.7, coarse=False), "fast": Effort(1.25, 1.3, coarse=True)}
"""By encoder."""

_BYTES_A_PIXEL = 8
"""What a decoder may need: two canvases for WebP, the coefficients and the picture of a progressive JPEG."""
_MOST_RUNS = 2_000_000
_MOST_WORDS = 200

_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],
    7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}
"""EXIF orientation (EXIF 2.3, 4.6.4) -> what turns and mirrors an image as it is to be seen."""


class Box(Protocol):
    """One thumbnail size in pixels (:class:`imagesys_lib.config.Size`)."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def mode(self) -> Literal["crop", "fit"]:
        """``crop`` fills the box exactly, ``fit`` stays inside it."""


@dataclass(frozen=True)
class Thumbnail:
    """One finished file. ``number`` counts the configured sizes from 1; width and height in pixels.

    ``format`` is the file's suffix: ``jpg``, or that of a sibling. One JPEG of a photo has its ``thumbhash``, the
    largest its ``image_class``.
    """

    number: int
    width: int
    height: int
    data: bytes = field(repr=False)
    format: str = "jpg"
    thumbhash: bytes = b""
    image_class: Kind | None = None


@dataclass(frozen=True)
class _Picture:
    """A picture on its way, as stored (not yet upright), and what it takes to place a size on it."""

    decoded: Decoded
    turned: bool  # lies on its side

    def scaled(self, size: Box) -> float:
        """Return thumbnail pixels per pixel of this picture."""
        width, height = self.decoded.width, self.decoded.height
        return _scale(*((height, width) if self.turned else (width, height)), size)


def create_thumbnails_of_image(
    source: Path,
    sizes: Sequence[Box],
    details: Details,
    limits: Limits,
    encoder: Literal["lean", "fast"] = "lean",
    *,
    siblings: Sequence[str] = (),
    sha1: str | None = None,
) -> tuple[Thumbnail, ...]:
    """Return one JPEG per size, in order, each followed by its ``siblings`` (``webp``, ``avif``).

    They are upright, sRGB, on white, first frame, without metadata. Raises ImageFault: ``not_an_image``,
    ``unsupported_format``, ``too_many_pixels`` and ``too_small`` before any pixel is decoded, ``truncated``,
    ``decode_error``. MemoryError, and an OSError of opening ``source``, pass through; FileNotFoundError is raised also
    if the bytes are not those of ``sha1``. That is looked at where decoding has not shown that the file is whole: what
    a power cut left of it may be half a photo, and what that is called would be said of what the host has.
    """
    data = source.read_bytes()
    try:
        thumbnails, whole = _made(data, sizes, details, limits, encoder, siblings=siblings)
    except ImageFault:
        _check_fetched(data, sha1)
        raise
    if not whole:
        _check_fetched(data, sha1)
    return thumbnails


def _made(
    data: bytes,
    sizes: Sequence[Box],
    details: Details,
    limits: Limits,
    encoder: Literal["lean", "fast"],
    *,
    siblings: Sequence[str],
) -> tuple[tuple[Thumbnail, ...], bool]:
    """Return the thumbnails, and whether decoding has shown that the file is whole.

    Here alone everything else is caught: the decoders are C libraries and parsers fed by strangers, which raise
    whatever they stumble over (struct.error, KeyError, ZeroDivisionError ...), and whatever it is, it concerns this
    image only.
    """
    head = data[:HEAD_BYTES]
    kind, size = sniff(head), (0, 0)
    try:
        if kind == "WEBP":
            size = _check_webp(head, len(data), limits)
        effort = EFFORTS[encoder]
        photo = opened(kind, data)
        size = photo.size
        picture = _picture(photo, sizes, limits, effort=effort)
        made: list[Thumbnail] = []
        whole_photo = next((n for n, size in enumerate(sizes, 1) if size.mode == "fit"), 1)
        for number, stored in _resized_all(picture, sizes, effort.cascade):
            upright = _UPRIGHT[photo.orientation](stored) if photo.orientation in _UPRIGHT else stored
            upright = np.ascontiguousarray(upright)
            shows = None if made else class_of(upright)  # the first is the largest
            done = finished(upright, details)
            height, width = done.shape[:2]
            glance = thumbhash(done) if number == whole_photo else b""
            made.append(
                Thumbnail(
                    number, width, height, encoded(done, details.quality, encoder), thumbhash=glance, image_class=shows
                )
            )
            for name in siblings:
                sibling = encoded_sibling(done, details.quality, name)
                made.append(Thumbnail(number, width, height, sibling, name))
        return tuple(sorted(made, key=lambda thumbnail: thumbnail.number)), picture.decoded.whole
    except ImageFault:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageFault("too_many_pixels", f"{kind}: far more than allowed") from None
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise  # memory: perhaps what earlier photos have left of the process; another one has to say so too
    except BaseException as error:  # also what Rust code raises when it panics
        text = _described(error)
        if "out of memory" in text.lower() or not _has_room(size):
            raise MemoryError from error  # which most decoders call broken data
        cut = ends_early(error, text) or (kind == "AVIF" and boxes_end(io.BytesIO(data)) > len(data))
        raise ImageFault("truncated" if cut else "decode_error", f"{kind}: {text}") from None


def _described(error: BaseException) -> str:
    """Return an error's kind and words as short plain ASCII: they may hold anything that a file does."""
    words = "".join(traceback.format_exception_only(error)).strip()
    return words[:_MOST_WORDS].encode("unicode_escape").decode()


def _check_fetched(data: bytes, sha1: str | None) -> None:
    if sha1 and hashlib.sha1(data, usedforsecurity=False).hexdigest() != sha1:
        raise FileNotFoundError("the original is not what was fetched")


def _has_room(size: tuple[int, int]) -> bool:
    """Say whether this process may still have what decoding so many pixels takes."""
    try:
        mmap.mmap(-1, max(1, size[0] * size[1] * _BYTES_A_PIXEL), flags=mmap.MAP_PRIVATE).close()
    except OSError:
        return False
    return True


def _picture(photo: Opened, sizes: Sequence[Box], limits: Limits, *, effort: Effort) -> _Picture:
    """Return the decoded picture, once its size is known to be allowed."""
    _check_pixels(photo.size, limits)
    _check_runs(photo)
    turned = photo.orientation >= 5
    width, height = photo.size[::-1] if turned else photo.size
    if width < limits.min_width or height < limits.min_height:
        raise ImageFault("too_small", f"{width}x{height}, at least {limits.min_width}x{limits.min_height} wanted")
    scale = min(1.0, effort.oversampling * max(_scale(width, height, size) for size in sizes))
    return _Picture(photo.decoded(scale, effort.coarse), turned)


def _resized_all(picture: _Picture, sizes: Sequence[Box], cascade: float) -> list[tuple[int, Pixels]]:
    """Return (number, sRGB pixels as stored) of every size, the largest first, each from as little as it can be."""
    made: list[tuple[int, Pixels]] = []
    source, is_srgb = picture, False
    order = sorted(enumerate(sizes, 1), key=lambda item: picture.scaled(item[1]), reverse=True)
    for number, size in order:
        if source.scaled(size) * cascade > 1:
            source, is_srgb = picture, False
        pixels = _resized(source, size, picture)
        if not is_srgb:
            pixels = to_srgb(pixels, picture.decoded.profile)
        made.append((number, pixels))
        if size.mode == "fit":  # a cropped one lacks what the next may show
            height, width = pixels.shape[:2]
            source, is_srgb = _Picture(Decoded(pixels, width, height), picture.turned), True
    return made


def _check_pixels(size: tuple[int, int], limits: Limits) -> None:
    if size[0] * size[1] > limits.max_pixels:
        raise ImageFault("too_many_pixels", f"{size[0]}x{size[1]}, {limits.max_pixels} pixels allowed")


def _check_runs(photo: Opened) -> None:
    """Refuse a large BMP of run lengths: Pillow unpacks it byte by byte in Python, 25 s for 50 MP in 2 KB."""
    width, height = photo.size
    if photo.run_lengths and width * height > _MOST_RUNS:
        raise ImageFault("too_many_pixels", f"{width}x{height} in a run-length BMP, {_MOST_RUNS} allowed")


def _check_webp(head: bytes, length: int, limits: Limits) -> tuple[int, int]:
    """Check and return the size that the header announces: Pillow's decoder allocates the canvas when it is opened."""
    announced, size = webp_header(head)
    if size is not None:
        _check_pixels(size, limits)
    _check_complete("WEBP", announced, length)
    return size or (0, 0)


def _check_complete(kind: str, announced: int, length: int) -> None:
    """Distinguish a cut file from a broken one where the decoder does not."""
    if announced > length:
        raise ImageFault("truncated", f"{kind}: {length} of {announced} bytes")


def _scale(width: float, height: float, size: Box) -> float:
    """Return thumbnail pixels per source pixel: `crop` covers the box, `fit` stays in it, never enlarging."""
    across, down = size.width / width, size.height / height
    return max(across, down) if size.mode == "crop" else min(across, down, 1.0)


def _resized(source: _Picture, size: Box, whole: _Picture) -> Pixels:
    """Scale to the size, cropping the centre for `crop`. Pictures are still as stored, the size as seen.

    What `fit` comes to is reckoned from ``whole``: ``source`` may have been rounded to whole pixels already.
    """
    have = source.decoded
    if size.mode == "fit":
        scale = whole.scaled(size)
        target = (max(1, round(whole.decoded.width * scale)), max(1, round(whole.decoded.height * scale)))
        box = (0.0, 0.0, have.width, have.height)
    else:
        target = (size.height, size.width) if source.turned else (size.width, size.height)
        scale = source.scaled(size)
        left = max(0.0, (have.width - target[0] / scale) / 2)
        top = max(0.0, (have.height - target[1] / scale) / 2)
        box = (left, top, have.width - left, have.height - top)
    return scaled(have.pixels, target, box)
