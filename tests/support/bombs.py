"""Crafted files: small ones that announce or hold far too much, and files of formats that no decoder may see.

All are made here, byte by byte or by Pillow; none takes more than a second to make.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterable

from PIL import Image, features

from tests.support.anatomy import anatomy, with_value
from tests.support.images import encoded, png_header, quarters, srgb_profile

ZEROS = bytes(80_000_000)
"""What a compressed bomb becomes: more than fits a thumbnail's memory a few times over."""


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: bytes, interlaced: bool = False
) -> bytes:
    """A PNG of filtered rows, with more chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    parts = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(entries: Iterable[tuple[int, int, int, bytes]], body: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF of one directory: (tag, type, count, four bytes of value), then ``body``."""
    rows = sorted(entries)
    directory = struct.pack("<H", len(rows)) + b"".join(struct.pack("<HHI4s", *row) for row in rows)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", following) + body


def _long(tag: int, value: int, count: int = 1) -> tuple[int, int, int, bytes]:
    return tag, 4, count, struct.pack("<I", value)


def plain_tiff(width: int, height: int, *more: tuple[int, int, int, bytes], following: int = 0) -> bytes:
    """An uncompressed grey TIFF that holds 4,096 bytes, whatever size it announces."""
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1, 278: height, 279: 4096}
    given = {one[0] for one in more}
    entries = [_long(tag, value) for tag, value in tags.items() if tag not in given] + list(more)
    at = 8 + 2 + 12 * (len(entries) + (273 not in given)) + 4
    entries += [] if 273 in given else [_long(273, at)]
    return tiff(entries, bytes(4096), following)


def bmp(width: int, height: int, bits: int, compression: int, pixels: bytes, *, palette: bytes = b"") -> bytes:
    """A BMP with a BITMAPINFOHEADER."""
    start = 14 + 40 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 2835, 2835, 0, 0)
    return struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start) + info + palette + pixels


def with_dimensions(kind: str, data: bytes, size: int) -> bytes:
    """Return a file whose every width and height says ``size``."""
    for one in anatomy(kind, data).fields:
        if one.what == "dimension":
            data = with_value(data, one, size)
    return data


def pixel_bombs() -> dict[str, bytes]:
    """By format: files of a few hundred bytes that announce more than 50 million pixels."""
    small = quarters(64, 48)
    gif = encoded(small.convert("P"), "GIF")
    frame = next(one.at for one in anatomy("GIF", gif).fields if one.what == "dimension" and one.at > 8)
    bombs = {
        "png": png_header(60_000, 60_000),
        "gif": with_dimensions("GIF", gif, 20_000),
        "gif-frame": gif[: frame + 4] + struct.pack("<HH", 9_000, 9_000) + gif[frame + 8 :],
        "webp": with_dimensions("WEBP", encoded(small, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"), 16_000),
        "webp-lossy": with_dimensions("WEBP", encoded(small, "WEBP"), 16_000),
        "webp-lossless": with_dimensions("WEBP", encoded(small, "WEBP", lossless=True), 0x0FFF_FFFF),
        "bmp": bmp(30_000, 30_000, 24, 0, bytes(64)),
        "bmp-upside-down": bmp(30_000, -30_000, 24, 0, bytes(64)),
        "tiff": plain_tiff(60_000, 60_000),
        "jpeg": with_dimensions("JPEG", encoded(small, "JPEG"), 60_000),
        "jpeg-just-over": with_dimensions("JPEG", encoded(small, "JPEG"), 7_072),
    }
    if features.check("avif"):
        bombs["avif"] = with_dimensions("AVIF", encoded(small, "AVIF"), 15_000)
    return bombs


def many_scans(size: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again: each costs a walk over all its blocks."""
    data = encoded(Image.new("L", (size, size), 120), "JPEG", progressive=True)
    start, end = [block for block in anatomy("JPEG", data).blocks if data[block[0] + 1] == 0xDA][-1]
    return data[:end] + data[start:end] * scans + data[end:]


def _many_frames(count: int) -> bytes:
    frames = [Image.new("P", (64, 48), number % 2) for number in range(2)]
    gif = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    start, end = anatomy("GIF", gif).blocks[-1]
    return gif[:end] + gif[start:end] * count + b";"


def _jpeg_with(marker: int, head: bytes, filling: bytes, segments: int) -> bytes:
    data = encoded(quarters(200, 150), "JPEG")
    room = 65533 - len(head)
    segment = bytes([0xFF, marker]) + struct.pack(">H", 65535) + head + (filling * (room // len(filling) + 1))[:room]
    return data[:2] + segment * segments + data[2:]


def resource_bombs() -> dict[str, bytes]:
    """Files that cost out of all proportion to read: compressed texts, profiles, frames, tags, loops, scans."""
    bomb = zlib.compress(ZEROS, 9)
    rows = (b"\0" + bytes(64 * 3)) * 48
    bombs = {
        "png-ztxt": png(64, 48, 8, 2, rows, *[png_chunk(b"zTXt", b"Comment\0\0" + bomb)] * 4),
        "png-itxt": png(64, 48, 8, 2, rows, *[png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + bomb)] * 4),
        "png-iccp": png(64, 48, 8, 2, rows, png_chunk(b"iCCP", b"icc\0\0" + bomb)),
        "png-idat": png(64, 48, 8, 2, rows + ZEROS),
        "png-many-chunks": png(64, 48, 8, 2, rows, *[png_chunk(b"tEXt", b"a\0b")] * 20_000),
        "png-empty-idats": png(64, 48, 8, 2, rows, *[png_chunk(b"IDAT", b"")] * 20_000),
        "gif-frames": _many_frames(5_000),
        "tiff-many-strips": plain_tiff(64, 64, _long(273, 8, 0x0FFF_FFFF), _long(279, 8, 0x0FFF_FFFF)),
        "tiff-huge-tag": plain_tiff(64, 64, (700, 1, 0xFFFF_FFF0, struct.pack("<I", 8))),
        "tiff-profile": plain_tiff(64, 64, (34675, 7, 0x7FFF_FFFF, struct.pack("<I", 8))),
        "tiff-loop": plain_tiff(64, 64, following=8),
        "tiff-subdirectories": plain_tiff(64, 64, _long(330, 8, 1_000_000), _long(34665, 8)),
        "tiff-rows": plain_tiff(64, 64, _long(278, 0xFFFF_FFFF)),
        "tiff-samples": plain_tiff(64, 64, _long(277, 0xFFFF)),
        "jpeg-scans": many_scans(2_000, 400),
        "jpeg-whole-profile": encoded(quarters(200, 150), "JPEG", icc_profile=_profile_of(10_000_000)),
        "png-texts": png(64, 48, 8, 2, rows, *[png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(500_000)))] * 150),
        "jpeg-profile": _jpeg_with(0xE2, b"ICC_PROFILE\0\1\xff", b"icc", 200),
        "jpeg-exif": _jpeg_with(
            0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"\x12\x01\x04\0\xff\xff\xff\xff\x08\0\0\0", 60
        ),
        "jpeg-xmp": _jpeg_with(0xE1, b"http://ns.adobe.com/xap/1.0/\0", b"<a" + b"<a>" * 50, 100),
        "jpeg-mpf": _jpeg_with(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff", b"\x02\xb0\x07\0\xff\xff\xff\x0f\x08\0\0\0", 2),
        "jpeg-photoshop": _jpeg_with(0xED, b"Photoshop 3.0\0", b"8BIM\x03\xed\0\0\0\0\0\x01", 50),
        "jpeg-comments": _jpeg_with(0xFE, b"", b"x", 300),
        "webp-chunks": _webp_with(b"JUNK" + struct.pack("<I", 0), 50_000),
        "bmp-wide-runs": bmp(330_000, 150, 8, 1, b"\xff\1\0\0" * 150 + b"\0\1", palette=bytes(1024)),
        "bmp-rle": bmp(6_000, 6_000, 8, 1, b"\xff\1" * 200_000 + b"\0\1", palette=bytes(1024)),
    }
    if features.check("avif"):
        avif = encoded(quarters(200, 150), "AVIF")
        boxes = struct.pack(">I4s", 8, b"free")
        bombs["avif-boxes"] = avif + boxes * 50_000
        bombs["avif-huge-box"] = avif + struct.pack(">I4sQ", 1, b"mdat", 1 << 62)
    return bombs


COSTLY = frozenset({"jpeg-scans", "bmp-wide-runs"})
"""Resource bombs that cost seconds and may be given up for it: each of 400 scans walks all blocks; a loop in Python
fills 49 million pixels one by one."""


def _webp_with(chunk: bytes, count: int) -> bytes:
    data = encoded(quarters(200, 150), "WEBP") + chunk * count
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def big_flat_png(pixels_across: int = 7_000) -> bytes:
    """A good PNG of nearly 49 million pixels in a few hundred kilobytes: 196 MB once it is decoded."""
    row = b"\0" + bytes(4 * pixels_across)
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(row) for _ in range(pixels_across)) + packer.flush()
    header = struct.pack(">IIBBBBB", pixels_across, pixels_across, 8, 6, 0, 0, 0)
    parts = [png_chunk(b"IHDR", header), png_chunk(b"IDAT", packed), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def aliens() -> dict[str, tuple[bytes, str]]:
    """By name: a file that no decoder may see, and its reason."""
    picture = quarters(64, 48)
    refused = {
        "eps": encoded(picture, "EPS"),
        "eps-dos": b"\xc5\xd0\xd3\xc6" + bytes(26) + encoded(picture, "EPS"),
        "pdf": encoded(picture, "PDF"),
        "svg": b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "svg-after-comment": b"<!-- made by hand --><svg/>",
        "psd": b"8BPS\0\1" + bytes(100),
        "ico": encoded(picture, "ICO", sizes=[(32, 32)]),
        "jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64),
        "j2k": b"\xff\x4f\xff\x51" + bytes(64),
        "jxl": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(64),
        "jxl-bare": b"\xff\x0a" + bytes(64),
        "heic": struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + bytes(64),
        "mp4": struct.pack(">I", 24) + b"ftypisom\0\0\0\0isommp42" + bytes(64),
        "wmf": b"\xd7\xcd\xc6\x9a" + bytes(64),
        "ppm": encoded(picture, "PPM"),
        "dds": encoded(picture, "DDS"),
        "tga": encoded(picture, "TGA"),  # which has no magic bytes; a cursor's happen to be its own
        "sgi": encoded(picture, "SGI"),
        "wav": b"RIFF" + struct.pack("<I", 40) + b"WAVE" + bytes(64),
        "cr2": b"II*\0\x10\0\0\0CR\2\0" + bytes(64),
    }
    others = {
        "empty": b"",
        "one-byte": b"\xff",
        "random": random.Random(26).randbytes(5_000),
        "text": b"No photo of this property yet.\n",
        "html": b"<!DOCTYPE html><html><body><svg></svg>Not found</body></html>",
        "json": b'{"error": "not found"}',
        "shell": b"#!/bin/sh\ntouch /tmp/imagesys-pwned\n",
        "zip": b"PK\3\4" + bytes(64),
        "bmp-no": b"BM" + bytes(60),
        "im": b"Image type: RGB image\r\nImage size (x*y): 9*9\r\n" + bytes(512),
    }
    found = {name: (data, "unsupported_format") for name, data in refused.items()}
    return found | {name: (data, "not_an_image") for name, data in others.items()}


def multi_picture() -> bytes:
    """A phone's MPO: a JPEG that holds another one; its first picture is taken."""
    return encoded(quarters(200, 150), "MPO", save_all=True, append_images=[quarters(64, 48)])


def _profile_of(size: int) -> bytes:
    """An sRGB profile blown up to ``size`` bytes."""
    profile = bytearray(srgb_profile())
    struct.pack_into(">I", profile, 0, size)
    return bytes(profile) + bytes(size - len(profile))
