"""A corpus of damaged pictures: every accepted format, spoilt in every way that a seed thinks of.

``specimen(seed, number)`` is the same bytes for ever (with one Pillow), so a failure is reproduced from those two
numbers: ``python -m tests.support.corpus SEED NUMBER > file``. Every eighth is a photograph of the sandbox's cache.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from PIL import Image, features

from include.sandbox.photos import catalogue
from include.sandbox.settings import DEFAULT_CACHE
from tests.support.anatomy import Field, anatomy, with_png_sums, with_value
from tests.support.bombs import bmp, multi_picture, png
from tests.support.images import encoded, exif_of, quarters, srgb_profile, wide_gamut_profile


@dataclass(frozen=True)
class Specimen:
    """One file of the corpus; ``story`` says which original it was and what was done to it."""

    seed: int
    number: int
    kind: str
    story: str
    data: bytes = field(repr=False)


def textured(width: int = 200, height: int = 150) -> Image.Image:
    """A picture with edges, slopes and noise, so that every part of a decoder has work."""
    chance = random.Random(7)
    noise = Image.frombytes("RGB", (width, height), chance.randbytes(width * height * 3))
    return Image.blend(quarters(width, height), noise, 0.25)


def _jpegs(picture: Image.Image) -> dict[str, bytes]:
    cmyk = encoded(picture.convert("CMYK"), "JPEG")
    return {
        "baseline": encoded(picture, "JPEG", quality=85),
        "full-chroma": encoded(picture, "JPEG", quality=95, subsampling="4:4:4"),
        "half-chroma": encoded(picture, "JPEG", quality=60, subsampling="4:2:2"),
        "optimised": encoded(picture, "JPEG", quality=10, optimize=True),
        "progressive": encoded(picture, "JPEG", progressive=True),
        "progressive-grey": encoded(picture.convert("L"), "JPEG", progressive=True),
        "progressive-cmyk": encoded(picture.convert("CMYK"), "JPEG", progressive=True),
        "restarts": encoded(picture, "JPEG", restart_marker_blocks=3),
        "grey": encoded(picture.convert("L"), "JPEG"),
        "cmyk": cmyk,
        "rgb": encoded(picture, "JPEG", keep_rgb=True),
        "exif": encoded(picture, "JPEG", exif=exif_of(6), comment=b"a comment", dpi=(72, 72)),
        "profile": encoded(picture, "JPEG", icc_profile=wide_gamut_profile(), xmp=b"<x:xmpmeta/>" * 20),
        "many-pictures": multi_picture(),
    }


def png_rows(picture: Image.Image, bits: int) -> bytes:
    """Unfiltered rows of an RGB or grey picture with samples of 8 or 16 bits."""
    wide = picture.tobytes() if bits == 8 else b"".join(bytes((value, value)) for value in picture.tobytes())
    stride = len(wide) // picture.height
    return b"".join(b"\0" + wide[at : at + stride] for at in range(0, len(wide), stride))


def interlaced_png(picture: Image.Image) -> bytes:
    """An Adam7 PNG (W3C PNG, 8.2), which Pillow reads and does not write."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    pixels = picture.load()
    rows = bytearray()
    for left, top, across, down in passes:
        for y in range(top, picture.height, down):
            row = [pixels[x, y] for x in range(left, picture.width, across)]  # type: ignore[index]
            if row:
                rows += b"\0" + b"".join(bytes(pixel) for pixel in row)  # type: ignore[arg-type]
    return png(picture.width, picture.height, 8, 2, bytes(rows), interlaced=True)


def _pngs(picture: Image.Image) -> dict[str, bytes]:
    alpha = picture.convert("RGBA")
    alpha.putalpha(picture.convert("L"))
    palette = picture.quantize(200)
    return {
        "true": encoded(picture, "PNG"),
        "alpha": encoded(alpha, "PNG"),
        "grey": encoded(picture.convert("L"), "PNG"),
        "grey-alpha": encoded(alpha.convert("LA"), "PNG"),
        "one-bit": encoded(picture.convert("1"), "PNG"),
        "two-bits": encoded(picture.quantize(4), "PNG", bits=2),
        "palette": encoded(palette, "PNG"),
        "palette-alpha": encoded(palette, "PNG", transparency=bytes(range(200))),
        "colour-key": encoded(picture, "PNG", transparency=(220, 30, 30)),
        "sixteen-grey": encoded(Image.new("I;16", picture.size, 40_000), "PNG"),
        "sixteen-true": png(*picture.size, 16, 2, png_rows(picture, 16)),
        "interlaced": interlaced_png(picture),
        "animated": encoded(picture, "PNG", save_all=True, append_images=[quarters(*picture.size)] * 3),
        "profile": encoded(picture, "PNG", icc_profile=srgb_profile(), exif=exif_of(3)),
        "stored": encoded(picture, "PNG", compress_level=0),
    }


def _gifs(picture: Image.Image) -> dict[str, bytes]:
    frames = [picture.quantize(64), quarters(*picture.size).quantize(16), picture.quantize(128)]
    return {
        "plain": encoded(frames[0], "GIF", interlace=0),
        "interlaced": encoded(frames[0], "GIF", interlace=1),
        "clear": encoded(frames[0], "GIF", transparency=3),
        "animated": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:] * 3, disposal=2, duration=90),
        "one-bit": encoded(picture.convert("1"), "GIF"),
    }


def _webps(picture: Image.Image) -> dict[str, bytes]:
    alpha = picture.convert("RGBA")
    alpha.putalpha(picture.convert("L"))
    more = {"append_images": [quarters(*picture.size)] * 3, "save_all": True}
    return {
        "lossy": encoded(picture, "WEBP", quality=60),
        "lossless": encoded(picture, "WEBP", lossless=True),
        "lossy-alpha": encoded(alpha, "WEBP"),
        "lossless-alpha": encoded(alpha, "WEBP", lossless=True),
        "animated": encoded(picture, "WEBP", **more),
        "animated-alpha": encoded(alpha, "WEBP", lossless=True, **more),
        "metadata": encoded(picture, "WEBP", exif=exif_of(8), icc_profile=srgb_profile(), xmp=b"<x:xmpmeta/>"),
    }


def _avifs(picture: Image.Image) -> dict[str, bytes]:
    if not features.check("avif"):
        return {}
    alpha = picture.convert("RGBA")
    alpha.putalpha(picture.convert("L"))
    fast: dict[str, Any] = {"speed": 10}
    return {
        "plain": encoded(picture, "AVIF", **fast),
        "full-chroma": encoded(picture, "AVIF", subsampling="4:4:4", **fast),
        "grey": encoded(picture, "AVIF", subsampling="4:0:0", **fast),
        "alpha": encoded(alpha, "AVIF", **fast),
        "animated": encoded(picture, "AVIF", save_all=True, append_images=[quarters(*picture.size)] * 2, **fast),
        "metadata": encoded(picture, "AVIF", exif=exif_of(5), icc_profile=srgb_profile(), **fast),
    }


def _bmps(picture: Image.Image) -> dict[str, bytes]:
    width, height = picture.size
    palette = picture.quantize(16)
    runs = b"".join(
        b"".join(bytes((1, value)) for value in palette.tobytes()[y * width :][:width]) + b"\0\0" for y in range(height)
    )
    small = struct.pack("<2sIHHIIHHHH", b"BM", 26 + width * height * 3, 0, 0, 26, 12, width, height, 1, 24)
    colours = bytes(palette.getpalette("RGBX") or b"").ljust(1024, b"\0")
    return {
        "true": encoded(picture, "BMP"),
        "alpha": encoded(picture.convert("RGBA"), "BMP"),
        "palette": encoded(palette, "BMP"),
        "grey": encoded(picture.convert("L"), "BMP"),
        "one-bit": encoded(picture.convert("1"), "BMP"),
        "runs": bmp(width, height, 8, 1, runs + b"\0\1", palette=colours),
        "upside-down": bmp(width, -height, 32, 0, picture.convert("RGBA").tobytes()),
        "sixteen": bmp(width, height, 16, 0, bytes(random.Random(3).randbytes(2 * width * height))),
        "os2": small + picture.tobytes(),
    }


def _tiffs(picture: Image.Image) -> dict[str, bytes]:
    compressions = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg")
    found = {name: encoded(picture, "TIFF", compression=name) for name in compressions}
    found |= {
        "fax": encoded(picture.convert("1"), "TIFF", compression="group4"),
        "grey": encoded(picture.convert("L"), "TIFF", compression="tiff_lzw"),
        "palette": encoded(picture.quantize(99), "TIFF", compression="packbits"),
        "cmyk": encoded(picture.convert("CMYK"), "TIFF"),
        "alpha": encoded(picture.convert("RGBA"), "TIFF", compression="tiff_adobe_deflate"),
        "sixteen": encoded(Image.new("I;16", picture.size, 30_000), "TIFF"),
        "float": encoded(picture.convert("F"), "TIFF"),
        "lab": encoded(Image.new("LAB", picture.size, (120, 90, 200)), "TIFF"),
        "pages": encoded(picture, "TIFF", save_all=True, append_images=[quarters(64, 48)] * 3),
        "big": encoded(picture, "TIFF", big_tiff=True),
        "exif": encoded(picture, "TIFF", exif=exif_of(6), icc_profile=srgb_profile()),
    }
    return found


@lru_cache(maxsize=1)
def originals() -> tuple[tuple[str, str, bytes], ...]:
    """(format, name, file) of every good original that is made here."""
    picture = textured()
    makers = {"JPEG": _jpegs, "PNG": _pngs, "GIF": _gifs, "WEBP": _webps, "AVIF": _avifs, "BMP": _bmps, "TIFF": _tiffs}
    return tuple((kind, name, data) for kind, make in makers.items() for name, data in make(picture).items())


@lru_cache(maxsize=1)
def photographs() -> tuple[tuple[str, str, bytes], ...]:
    """A few small photographs of the sandbox, of one seed: the same on every machine, each with a name of its own."""
    kinds = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".gif": "GIF"}
    files = [photo.file for _, photo in sorted(catalogue.generate(50, "test", DEFAULT_CACHE / "photos").items())]
    small = [file for file in files if file.suffix in kinds and file.stat().st_size < 150_000][:16]
    return tuple((kinds[file.suffix], file.name, file.read_bytes()) for file in small)


Mutation = Callable[[random.Random, str, bytes], bytes]


def flipped_bits(chance: random.Random, _kind: str, data: bytes) -> bytes:
    spoilt = bytearray(data)
    near = chance.choice((len(data), len(data), 200))  # headers are small and matter most
    for _ in range(chance.choice((1, 2, 8, 64))):
        spoilt[chance.randrange(min(near, len(data)))] ^= 1 << chance.randrange(8)
    return bytes(spoilt)


def overwritten(chance: random.Random, _kind: str, data: bytes) -> bytes:
    at, length = chance.randrange(len(data)), chance.choice((1, 2, 4, 16, 300))
    filling = chance.choice((bytes(length), b"\xff" * length, chance.randbytes(length)))
    return data[:at] + filling + data[at + length :]


def truncated(chance: random.Random, _kind: str, data: bytes) -> bytes:
    return data[
        : chance.choice((chance.randrange(64), chance.randrange(len(data)), len(data) - chance.randrange(1, 20)))
    ]


def shifted(chance: random.Random, _kind: str, data: bytes) -> bytes:
    """Insert or remove a few bytes in the middle."""
    at, length = chance.randrange(len(data)), chance.choice((1, 3, 100))
    return data[:at] + (chance.randbytes(length) + data[at:] if chance.random() < 0.5 else data[at + length :])


def spliced(chance: random.Random, kind: str, data: bytes) -> bytes:
    """Put the head of this file on the body of another, of whatever format."""
    other = chance.choice(originals())[2]
    head = chance.choice((4, 12, 30, 100, len(data) // 2))
    return data[:head] + other[chance.choice((head, len(other) // 2)) :]


def lied(chance: random.Random, kind: str, data: bytes) -> bytes:
    """Give a length, size, count or offset another value, often an extreme one."""
    fields = anatomy(kind, data).fields
    for _ in range(chance.choice((1, 1, 2, 3))):
        if fields:
            data = with_value(data, one := chance.choice(fields), _lie(chance, one, data))
    return with_png_sums(data) if kind == "PNG" and chance.random() < 0.8 else data


def _lie(chance: random.Random, one: Field, data: bytes) -> int:
    now = int.from_bytes(data[one.at : one.at + one.size], one.order)  # type: ignore[arg-type]
    top = (1 << 8 * one.size) - 1
    extremes = (0, 1, top, top - 1, top // 2, top // 2 + 1)
    return chance.choice((*extremes, now - 1, now + 1, now * 2, len(data), chance.randrange(top + 1), now ^ 1 << 7))


def reshuffled(chance: random.Random, kind: str, data: bytes) -> bytes:
    """Remove, repeat, swap or borrow whole blocks."""
    blocks = anatomy(kind, data).blocks
    if not blocks:
        return flipped_bits(chance, kind, data)
    start, end = chance.choice(blocks)
    match chance.randrange(4):
        case 0:
            return data[:start] + data[end:]
        case 1:
            return data[:end] + data[start:end] * chance.choice((1, 2, 50)) + data[end:]
        case 2:
            first, last = chance.choice(blocks)
            return data[:start] + data[first:last] + data[end:]
        case _:
            kin = [one[2] for one in originals() if one[0] == kind]
            other = chance.choice(kin)
            first, last = chance.choice(anatomy(kind, other).blocks or [(0, len(other))])
            return data[:start] + other[first:last] + data[start:]


def block_noise(chance: random.Random, kind: str, data: bytes) -> bytes:
    """Flip bits within one block, and mend checksums: damage that only the block's own parser can find."""
    blocks = anatomy(kind, data).blocks or [(0, len(data))]
    start, end = chance.choice(blocks)
    spoilt = bytearray(data)
    for _ in range(chance.choice((1, 3, 10))):
        spoilt[chance.randrange(start, end)] = chance.choice((0, 255, chance.randrange(256)))
    return with_png_sums(bytes(spoilt)) if kind == "PNG" else bytes(spoilt)


def trailing(chance: random.Random, _kind: str, data: bytes) -> bytes:
    return data + chance.choice((b"\0" * 1000, data, chance.choice(originals())[2], chance.randbytes(500)))


MUTATIONS: tuple[Mutation, ...] = (flipped_bits, overwritten, truncated, shifted, spliced, lied, lied, reshuffled)
MUTATIONS += (block_noise, trailing)


def specimen(seed: int, number: int) -> Specimen:
    """Return one file: every original comes in turn, and what is done to it, once or twice, is left to chance."""
    chance = random.Random(f"{seed}:{number}")
    own = number % 8 == 7 and photographs()
    kind, name, data = chance.choice(own) if own else originals()[number % len(originals())]
    reported = []
    for _ in range(chance.choice((1, 1, 1, 2))):
        mutation = chance.choice(MUTATIONS)
        if len(data) > 64:
            data = mutation(chance, kind, data)
            reported.append(mutation.__name__)
    return Specimen(seed, number, kind, f"{kind} {name}, {' and '.join(reported)}", data)


def main() -> None:
    """Write one specimen to standard output and its story to standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("number", type=int)
    asked = parser.parse_args()
    one = specimen(asked.seed, asked.number)
    sys.stderr.write(f"{one.story}, {len(one.data)} bytes\n")
    sys.stdout.buffer.write(one.data)


if __name__ == "__main__":
    main()
