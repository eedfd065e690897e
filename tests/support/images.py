"""Test images, generated: four coloured quarters tell orientation, cropping and colour apart at a glance."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image, ImageCms

RED, GREEN, BLUE, YELLOW, WHITE = (220, 30, 30), (30, 180, 40), (40, 50, 210), (230, 220, 40), (255, 255, 255)
QUARTERS = (RED, GREEN, BLUE, YELLOW)  # top left, top right, bottom left, bottom right

# What must be done to an upright picture so that a viewer who follows the EXIF orientation sees it upright.
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def quarters(width: int = 800, height: int = 600) -> Image.Image:
    """An RGB picture of four quarters in :data:`QUARTERS`."""
    picture = Image.new("RGB", (width, height))
    for number, colour in enumerate(QUARTERS):
        left, top = (number % 2) * (width // 2), (number // 2) * (height // 2)
        picture.paste(colour, (left, top, left + (width + 1) // 2, top + (height + 1) // 2))
    return picture


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file of Pillow's format ``kind``."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def exif_of(orientation: int) -> Image.Exif:
    """EXIF data that hold an orientation and a maker's name."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "secret camera"
    return exif


def rotated(orientation: int, kind: str = "JPEG", width: int = 800, height: int = 600) -> bytes:
    """A file that is upright only for a viewer who follows its EXIF orientation."""
    picture = quarters(width, height)
    turn = STORED_AS[orientation]
    stored = picture if turn is None else picture.transpose(turn)
    return encoded(stored, kind, exif=exif_of(orientation))


def srgb_profile() -> bytes:
    """The bytes of an sRGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png_header(width: int, height: int) -> bytes:
    """A PNG bomb in 60 bytes: it announces any size and holds next to nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def wide_gamut_profile() -> bytes:
    """An RGB matrix profile whose red and green are swapped against sRGB's: unmistakable when it is applied."""
    profile = bytearray(srgb_profile())
    tags = {}
    for number in range(struct.unpack_from(">I", profile, 128)[0]):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        tags[name] = (132 + 12 * number, offset, size)
    (at_red, *red), (at_green, *green) = tags[b"rXYZ"], tags[b"gXYZ"]
    struct.pack_into(">II", profile, at_red + 4, *green)
    struct.pack_into(">II", profile, at_green + 4, *red)
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "rgRB".encode("utf-16-be"))


def linear_srgb_profile() -> bytes:
    """A profile called sRGB of linear samples, as GIMP and darktable have one."""
    profile = bytearray(srgb_profile())
    for number in range(struct.unpack_from(">I", profile, 128)[0]):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            curve = b"para" + bytes(4) + struct.pack(">HHi", 0, 0, 1 << 16)  # ICC.1, 10.18: gamma 1.0
            profile[offset : offset + size] = curve.ljust(size, b"\0")
    return bytes(profile)
