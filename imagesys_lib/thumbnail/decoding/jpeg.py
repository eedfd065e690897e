"""JPEGs: what their header says, and their pixels by libjpeg-turbo, which scales while it decodes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import JpegImagePlugin

from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.thumbnail.decoding.damage import check_painted
from imagesys_lib.thumbnail.decoding.jpeg_scans import needed_scans, whole_scans
from imagesys_lib.thumbnail.pixels import Pixels, as_pixels

_EIGHTS = 8
_FINER = 1.25
"""One eighth is the mere mean of each block: it takes so much more of it to look as good as the other scales."""
_NO_DATA = 128
"""The sample, in every colour space, of a block whose coefficients are all zero."""

_COARSE = 2  # eighths up to which a progressive JPEG's last bits go unseen
_SPACES = {1: "GRAY", 3: "RGB", 4: "CMYK"}  # by components
_USUAL = {1: 0, 3: 1, 4: 2}
"""Adobe's transform: none, YCbCr, YCCK."""

_SOS, _EOI, _APP0, _APP1, _APP2, _APP14, _COM = 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_EXTRAS = frozenset((*range(0xE0, 0xF0), _COM)) - {_APP0, _APP14}
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_BARE = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))  # without a length


@dataclass(frozen=True)
class JpegHeader:
    """What stands before the first scan; width and height in pixels, ``components`` of colour (1, 3 or 4)."""

    width: int
    height: int
    components: int
    progressive: bool
    exif: bytes | None
    profile: bytes | None

    def decoded(self, data: bytes, scale: float, *, coarse: bool) -> tuple[Pixels, int, bool]:
        """Return (pixels, eighths of the size that they are, whether the file is whole).

        Pixels are grey, RGB or CMYK (0 is no ink). Raises ImageFault ``truncated`` if too much of them is missing,
        ValueError for what libjpeg refuses.
        """
        # libjpeg scales by M/8 in its inverse DCT, but only these have fast ones, and others look worse.
        eighths = next((m for m in (1, 2, 4) if m >= _EIGHTS * scale * (_FINER if m == 1 else 1)), _EIGHTS)
        in_part = eighths <= _COARSE and self.progressive
        try:
            pixels = self._pixels(needed_scans(data, eighths, coarse=coarse) if in_part else data, eighths)
            whole = True
        except ValueError:
            pixels, whole = self._nearly_whole(data, eighths), False
        # CMYK is stored as Adobe does, inverted, whether or not a marker says so: no browser looks.
        return (255 - pixels if self.components == 4 else pixels), eighths, whole

    def _pixels(self, data: bytes, eighths: int, *, strict: bool = True) -> Pixels:
        wanted = (math.ceil(self.height * eighths / _EIGHTS), math.ceil(self.width * eighths / _EIGHTS))
        # Where it is not strict, libjpeg may give up before a row is written: that must be no data, and not what was in
        # that memory before, which may be another photo.
        buffer = None if strict else np.full((*wanted, self.components), _NO_DATA, np.uint8)
        pixels: Pixels = simplejpeg.decode_jpeg(
            data,
            _SPACES[self.components],
            min_height=wanted[0],
            min_width=wanted[1],
            min_factor=1,
            buffer=buffer,
            strict=strict,
        )
        if pixels.shape[:2] != wanted:
            raise ValueError(f"libjpeg made {pixels.shape[1]}x{pixels.shape[0]} of {self.width}x{self.height}")
        return pixels

    def _pixels_anyhow(self, data: bytes, eighths: int) -> Pixels:
        """Decode what there is; by Pillow where colours are sampled in a way that TurboJPEG has no name for."""
        try:
            return self._pixels(data, eighths, strict=False)
        except ValueError as error:
            if "subsampling" not in str(error):
                raise
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(data + b"\xff\xd9"))
        image.draft(None, (math.ceil(self.width * eighths / _EIGHTS), math.ceil(self.height * eighths / _EIGHTS)))
        pixels = as_pixels(image)
        return 255 - pixels if self.components == 4 else pixels

    def _nearly_whole(self, data: bytes, eighths: int) -> Pixels:
        """Decode what there is of a damaged file, once it is known to be nearly all.

        libjpeg's errors behind the pixels, such as a marker that makes no sense, do not count: the file is tried
        without what follows its scans, then without all but the first. A progressive one is tried so at once, since
        what follows may spoil the scans before it.
        """
        # Zeros at a file's end are no data but what a failed copy has left; a marked end is not needed.
        there = data.rstrip(b"\0").removesuffix(b"\xff\xd9").rstrip(b"\0")
        plain = _without_extras(there, _USUAL[self.components])
        tries = [*whole_scans(plain), plain] if self.progressive else [plain, *whole_scans(plain)]
        while True:
            tried = tries.pop(0)
            try:
                check_painted("JPEG", _absent(self._pixels_anyhow(tried, 1)))
                return self._pixels_anyhow(tried, eighths)
            except (ImageFault, ValueError, OSError, SyntaxError):
                if not tries:
                    raise


def _absent(means: Pixels) -> float:
    """Return the share of blocks (one pixel each, an eighth of the size) that no data came for.

    libjpeg leaves such a block's coefficients zero, which is mid-grey in every colour space. A photo's own blocks may
    be so as well, but hardly as many in a row as the picture is wide.
    """
    grey = ((means == _NO_DATA - 1) | (means == _NO_DATA)).all(axis=2)
    height, width = grey.shape
    # Data come by two by two blocks where colour is coarser, as nearly always.
    grey = np.pad(grey, ((0, height % 2), (0, width % 2)), constant_values=True)
    grey = grey.reshape(-1, 2, grey.shape[1] // 2, 2).all(axis=(1, 3))
    edges = np.flatnonzero(np.diff(np.concatenate(([0], grey.ravel().view(np.int8), [0]))))
    runs = edges[1::2] - edges[::2]
    return float(runs[runs >= grey.shape[1]].sum() / grey.size)


def jpeg_header(data: bytes) -> JpegHeader:
    """Read a JPEG's segments up to its first scan. Raises EOFError if they end before, ValueError for no such JPEG."""
    frame: tuple[int, bytes] | None = None
    exif: bytes | None = None
    parts: list[bytes] = []
    for marker, body, _ in _segments(data):
        if marker in _FRAMES and frame is None:
            frame = marker, body
        elif marker == _APP1 and exif is None and body.startswith(b"Exif\0"):
            exif = body[6:]
        elif marker == _APP2 and body.startswith(b"ICC_PROFILE\0"):
            parts.append(body[12:])
    if frame is None:
        raise EOFError("the file ends within its header")
    marker, body = frame
    if len(body) < 6 or body[5] not in _SPACES:
        raise ValueError("a frame of no known kind")
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    return JpegHeader(width, height, body[5], marker in _PROGRESSIVE, exif, _profile(parts))


def _without_extras(data: bytes, transform: int) -> bytes:
    """Return a JPEG whose header holds nothing beside the picture that libjpeg could stumble over.

    ``transform`` is what Adobe's segment shall say instead of one that there is not for so many components.
    """
    parts, rest = [data[:2]], 2
    for marker, body, end in _segments(data):
        kept, rest = body, end
        if marker in (_SOS, _EOI):
            break
        if marker == _APP14 and body.startswith(b"Adobe") and body[11:12] not in (b"", b"\0"):
            kept = body[:11] + bytes((transform,))
        elif marker == _APP0 and body.startswith(b"JFIF\0"):
            kept = body[:5] + b"\1\1" + body[7:]  # version 1.01, whatever it says
        if marker not in _EXTRAS:
            parts.append(bytes((0xFF, marker)) + (len(kept) + 2).to_bytes(2, "big") + kept)
    return b"".join((*parts, data[rest:]))


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield (marker, body, its end) up to the first scan, passing over what stands between them as libjpeg does.

    The scan itself comes without a body, and with its start.
    """
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
        elif marker in _BARE:
            at += 2
        elif marker in (_SOS, _EOI):
            yield marker, b"", at
            return
        else:
            end = at + 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
            yield marker, data[at + 4 : end], end
            at = end


def _profile(parts: list[bytes]) -> bytes | None:
    """Put an ICC profile together (ICC.1, B.4): each part has its number and that of all before its data."""
    known: dict[int, bytes] = {}
    for part in parts:
        if len(part) < 2 or part[1] != parts[0][1]:
            return None
        known.setdefault(part[0], part[2:])
    wanted = range(1, parts[0][1] + 1) if parts else ()
    return b"".join(known[number] for number in wanted) or None if set(known) == set(wanted) else None
