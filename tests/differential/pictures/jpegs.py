"""JPEGs: every colour form, segments that are short, wrong or missing, and damage to the picture itself."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import simplejpeg
from PIL import ImageChops

from tests.differential.pictures import exif
from tests.differential.pictures.base import Picture, damaged, encoded, flat, textured
from tests.support.anatomy import anatomy
from tests.support.images import linear_srgb_profile, srgb_profile, wide_gamut_profile

APP0, APP1, APP2, APP13, APP14, COM, DRI, DHT, DQT, SOF0, SOS = (
    0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE, 0xDD, 0xC4, 0xDB, 0xC0, 0xDA,
)  # fmt: skip
_END = b"\xff\xd9"


def segment(marker: int, data: bytes, length: int | None = None) -> bytes:
    """A marker segment; ``length`` may lie."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2 if length is None else length) + data


def after_start(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


def without(data: bytes, *markers: int) -> bytes:
    """The file without its segments of these markers."""
    blocks = [(start, end) for start, end in anatomy("JPEG", data).blocks if data[start + 1] in markers]
    for start, end in reversed(blocks):
        data = data[:start] + data[end:]
    return data


def before(data: bytes, marker: int, more: bytes) -> bytes:
    """The file with ``more`` before its first segment of ``marker``."""
    at = next(start for start, _ in anatomy("JPEG", data).blocks if data[start + 1] == marker)
    return data[:at] + more + data[at:]


def adobe(transform: int) -> bytes:
    return segment(APP14, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))


def icc(profile: bytes, number: int = 1, count: int = 1) -> bytes:
    return segment(APP2, b"ICC_PROFILE\0" + bytes((number, count)) + profile)


def _ids(data: bytes, names: bytes) -> bytes:
    """The file with other names of its components (SOF and SOS)."""
    changed = bytearray(data)
    for start, _ in anatomy("JPEG", data).blocks:
        if data[start + 1] in (SOF0, 0xC2):
            for n in range(data[start + 9]):
                changed[start + 10 + 3 * n] = names[n]
        elif data[start + 1] == SOS:
            for n in range(data[start + 4]):
                changed[start + 5 + 2 * n] = names[n if data[start + 4] > 1 else data[start + 5] - 1]
    return bytes(changed)


def _sized(data: bytes, width: int, height: int) -> bytes:
    changed = bytearray(data)
    at = next(start for start, _ in anatomy("JPEG", data).blocks if data[start + 1] in (SOF0, 0xC2))
    changed[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(changed)


PLAIN = encoded(textured(), "JPEG", quality=88)
CMYK = encoded(flat().convert("CMYK"), "JPEG", quality=92)  # inverted, as Adobe does it
YCCK = simplejpeg.encode_jpeg(np.asarray(ImageChops.invert(textured().convert("CMYK"))), 90, "CMYK", "444")


def _forms() -> Iterator[tuple[str, bytes]]:
    picture = textured()
    for sampling in ("4:4:4", "4:2:2", "4:1:1", "4:2:0"):
        yield f"JPEG {sampling}", encoded(picture, "JPEG", quality=88, subsampling=sampling)
    for sampling in ("440", "411"):
        yield f"JPEG {sampling} by turbo", simplejpeg.encode_jpeg(np.asarray(picture), 90, "RGB", sampling)
    yield "JPEG of quality 5", encoded(picture, "JPEG", quality=5)
    yield "JPEG of one MCU more", encoded(textured(241, 193), "JPEG")
    yield "JPEG optimised", encoded(picture, "JPEG", optimize=True)


def _coloured() -> Iterator[tuple[str, bytes]]:
    """What says how components are to be read: markers, names of components, and both missing."""
    bare, rgb = without(PLAIN, APP0), encoded(flat(), "JPEG", quality=92, keep_rgb=True)
    stored = without(rgb, APP14, APP0)
    for name, names in (("1 2 3", b"\1\2\3"), ("0 1 2", b"\0\1\2"), ("R G B", b"RGB"), ("34 35 1", b"\x22\x23\1")):
        yield f"JPEG YCbCr without markers, components {name}", _ids(bare, names)
        yield f"JPEG YCbCr with JFIF, components {name}", _ids(PLAIN, names)
        yield f"JPEG RGB without markers, components {name}", _ids(stored, names)
    for transform in (0, 1, 2, 9):
        yield f"JPEG YCbCr, Adobe transform {transform}", after_start(bare, adobe(transform))
        yield f"JPEG YCbCr with JFIF, Adobe transform {transform}", before(PLAIN, DQT, adobe(transform))
        yield f"JPEG RGB, Adobe transform {transform}", after_start(_ids(stored, b"\1\2\3"), adobe(transform))
        yield f"JPEG CMYK, Adobe transform {transform}", after_start(without(CMYK, APP14), adobe(transform))
        yield f"JPEG YCCK, Adobe transform {transform}", after_start(without(YCCK, APP14), adobe(transform))
    yield "JPEG CMYK without a marker", without(CMYK, APP14)
    yield "JPEG CMYK without a marker, with JFIF", after_start(without(CMYK, APP14), segment(APP0, JFIF))
    straight = encoded(ImageChops.invert(flat().convert("CMYK")), "JPEG")
    yield "JPEG CMYK, not inverted", straight
    yield "JPEG CMYK, not inverted, without a marker", without(straight, APP14)
    yield "JPEG YCCK without a marker", without(YCCK, APP14)
    yield (
        "JPEG progressive CMYK without a marker",
        without(encoded(textured().convert("CMYK"), "JPEG", progressive=True), APP14),
    )


JFIF = b"JFIF\0\1\1\0\0\1\0\1\0\0"


def _short_segments() -> Iterator[tuple[str, bytes]]:
    bare = without(PLAIN, APP0)
    for length in (0, 1, 3, 4, 5, 7, 11, 13):
        yield f"JPEG with {length} bytes of JFIF", after_start(bare, segment(APP0, JFIF[:length]))
        yield f"JPEG with {length} bytes of Adobe", after_start(bare, segment(APP14, b"Adobe\0\x64\0\0\0\0\1"[:length]))
        yield f"JPEG with {length} bytes of ICC", after_start(bare, segment(APP2, b"ICC_PROFILE\0\1\1"[:length]))
        yield (
            f"JPEG with {length} bytes of EXIF",
            after_start(PLAIN, segment(APP1, b"Exif\0\0II*\0\x08\0\0\0"[:length])),
        )
    yield "JPEG whose JFIF has a thumbnail that is not there", after_start(bare, segment(APP0, JFIF[:-2] + b"\x64\x64"))
    yield "JPEG with JFIF 9.9", after_start(bare, segment(APP0, b"JFIF\0\x09\x09\0\0\1\0\1\0\0"))
    yield "JPEG with a density of 0", after_start(bare, segment(APP0, b"JFIF\0\1\1\1\0\0\0\0\0\0"))
    yield "JPEG whose first segment has length 0", after_start(PLAIN, segment(COM, b"", 0))
    yield "JPEG whose first segment has length 1", after_start(PLAIN, segment(COM, b"", 1))
    yield "JPEG whose first segment is longer than the file", after_start(PLAIN, segment(COM, b"ab", 65535))
    yield "JPEG with a comment that says 3 bytes too many", after_start(PLAIN, segment(COM, b"hello", 10))
    yield "JPEG with an empty comment", after_start(PLAIN, segment(COM, b""))
    yield "JPEG with 2,000 comments", after_start(PLAIN, segment(COM, b"x" * 20) * 2000)
    yield "JPEG with 2 MB of application data", after_start(PLAIN, segment(0xE5, bytes(65533)) * 32)
    yield "JPEG with an APP14 of another", after_start(PLAIN, segment(APP14, b"Other" + bytes(7)))
    yield "JPEG with Photoshop's segment cut", after_start(PLAIN, segment(APP13, b"Photoshop 3.0\x008BIM\x04"))
    yield (
        "JPEG with Photoshop's sizes lying",
        after_start(PLAIN, segment(APP13, b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xffabc")),
    )
    yield "JPEG with filling before a segment", before(PLAIN, DQT, b"\xff" * 40)
    yield "JPEG with noise before a segment", before(PLAIN, DHT, b"\0\1\2noise\0")
    yield "JPEG with two starts", b"\xff\xd8" + PLAIN
    yield "JPEG with a cut MPF segment", after_start(PLAIN, segment(APP2, b"MPF\0MM\0*"))


def _profiled() -> Iterator[tuple[str, bytes]]:
    srgb, wide = srgb_profile(), wide_gamut_profile()
    yield "JPEG with sRGB", after_start(PLAIN, icc(srgb))
    yield "JPEG with red and green swapped by its profile", after_start(PLAIN, icc(wide))
    yield "JPEG with a linear profile", after_start(PLAIN, icc(linear_srgb_profile()))
    half = len(wide) // 2
    first, second = icc(wide[:half], 1, 2), icc(wide[half:], 2, 2)
    yield "JPEG with a profile in two parts", after_start(PLAIN, first, second)
    yield "JPEG with a profile in two parts, the second first", after_start(PLAIN, second, first)
    yield "JPEG with the first of two parts of a profile", after_start(PLAIN, first)
    yield "JPEG with a part 0 of a profile", after_start(PLAIN, icc(wide, 0, 1))
    yield "JPEG with 0 parts of a profile", after_start(PLAIN, icc(wide, 1, 0))
    yield "JPEG with a profile twice", after_start(PLAIN, icc(wide), icc(wide))
    yield "JPEG with a cut profile", after_start(PLAIN, icc(wide[:200]))
    yield "JPEG with a profile of noise", after_start(PLAIN, icc(bytes(range(256)) * 3))
    yield "JPEG with a profile of another colour space", after_start(PLAIN, icc(wide[:16] + b"CMYK" + wide[20:]))
    yield "JPEG with a profile longer than it says", after_start(PLAIN, icc(wide + bytes(100)))
    grey = encoded(textured().convert("L"), "JPEG")
    yield "JPEG grey with an RGB profile", after_start(grey, icc(wide))
    yield "JPEG CMYK with an RGB profile", after_start(CMYK, icc(wide))
    yield "JPEG CMYK without a marker, with an RGB profile", after_start(without(CMYK, APP14), icc(wide))


def _turned() -> Iterator[tuple[str, bytes]]:
    for orientation in range(1, 9):
        yield f"JPEG with EXIF orientation {orientation}", exif_jpeg(exif.tiff(orientation))
    for name, data in exif.odd():
        yield f"JPEG with EXIF: {name}", exif_jpeg(data)
    turn = exif.tiff(6)
    yield "JPEG whose EXIF mark ends in 0xFF", after_start(PLAIN, segment(APP1, b"Exif\0\xff" + turn))
    yield (
        "JPEG with EXIF twice, 6 and 3",
        after_start(PLAIN, segment(APP1, b"Exif\0\0" + turn), segment(APP1, b"Exif\0\0" + exif.tiff(3))),
    )
    yield "JPEG with EXIF behind its tables", before(PLAIN, SOF0, segment(APP1, b"Exif\0\0" + turn))
    yield "JPEG with EXIF before its scan", before(PLAIN, SOS, segment(APP1, b"Exif\0\0" + turn))
    yield "JPEG with EXIF at its end", PLAIN[:-2] + segment(APP1, b"Exif\0\0" + turn) + _END
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + XMP
    yield "JPEG turned by XMP alone", after_start(PLAIN, segment(APP1, xmp))
    yield (
        "JPEG turned by XMP, upright by EXIF",
        after_start(PLAIN, segment(APP1, b"Exif\0\0" + exif.tiff(1)), segment(APP1, xmp)),
    )
    yield (
        "JPEG turned by XMP, otherwise by EXIF",
        after_start(PLAIN, segment(APP1, b"Exif\0\0" + exif.tiff(3)), segment(APP1, xmp)),
    )


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def exif_jpeg(data: bytes) -> bytes:
    return after_start(PLAIN, segment(APP1, b"Exif\0\0" + data))


def _broken() -> Iterator[tuple[str, bytes]]:
    """Damage to what a decoder cannot do without, and to where a picture ends."""
    yield "JPEG without its end, then zeros", PLAIN[:-2] + bytes(100)
    yield "JPEG with half an end", PLAIN[:-1]
    yield "JPEG twice as high as its data", _sized(PLAIN, 240, 384)
    yield "JPEG a tenth higher than its data", _sized(PLAIN, 240, 208)
    yield "JPEG half as high as its data", _sized(PLAIN, 240, 96)
    yield "JPEG twice as wide as its data", _sized(PLAIN, 480, 192)
    yield "JPEG of height 0", _sized(PLAIN, 240, 0)
    yield "JPEG of width 0", _sized(PLAIN, 0, 192)
    yield "JPEG without quantisation tables", without(PLAIN, DQT)
    yield "JPEG without Huffman tables", without(PLAIN, DHT)
    yield "JPEG without a frame", without(PLAIN, SOF0)
    yield "JPEG without a scan", without(PLAIN, SOS)
    yield "JPEG that is but a start", b"\xff\xd8\xff"
    yield "JPEG that is but a start and an end", b"\xff\xd8\xff\xd9"
    waves = encoded(textured(), "JPEG", quality=88, progressive=True)
    scans = [start for start, _ in anatomy("JPEG", waves).blocks if waves[start + 1] == SOS]
    for kept in (1, 2, 4, 6, len(scans) - 1):
        yield f"JPEG of the first {kept} scans", waves[: scans[kept]]
        yield f"JPEG of the first {kept} scans with an end marked", waves[: scans[kept]] + _END
    restarts = encoded(textured(), "JPEG", restart_marker_blocks=3)
    at = restarts.find(b"\xff\xd3")
    yield "JPEG without one of its restarts", restarts[:at] + restarts[at + 2 :]
    yield "JPEG with a wrong restart", restarts[:at] + b"\xff\xd7" + restarts[at + 2 :]
    yield "JPEG with restarts that are not announced", without(restarts, DRI)
    yield "JPEG with a DRI and no restarts", before(PLAIN, SOS, segment(DRI, b"\0\x03"))


def pictures() -> Iterator[Picture]:
    """All JPEGs."""
    large, grey = textured(1200, 960), textured().convert("L")
    for name, data in {
        "JPEG baseline": PLAIN,
        "JPEG progressive": encoded(textured(), "JPEG", quality=88, progressive=True),
        "JPEG with restarts": encoded(textured(), "JPEG", restart_marker_rows=1),
        "JPEG grey": encoded(grey, "JPEG"),
        "JPEG grey and progressive": encoded(grey, "JPEG", progressive=True),
        "JPEG CMYK": encoded(textured().convert("CMYK"), "JPEG"),
        "JPEG CMYK and progressive": encoded(textured().convert("CMYK"), "JPEG", progressive=True),
        "JPEG YCCK": YCCK,
        "JPEG RGB": encoded(textured(), "JPEG", keep_rgb=True),
        "JPEG large": encoded(large, "JPEG", quality=70),
        "JPEG large and progressive": encoded(large, "JPEG", quality=70, progressive=True),
    }.items():
        yield from damaged(name, data)
        for percent in (30, 60, 90, 95, 99):
            cut = len(data) * percent // 100
            yield Picture(f"{name}, cut at {percent} % with an end marked", data[:cut] + _END, name)
            yield Picture(f"{name}, cut at {percent} %, then zeros", data[:cut] + bytes(len(data) - cut), name)
    for name, data in (*_forms(), *_coloured(), *_short_segments(), *_profiled(), *_turned()):
        yield Picture(name, data)
    for name, data in _broken():
        yield Picture(name, data, "JPEG baseline")
