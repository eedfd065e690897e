"""Odd pictures: damaged beside their pixels, or of kinds that decoders disagree about. Colours are Chromium's (156).

Each table maps a name to a file and what it must come to: the colours in the middles of its four quarters, or a reason.
"""

from __future__ import annotations

import functools
import random
import struct
import zlib
from collections.abc import Callable, Sequence

from PIL import Image

from tests.library.anatomy import anatomy
from tests.library.bombs import png_chunk
from tests.library.images import (
    QUARTERS,
    WHITE,
    encoded,
    exif_of,
    linear_srgb_profile,
    quarters,
    srgb_profile,
    wide_gamut_profile,
)

WIDTH, HEIGHT = 200, 160
Colours = tuple[tuple[int, int, int], ...]
Cases = dict[str, tuple[bytes, Colours | str]]

RED, GREEN, BLUE, YELLOW = QUARTERS
LINEAR = ((239, 96, 96), (96, 219, 110), (110, 122, 234), (244, 239, 110))
"""The quarters, had their samples been light itself."""
SWAPPED = ((30, 220, 30), (180, 30, 40), (50, 40, 210), (220, 230, 40))
"""The quarters with red for green and green for red."""
TURNED = (BLUE, RED, YELLOW, GREEN)
"""The quarters of EXIF orientation 6."""
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'

Samples = Callable[[int, int], Sequence[int]]


def quartered(values: Sequence[Sequence[int]]) -> Samples:
    """The samples of a pixel of four quarters."""
    return lambda x, y: values[(x >= WIDTH // 2) + 2 * (y >= HEIGHT // 2)]


def grey(*levels: int) -> Colours:
    return tuple((level,) * 3 for level in levels)  # type: ignore[misc]


def noisy() -> Image.Image:
    """The quarters with some noise, so that bytes and rows go together."""
    noise = Image.frombytes("RGB", (WIDTH, HEIGHT), random.Random(1).randbytes(WIDTH * HEIGHT * 3))
    return Image.blend(quarters(WIDTH, HEIGHT), noise, 0.05)


# PNG


def with_crc(name: bytes, data: bytes, off_by: int) -> bytes:
    return png_chunk(name, data)[:-4] + struct.pack(">I", (zlib.crc32(name + data) + off_by) & 0xFFFFFFFF)


def packed(samples: Sequence[int], bits: int) -> bytes:
    """A row without its filter."""
    if bits == 16:
        return struct.pack(f">{len(samples)}H", *samples)
    each = 8 // bits
    padded = [*samples, *[0] * (-len(samples) % each)]
    return bytes(
        functools.reduce(lambda byte, sample: byte << bits | sample, padded[at : at + each], 0)
        for at in range(0, len(padded), each)
    )


PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png_rows(bits: int, samples: Samples, *, interlaced: bool = False) -> bytes:
    return b"".join(
        b"\0" + packed([sample for x in range(left, WIDTH, across) for sample in samples(x, y)], bits)
        for left, top, across, down in (PASSES if interlaced else ((0, 0, 1, 1),))
        for y in range(top, HEIGHT, down)
    )


def png(
    *before: bytes,
    colour: int = 2,
    bits: int = 8,
    rows: bytes | None = None,
    data: bytes | None = None,
    after: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    """A PNG of the quarters, or of other rows or compressed data, with chunks before and after its pixels."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, colour, 0, 0, interlaced))
    pixels = data if data is not None else zlib.compress(rgb_rows() if rows is None else rows)
    return b"".join((b"\x89PNG\r\n\x1a\n", head, *before, png_chunk(b"IDAT", pixels), after, png_chunk(b"IEND", b"")))


@functools.cache
def rgb_rows() -> bytes:
    return png_rows(8, quartered(QUARTERS))


def iccp(profile: bytes, name: bytes = b"p", method: int = 0) -> bytes:
    return png_chunk(b"iCCP", name + b"\0" + bytes((method,)) + zlib.compress(profile))


def gamma(value: int) -> bytes:
    return png_chunk(b"gAMA", struct.pack(">I", value))


def chromaticities(*values: int) -> bytes:
    return png_chunk(b"cHRM", struct.pack(">8I", 31270, 32900, *values))


ANCILLARY = (
    b"zTXt iTXt tEXt pHYs gAMA cHRM sRGB tRNS acTL fcTL fdAT eXIf tIME bKGD sBIT hIST sPLT cICP iCCP mDCV cLLI abCd"
).split()


def png_ancillary() -> Cases:
    """Whatever is wrong beside the pixels costs nothing."""
    bodies = {"empty": b"", "short": b"ab", "long": bytes(300), "all ones": b"\xff" * 300}
    cases = {
        f"{name.decode()}, {how}": png(png_chunk(name, body)) for name in ANCILLARY for how, body in bodies.items()
    }
    cases |= {f"{name.decode()}, wrong checksum": png(with_crc(name, bytes(10), 1)) for name in ANCILLARY}
    text = zlib.compress(b"x" * 1_200_000)
    stream = zlib.compress(rgb_rows())
    cases |= {
        "1.2 MB of zTXt": png(png_chunk(b"zTXt", b"C\0\0" + text)),
        "1.2 MB of iTXt": png(png_chunk(b"iTXt", b"C\0\1\0\0\0" + text)),
        "zTXt of no zlib": png(png_chunk(b"zTXt", b"C\0\0zz")),
        "iCCP of method 1": png(iccp(wide_gamut_profile(), method=1)),
        "iCCP without a name": png(iccp(wide_gamut_profile(), b"")),
        "iCCP with a name of 100 bytes": png(iccp(wide_gamut_profile(), b"n" * 100)),
        "iCCP of rubbish": png(iccp(b"rubbish" * 40)),
        "iCCP cut": png(png_chunk(b"iCCP", b"p\0\0" + zlib.compress(wide_gamut_profile())[:-20])),
        "iCCP with a wrong Adler-32": png(png_chunk(b"iCCP", b"p\0\0" + zlib.compress(wide_gamut_profile())[:-4])),
        "iCCP with a wrong checksum": png(iccp(wide_gamut_profile())[:-4] + b"abcd"),
        "iCCP behind the pixels": png(after=iccp(wide_gamut_profile())),
        "the pixels' checksum wrong": png().replace(png_chunk(b"IDAT", stream), with_crc(b"IDAT", stream, 1)),
        "Adler-32 wrong": png(data=stream[:-4] + b"\1\2\3\4"),
        "Adler-32 missing": png(data=stream[:-4]),
        "more data than pixels": png(data=zlib.compress(rgb_rows() + bytes(5000))),
        "rubbish behind the data": png(data=stream + b"rubbish"),
        "rubbish behind the file": png() + b"rubbish" * 50,
        "no end": png()[:-12],
        "no end and no checksum": png()[:-16],
        "no end and no Adler-32": png()[:-20],
        "text among the pixels": png(
            data=stream[:100], after=png_chunk(b"tEXt", b"a\0b") + png_chunk(b"IDAT", stream[100:])
        ),
    }
    return {name: (data, QUARTERS) for name, data in cases.items()}


def png_colours() -> Cases:
    """What samples mean: cICP before iCCP before sRGB before gAMA and cHRM."""
    srgb, wide = png_chunk(b"sRGB", b"\0"), iccp(wide_gamut_profile())
    swapped = chromaticities(30000, 60000, 64000, 33000, 15000, 6000)

    def cicp(*values: int) -> bytes:
        return png_chunk(b"cICP", bytes(values))

    rows = png_rows(8, quartered([(10,), (90,), (180,), (250,)]))
    bright = grey(56, 160, 219, 253)
    p3 = ((241, 0, 0), (0, 185, 0), (32, 47, 220), (233, 221, 0))
    return {
        "iCCP": (png(wide), SWAPPED),
        "iCCP of a linear profile": (png(iccp(linear_srgb_profile())), LINEAR),
        "iCCP with rubbish behind it": (png(png_chunk(b"iCCP", wide[8:-4] + b"rubbish")), SWAPPED),
        "the first of two iCCP": (png(iccp(srgb_profile()), wide), QUARTERS),
        "iCCP and gAMA": (png(wide, gamma(100_000)), SWAPPED),
        "iCCP and sRGB": (png(srgb, wide), SWAPPED),
        "gamma 1": (png(gamma(100_000)), LINEAR),
        "gamma 1/2.2": (png(gamma(45_455)), QUARTERS),
        "gamma 1/1.8": (png(gamma(55_556)), ((227, 40, 40), (40, 193, 53), (53, 65, 219), (235, 227, 53))),
        "gamma 0": (png(gamma(0)), QUARTERS),
        "gamma 1 and sRGB": (png(gamma(100_000), srgb), QUARTERS),
        "gamma 1 and an sRGB of no intent": (png(gamma(100_000), png_chunk(b"sRGB", b"\x09")), LINEAR),
        "gamma 1 and an empty sRGB": (png(gamma(100_000), png_chunk(b"sRGB", b"")), LINEAR),
        "gamma 1 behind the pixels": (png(after=gamma(100_000)), QUARTERS),
        "gamma 1 with a wrong checksum": (png(gamma(100_000)[:-4] + b"abcd"), QUARTERS),
        "gamma 1 and a short cHRM": (png(gamma(100_000), png_chunk(b"cHRM", b"abc")), LINEAR),
        "gamma 1 of grey": (png(gamma(100_000), colour=0, rows=rows), bright),
        "gamma 1 of 16 bits": (
            png(gamma(100_000), bits=16, rows=png_rows(16, quartered([[n * 257 for n in q] for q in QUARTERS]))),
            LINEAR,
        ),
        "chromaticities alone": (png(swapped), QUARTERS),
        "chromaticities of swapped colours": (png(swapped, gamma(45_455)), SWAPPED),
        "chromaticities of P3": (png(chromaticities(68000, 32000, 26500, 69000, 15000, 6000), gamma(45_455)), p3),
        "chromaticities of nothing": (png(png_chunk(b"cHRM", bytes(32)), gamma(100_000)), QUARTERS),
        "cICP linear, and a profile": (png(cicp(1, 8, 0, 1), wide), LINEAR),
        "cICP sRGB, and a gamma": (png(cicp(1, 13, 0, 1), gamma(100_000)), QUARTERS),
        "cICP of P3": (png(cicp(12, 13, 0, 1)), p3),
        "cICP of nothing known, and a gamma": (png(cicp(2, 2, 0, 1), gamma(100_000)), LINEAR),
        "cICP of narrow range": (png(cicp(1, 8, 0, 0)), QUARTERS),
    }


def png_transparency() -> Cases:
    """The transparent colour in all widths of samples, progressive or not: white."""
    cases: Cases = {}
    for interlaced in (False, True):
        how = ", interlaced" if interlaced else ""
        for bits in (1, 2, 4, 8, 16):
            top = (1 << bits) - 1
            levels = (top // 3, top, 0, top * 2 // 3)
            rows = png_rows(bits, quartered([(level,) for level in levels]), interlaced=interlaced)
            for key in {0, top // 3}:
                shown = grey(*(255 if level == key else level * 255 // top for level in levels))
                for more in (0, 256) if bits < 16 else (0,):  # the upper byte plays no part
                    chunk = png_chunk(b"tRNS", struct.pack(">H", key | more))
                    data = png(chunk, colour=0, bits=bits, rows=rows, interlaced=interlaced)
                    cases[f"grey of {bits} bits, {key | more} transparent{how}"] = (data, shown)
        for bits, times in ((8, 1), (16, 257)):
            near = [[n * times for n in colour] for colour in (RED, RED, BLUE, YELLOW)]
            near[1][2] += 1  # in its last bit another colour
            rows = png_rows(bits, quartered(near), interlaced=interlaced)
            chunk = png_chunk(b"tRNS", struct.pack(">3H", *near[1]))
            cases[f"RGB of {bits} bits, one transparent{how}"] = (
                png(chunk, bits=bits, rows=rows, interlaced=interlaced),
                (RED, WHITE, BLUE, YELLOW),
            )
            alpha = [(*(n * times for n in c), a * times) for c, a in zip(QUARTERS, (0, 255, 255, 0), strict=True)]
            rows = png_rows(bits, quartered(alpha), interlaced=interlaced)
            cases[f"RGBA of {bits} bits{how}"] = (
                png(colour=6, bits=bits, rows=rows, interlaced=interlaced),
                (WHITE, GREEN, BLUE, WHITE),
            )
            rows = png_rows(bits, quartered([(9 * times, 0), (9 * times, 255 * times)] * 2), interlaced=interlaced)
            cases[f"grey and alpha of {bits} bits{how}"] = (
                png(colour=4, bits=bits, rows=rows, interlaced=interlaced),
                grey(255, 9, 255, 9),
            )
    rows = png_rows(8, quartered([(0,), (1,), (2,), (3,)]))
    colours = bytes(sample for colour in QUARTERS for sample in colour)
    palette = png_chunk(b"PLTE", colours)
    half = tuple((n + 255) // 2 for n in GREEN)
    return cases | {
        "palette": (png(palette, png_chunk(b"tRNS", b"\0\x80"), colour=3, rows=rows), (WHITE, half, BLUE, YELLOW)),
        "palette with more alpha than colours": (
            png(palette, png_chunk(b"tRNS", b"\0\xff\0\xff\0"), colour=3, rows=rows),
            (WHITE, GREEN, WHITE, YELLOW),
        ),
        "palette with more alpha than any": (
            png(palette, png_chunk(b"tRNS", bytes(257)), colour=3, rows=rows),
            QUARTERS,
        ),
        "palette with alpha before it": (png(png_chunk(b"tRNS", b"\0"), palette, colour=3, rows=rows), QUARTERS),
        "palette of two colours": (
            png(png_chunk(b"PLTE", colours[:6]), colour=3, rows=rows),
            (RED, GREEN, GREEN, GREEN),
        ),
        "palette and a part of a colour": (png(png_chunk(b"PLTE", colours + b"\1"), colour=3, rows=rows), QUARTERS),
        "palette with a wrong checksum": (png(with_crc(b"PLTE", colours, 1), colour=3, rows=rows), "decode_error"),
        "transparent colour with a wrong checksum": (png(with_crc(b"tRNS", struct.pack(">3H", *RED), 1)), QUARTERS),
        "transparent colour behind the pixels": (png(after=png_chunk(b"tRNS", struct.pack(">3H", *RED))), QUARTERS),
    }


def png_animations() -> Cases:
    """The first frame, which may be another than the picture."""

    def control(number: int, width: int, height: int, left: int = 0, top: int = 0) -> bytes:
        return png_chunk(b"fcTL", struct.pack(">5IHHBB", number, width, height, left, top, 1, 10, 0, 0))

    def frame(number: int, size: tuple[int, int]) -> bytes:
        row = b"\0" + bytes(GREEN) * size[0]
        return png_chunk(b"fdAT", struct.pack(">I", number) + zlib.compress(row * size[1]))

    begin, whole, small = png_chunk(b"acTL", struct.pack(">II", 1, 0)), (WIDTH, HEIGHT), (120, 96)
    return {
        "animation from the picture": (
            png(begin, control(0, *whole), after=control(1, *whole) + frame(2, whole)),
            QUARTERS,
        ),
        "animation without the picture": (png(begin, after=control(0, *whole) + frame(1, whole)), (GREEN,) * 4),
        "animation of a small frame": (
            png(begin, after=control(0, *small, 80, 64) + frame(1, small)),
            (WHITE,) * 3 + (GREEN,),
        ),
        "animation beyond its canvas": (png(begin, after=control(0, *whole, 1, 1) + frame(1, whole)), QUARTERS),
    }


def png_damage() -> Cases:
    """Pixels that are missing count, and only they."""
    stream, rows = zlib.compress(rgb_rows()), rgb_rows()
    length = 1 + 3 * WIDTH
    noise = encoded(noisy(), "PNG")
    flipped = bytearray(noise)
    flipped[len(noise) * 98 // 100] ^= 0xFF
    half = bytearray(noise)
    half[len(noise) // 2] ^= 0xFF
    strange = bytearray(rows)
    strange[length * (HEIGHT - 2)] = 9
    header = png()[8:33]
    return {
        "cut in its last row": (png(data=stream[:-8])[:-16], QUARTERS),
        "97 of 100 bytes": (noise[: len(noise) * 97 // 100], QUARTERS),
        "98 of 100 bytes, then damage": (bytes(flipped), QUARTERS),
        "half of its bytes": (noise[: len(noise) // 2], "truncated"),
        "half, then damage": (bytes(half), "decode_error"),
        "half of its rows": (png(rows=rows[: length * HEIGHT // 2]), "truncated"),
        "all but four rows": (png(rows=rows[: length * (HEIGHT - 4)]), QUARTERS),
        "an unknown filter in the last row but one": (png(rows=bytes(strange)), QUARTERS),
        "no pixels": (png(data=b""), "truncated"),
        "a wrong checksum of its header": (png().replace(header, header[:-4] + b"abcd"), "decode_error"),
    }


# JPEG


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
