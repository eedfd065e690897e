"""Odd JPEGs, as in :mod:`pictures_odd`, and pictures of all formats that lie on their side."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

from tests.support.anatomy import anatomy
from tests.support.bombs import png_chunk
from tests.support.images import encoded, exif_of, quarters, wide_gamut_profile
from tests.support.pictures_odd import (
    BLUE,
    GREEN,
    QUARTERS,
    RED,
    SWAPPED,
    TURNED,
    XMP,
    YELLOW,
    Cases,
    grey,
    noisy,
)
from tests.support.pictures_odd_png import png, with_crc


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def adobe(transform: int) -> bytes:
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes((transform,)))


def jpeg(**options: object) -> bytes:
    mode = str(options.pop("mode", "RGB"))
    return encoded(quarters(400, 320).convert(mode), "JPEG", **{"quality": 95, **options})


def without(data: bytes, *markers: int) -> bytes:
    """A JPEG without the segments of these markers."""
    blocks = anatomy("JPEG", data).blocks
    return data[:2] + b"".join(data[a:b] for a, b in blocks if data[a + 1] not in markers) + b"\xff\xd9"


def with_segments(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


def renamed(data: bytes, *numbers: int) -> bytes:
    """A baseline JPEG whose components have other numbers."""
    made, frame, scan = bytearray(data), data.index(b"\xff\xc0") + 10, data.index(b"\xff\xda") + 5
    for n, number in enumerate(numbers):
        made[frame + 3 * n] = made[scan + 2 * n] = number
    return bytes(made)


SEGMENTS = {
    "JFIF": (0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"),
    "ICC": (0xE2, b"ICC_PROFILE\0\1\1" + b"not a profile"),
    "Adobe": (0xEE, b"Adobe\0\x64\0\0\0\0\1"),
    "EXIF": (0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3"),
    "Photoshop": (0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\0\0\0\x10" + bytes(16)),
    "MPF": (0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
}


def jpeg_segments() -> Cases:
    """Short or strange segments beside the picture cost nothing; those of a profile have to be complete."""
    plain = without(jpeg(), 0xE0)
    cases: Cases = {
        f"{name} of {size} bytes": (with_segments(plain, segment(marker, body[:size])), QUARTERS)
        for name, (marker, body) in SEGMENTS.items()
        for size in range(len(body) + 1)
    }
    profile = wide_gamut_profile()
    one, two = profile[:300], profile[300:]
    scan, table = plain.index(b"\xff\xda"), plain.rindex(b"\xff\xc4")

    def icc(*parts: tuple[int, int, bytes]) -> bytes:
        return with_segments(plain, *(segment(0xE2, b"ICC_PROFILE\0" + bytes(p[:2]) + p[2]) for p in parts))

    return cases | {
        "profile in two parts": (icc((1, 2, one), (2, 2, two)), SWAPPED),
        "profile in two parts, the last first": (icc((2, 2, two), (1, 2, one)), SWAPPED),
        "profile twice": (icc((1, 1, profile), (1, 1, profile)), SWAPPED),
        "half a profile": (icc((1, 2, one)), QUARTERS),
        "profile of no parts": (icc((0, 0, profile)), QUARTERS),
        "profile of two minds": (icc((1, 2, one), (2, 3, two)), QUARTERS),
        "rubbish between segments": (with_segments(plain, segment(0xFE, b""), bytes(4)), QUARTERS),
        "rubbish before the scan": (plain[:scan] + b"\0\1rubbish" + plain[scan:], QUARTERS),
        "a usual table whose marker is lost": (plain[:table] + b"\0" + plain[table + 1 :], QUARTERS),
        "JFIF of version 9": (with_segments(plain, segment(0xE0, b"JFIF\0\x09\x09" + bytes(7))), QUARTERS),
        "many fill bytes": (with_segments(plain, b"\xff" * 50), QUARTERS),
        "a second picture behind it": (plain + jpeg(mode="L"), QUARTERS),
        "zeros behind it": (plain + bytes(1000), QUARTERS),
    }


def jpeg_colours() -> Cases:
    """What components mean is said by Adobe's transform, JFIF and their names, in this order."""
    cmyk = without(jpeg(mode="CMYK"), 0xEE, 0xE0)
    rgb, ycc = without(jpeg(keep_rgb=True), 0xEE, 0xE0), without(jpeg(subsampling="4:4:4"), 0xE0)
    wrong = ((172, 0, 209), (255, 180, 133), (100, 247, 255), (148, 0, 0))  # plain CMYK taken for YCCK
    strange = bytearray(encoded(quarters(400, 320), "JPEG", subsampling="4:4:4", quality=90))
    strange[strange.index(b"\xff\xc0") + 14] = 0x21  # blue by twice as many samples as brightness: nobody does that
    cases: Cases = {
        "CMYK without a marker": (cmyk, QUARTERS),
        "CMYK with a short marker": (with_segments(cmyk, segment(0xEE, b"Adobe\0\x64\0\0")), QUARTERS),
        "CMYK with a marker of JFIF": (with_segments(cmyk, segment(*SEGMENTS["JFIF"])), QUARTERS),
        "CMYK named so": (renamed(cmyk, *b"CMYK"), QUARTERS),
        "CMYK, transform 0": (with_segments(cmyk, adobe(0)), QUARTERS),
        "CMYK, transform 1": (with_segments(cmyk, adobe(1)), wrong),
        "CMYK, transform 2": (with_segments(cmyk, adobe(2)), wrong),
        "RGB, transform 0": (with_segments(rgb, adobe(0)), QUARTERS),
        "RGB by its components' names": (renamed(rgb, *b"RGB"), QUARTERS),
        "YCbCr, transform 1": (with_segments(ycc, adobe(1)), QUARTERS),
        "YCbCr, transform 2": (with_segments(ycc, adobe(2)), QUARTERS),
        "YCbCr by JFIF, named RGB": (with_segments(renamed(ycc, *b"RGB"), segment(*SEGMENTS["JFIF"])), QUARTERS),
        "YCbCr, sampled strangely": (bytes(strange), ((7, 0, 119), (17, 0, 119), (35, 0, 140), (45, 0, 142))),
        "YCbCr, numbered from 0": (renamed(ycc, 0, 1, 2), QUARTERS),
    }
    return cases


JPEGS: dict[str, dict[str, object]] = {
    "YCbCr": {},
    "grey": {"mode": "L"},
    "RGB": {"keep_rgb": True},
    "CMYK": {"mode": "CMYK"},
    "with restarts": {"restart_marker_blocks": 5},
    "4:4:4": {"subsampling": "4:4:4"},
}


def jpeg_damage() -> Cases:
    """One rule for all: nearly whole is made, mostly absent is not, whatever marks an end."""
    cases: Cases = {}
    for name, options in JPEGS.items():
        mode = str(options.get("mode", "RGB"))
        picture = noisy().resize((400, 320), Image.Resampling.NEAREST).convert(mode)
        more = {key: value for key, value in options.items() if key != "mode"}
        shown = (
            QUARTERS
            if mode != "L"
            else grey(*(Image.new("RGB", (1, 1), q).convert("L").getpixel((0, 0)) for q in QUARTERS))
        )
        for progressive in (False, True):
            whole = encoded(picture, "JPEG", quality=85, progressive=progressive, **more)
            size, how = len(whole), f"{name}{', progressive' if progressive else ''}"
            marked = bytearray(whole)
            marked[size * 97 // 100 : size * 97 // 100 + 2] = b"\xff\xc4"
            cases |= {
                f"{how}, without its end": (whole[:-2], shown),
                f"{how}, with half of its end": (whole[:-1], shown),
                f"{how}, 97 of 100 bytes": (whole[: size * 97 // 100], shown),
                f"{how}, an end after 97 of 100 bytes": (whole[: size * 97 // 100] + b"\xff\xd9", shown),
                f"{how}, another marker after 97 of 100 bytes": (bytes(marked), shown),
            }
            for part in (5, 30, 60):
                part_of = whole[: size * part // (100 if not progressive else 10_000) + (700 if progressive else 0)]
                if not progressive:
                    cases[f"{how}, {part} of 100 bytes"] = (part_of, "truncated")
                    cases[f"{how}, an end after {part} of 100 bytes"] = (part_of + b"\xff\xd9", "truncated")
                    cases[f"{how}, zeros after {part} of 100 bytes"] = (
                        part_of + bytes(size - len(part_of)),
                        "truncated",
                    )
                elif part == 60:  # all of the picture, if coarse
                    cases[f"{how}, {part} of 100 bytes"] = (whole[: size * part // 100], shown)
                    cases[f"{how}, an end after {part} of 100 bytes"] = (
                        whole[: size * part // 100] + b"\xff\xd9",
                        shown,
                    )
    return cases


# Which way up


def exif_segment(*entry: object, order: str = "<", magic: int = 42, prefix: bytes = b"Exif\0\0") -> bytes:
    """EXIF of one entry: kind, count and four bytes."""
    kind, count, value = entry
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", magic, 8, 1)
    return segment(0xE1, prefix + head + struct.pack(order + "HHI", 0x112, kind, count) + value + bytes(4))  # type: ignore[operator]


def orientations() -> Cases:
    """EXIF alone turns a picture, by one short number."""
    plain, six = jpeg(), b"\6\0\0\0"
    exif = exif_of(6).tobytes()
    text = b"\nexif\n%8d\n" % len(exif) + exif.hex().encode()
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)

    def turned(*segments: bytes) -> bytes:
        return with_segments(plain, *segments)

    three = (YELLOW, BLUE, GREEN, RED)
    return {
        "JPEG, EXIF": (turned(exif_segment(3, 1, six)), TURNED),
        "JPEG, EXIF of the other byte order": (turned(exif_segment(3, 1, b"\0\6\0\0", order=">")), TURNED),
        "JPEG, EXIF of a long": (turned(exif_segment(4, 1, six)), QUARTERS),
        "JPEG, EXIF of two numbers": (turned(exif_segment(3, 2, six)), QUARTERS),
        "JPEG, EXIF of 9": (turned(exif_segment(3, 1, b"\x09\0\0\0")), QUARTERS),
        "JPEG, EXIF of a bad TIFF": (turned(exif_segment(3, 1, six, magic=43)), QUARTERS),
        "JPEG, EXIF, then more": (turned(exif_segment(3, 1, six), exif_segment(3, 1, b"\3\0\0\0")), TURNED),
        "JPEG, XMP": (turned(xmp), QUARTERS),
        "JPEG, XMP and EXIF": (turned(xmp, exif_segment(3, 1, b"\3\0\0\0")), three),
        "PNG, EXIF": (png(png_chunk(b"eXIf", exif[6:])), TURNED),
        "PNG, EXIF with JPEG's prefix": (png(png_chunk(b"eXIf", exif)), QUARTERS),
        "PNG, EXIF behind the pixels": (png(after=png_chunk(b"eXIf", exif[6:])), QUARTERS),
        "PNG, EXIF with a wrong checksum": (png(with_crc(b"eXIf", exif[6:], 1)), QUARTERS),
        "PNG, XMP": (png(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)), QUARTERS),
        "PNG, EXIF as text": (png(png_chunk(b"tEXt", b"Raw profile type exif\0" + text)), QUARTERS),
        "PNG, EXIF as packed text": (
            png(png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))),
            QUARTERS,
        ),
        "WebP, EXIF, unlike Chromium": (encoded(quarters(400, 320), "WEBP", quality=95, exif=exif), TURNED),
        "WebP, XMP": (encoded(quarters(400, 320), "WEBP", quality=95, xmp=XMP), QUARTERS),
        "WebP, broken EXIF": (
            encoded(quarters(400, 320), "WEBP", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
            QUARTERS,
        ),
        "AVIF, EXIF": (encoded(quarters(400, 320), "AVIF", quality=95, exif=exif), TURNED),
        "AVIF, XMP": (encoded(quarters(400, 320), "AVIF", quality=95, xmp=XMP), QUARTERS),
        "TIFF, XMP, which Chromium does not show": (encoded(quarters(400, 320), "TIFF", tiffinfo={700: XMP}), QUARTERS),
    }


def given_up(mode: str) -> bytes:
    """A progressive JPEG at which libjpeg warns in the first scan, and gives up behind it before any row is made."""
    whole = jpeg(mode=mode, progressive=True)
    second = [start for start, _ in anatomy("JPEG", whole).blocks if whole[start + 1] == 0xDA][1]
    return whole[: second - 40] + segment(0xC4, b"\0" + b"\xff" * 16) + whole[second:]
