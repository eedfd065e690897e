"""Formats by their magic bytes. Nothing here decodes: it decides which decoder may see the bytes, if any."""

from __future__ import annotations

import os
from typing import IO

from PIL import features

from imagesys_lib.images.reasons import ImageFault

HEAD_BYTES = 1024
"""How much of a file to show :func:`sniff`; SVG and PDF may begin after comments."""

# Sizes of the BITMAP*HEADER structures. OS/2's of 64 bytes may end after any field from the 16th byte on.
_BITMAP_HEADERS = frozenset({12, *range(16, 65, 4), 42, 46, 108, 124})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)

_REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"8BPS", "PSD"),
    (b"II*\x00", "camera raw"),
    (b"RIFF", "RIFF media"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\x00\x00\x02\x00", "CUR"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"gimp xcf", "XCF"),
    (b"DDS ", "DDS"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"qoif", "QOI"),
    (b"FLIF", "FLIF"),
    (b"BPG\xfb", "BPG"),
    (b"icns", "ICNS"),
    (b"\x59\xa6\x6a\x95", "Sun raster"),
    (b"\x01\xda", "SGI"),
)


def sniff(head: bytes) -> str:
    """Return Pillow's name of the format that ``head``, the first bytes of a file, announces.

    Raises ImageFault ``unsupported_format`` for an image or document that is not accepted, ``not_an_image``
    for anything else. What a server called the bytes plays no part.
    """
    kind = _accepted(head)
    if kind is not None:
        return kind
    refused = _refused(head)
    if refused is not None:
        raise ImageFault("unsupported_format", refused)
    raise ImageFault("not_an_image", _describe(head))


def _accepted(head: bytes) -> str | None:
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind if head[8:10] != b"CR" or kind != "TIFF" else None  # Canon's raw format
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP" and features.check("webp"):
        return "WEBP"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS:
        return "BMP"
    return "AVIF" if _brands(head) & _AVIF_BRANDS and features.check("avif") else None


def _brands(head: bytes) -> frozenset[bytes]:
    """Return the brands of an ISO base media file (ISO/IEC 14496-12, 4.3), major and compatible."""
    if head[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return frozenset(head[at : at + 4] for at in (8, *range(16, end - 3, 4)))


def _refused(head: bytes) -> str | None:
    for magic, name in _REFUSED:
        if head.startswith(magic):
            return name
    brands = _brands(head)
    if brands:
        return "HEIC" if brands & _HEIF_BRANDS else "AVIF" if brands & _AVIF_BRANDS else "video"
    if head[:1] == b"P" and head[1:2] in tuple(b"%d" % n for n in range(1, 8)) and head[2:3].isspace():
        return "PNM"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    # An HTML page may hold an <svg> of its own, so only XML counts.
    if text.startswith(b"<svg") or (text.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in text):
        return "SVG"
    return "PDF" if text.startswith(b"%pdf-") else None


def _describe(head: bytes) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not text:
        return "empty"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")) or b"<html" in text:
        return "an HTML page"
    if all(byte >= 0x20 or byte in b"\t\r\n\f" for byte in text):
        return "text"
    return f"unknown bytes {head[:8].hex(' ')}"


def webp_header(head: bytes) -> tuple[int, tuple[int, int] | None]:
    """Return (bytes of the whole file, (width, height) or None) as a WebP file's header announces them.

    Source: RFC 9649 (RIFF container, VP8X and VP8L) and RFC 6386, 9.1 (VP8 key frame).
    """
    length = 8 + int.from_bytes(head[4:8], "little")
    chunk = head[12:16]
    if chunk == b"VP8X" and len(head) >= 30:
        return length, (
            1 + int.from_bytes(head[24:27], "little"),
            1 + int.from_bytes(head[27:30], "little"),
        )
    if chunk == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return length, (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if chunk == b"VP8 " and len(head) >= 30:
        return length, (
            int.from_bytes(head[26:28], "little") & 0x3FFF,
            int.from_bytes(head[28:30], "little") & 0x3FFF,
        )
    return length, None


def boxes_end(file: IO[bytes]) -> int:
    """Return where the last box of an ISO base media file (ISO/IEC 14496-12, 4.2), such as AVIF, should end."""
    length = file.seek(0, os.SEEK_END)
    at = 0
    for _box in range(64):  # a photo has three or four; a crafted file could hold millions
        file.seek(at)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size < 8:  # 0 means "to the end"; less than a header is for the decoder to refuse
            return length
        at += size
        if at >= length:
            break
    return at
