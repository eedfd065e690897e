"""Odd PNGs, as in :mod:`pictures_odd`."""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Sequence

from tests.support.bombs import png_chunk
from tests.support.images import WHITE, encoded, linear_srgb_profile, srgb_profile, wide_gamut_profile
from tests.support.pictures_odd import (
    BLUE,
    GREEN,
    HEIGHT,
    LINEAR,
    QUARTERS,
    RED,
    SWAPPED,
    WIDTH,
    YELLOW,
    Cases,
    Samples,
    grey,
    noisy,
    quartered,
)


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
        "iCCP that says it is longer": png(iccp(b"\0\1\0\0" + wide_gamut_profile()[4:])),
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
        "gamma 1, half clear": (
            png(gamma(100_000), colour=6, rows=png_rows(8, quartered([(10, 20, 30, 128)] * 4))),
            ((155, 166, 175),) * 4,
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
    pixels = noisy().load()
    interlaced = png(rows=png_rows(8, lambda x, y: pixels[x, y], interlaced=True), interlaced=True)
    coarse = {
        f"interlaced, {part} of 100 bytes": (interlaced[: len(interlaced) * part // 100], QUARTERS)
        for part in (10, 60, 97)
    }
    return coarse | {
        "interlaced, 1 of 100 bytes": (interlaced[: len(interlaced) // 100], "truncated"),
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
