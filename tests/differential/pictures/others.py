"""GIF, WebP, AVIF, TIFF, and what is refused."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from tests.differential.pictures import exif
from tests.differential.pictures.base import BLUE, GREEN, RED, SIZE, YELLOW, Picture, damaged, encoded, flat, textured
from tests.support.anatomy import anatomy
from tests.support.images import exif_of, srgb_profile, wide_gamut_profile

# GIF

_PALETTE = bytes((*RED, *GREEN, *BLUE, *YELLOW)) + bytes(12)
_QUARTERS = (np.arange(192)[:, None] // 96 * 2 + np.arange(240)[None, :] // 120).astype(np.uint8)


def lzw(values: Sequence[int], bits: int = 3, *, end: bool = True) -> bytes:
    """GIF's codes of ``values`` without compression: the table is cleared before codes would grow."""
    codes = []
    for n, value in enumerate(values):
        if n % ((1 << bits) - 2) == 0:
            codes.append(1 << bits)
        codes.append(int(value))
    if end:
        codes.append((1 << bits) + 1)
    ones = (np.array(codes)[:, None] >> np.arange(bits + 1)) & 1
    return np.packbits(ones.astype(np.uint8).reshape(-1), bitorder="little").tobytes()


def blocks(data: bytes) -> bytes:
    return b"".join(bytes([len(data[n : n + 255])]) + data[n : n + 255] for n in range(0, len(data), 255)) + b"\0"


def frame(
    values: np.ndarray, left: int = 0, top: int = 0, *, flags: int = 0, table: bytes = b"", codes: bytes | None = None
) -> bytes:
    height, width = values.shape
    data = lzw(values.reshape(-1)) if codes is None else codes
    return b"\x2c" + struct.pack("<HHHHB", left, top, width, height, flags) + table + b"\3" + blocks(data)


def control(clear: int | None = None, disposal: int = 0, delay: int = 1000) -> bytes:
    flags = disposal << 2 | (clear is not None)
    return b"\x21\xf9\x04" + struct.pack("<BHB", flags, delay, clear or 0) + b"\0"


def gif(
    *parts: bytes, size: tuple[int, int] = SIZE, flags: int = 0xF2, palette: bytes = _PALETTE, background: int = 0
) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", *size, flags, background, 0) + palette + b"".join(parts) + b";"


def _gifs() -> Iterator[tuple[str, bytes]]:
    whole, part, shorter = frame(_QUARTERS), _QUARTERS[96:, 120:], _QUARTERS[:, :].reshape(-1)
    yield "GIF by hand", gif(whole)
    yield "GIF 87a", gif(whole).replace(b"GIF89a", b"GIF87a", 1)
    for clear in range(4):
        yield f"GIF with colour {clear} clear", gif(control(clear), whole)
    yield "GIF with a clear colour beyond its palette", gif(control(200), whole)
    for name, left, top in (("last", 120, 96), ("first", 0, 0), ("middle", 60, 48), ("beyond the edge", 180, 144)):
        yield f"GIF with a small frame, {name}", gif(frame(part, left, top))
        yield f"GIF with a small frame, {name}, and a background colour", gif(frame(part, left, top), background=1)
        yield f"GIF with a small frame, {name}, and a clear colour", gif(control(0), frame(part, left, top))
    yield "GIF with a frame larger than its canvas", gif(whole, size=(120, 96))
    yield "GIF with a canvas of 0", gif(whole, size=(0, 0))
    yield "GIF with a frame of 0 by 0", gif(frame(_QUARTERS[:0, :0]), whole)
    yield "GIF with a palette of its frame", gif(frame(_QUARTERS, flags=0x82, table=_PALETTE), flags=0x70, palette=b"")
    yield "GIF without any palette", gif(whole, flags=0x70, palette=b"")
    yield "GIF with a short palette", gif(whole, flags=0xF0, palette=_PALETTE[:6])
    for disposal in range(4):
        yield (
            f"GIF animated, disposal {disposal}",
            gif(control(disposal=disposal), whole, control(disposal=disposal), frame(np.rot90(_QUARTERS, 2))),
        )
    yield "GIF animated, its first frame small", gif(control(), frame(part, 120, 96), control(), whole)
    yield (
        "GIF animated, by Pillow",
        encoded(
            textured().quantize(64),
            "GIF",
            save_all=True,
            append_images=[flat().rotate(180).quantize(16)],
            duration=9000,
        ),
    )
    yield "GIF with a comment", gif(b"\x21\xfe\x05hello\0", whole)
    yield "GIF with an unknown extension", gif(b"\x21\x42\x05hello\0", whole)
    yield "GIF with a short NETSCAPE", gif(b"\x21\xff\x0bNETSCAPE2.0\x01\x01\0", whole)
    yield "GIF with a control of 2 bytes", gif(b"\x21\xf9\x02\0\0\0", whole)
    yield "GIF with a control of 9 bytes", gif(b"\x21\xf9\x09" + bytes(9) + b"\0", whole)
    yield "GIF with an application of 3 bytes", gif(b"\x21\xff\x03abc\0", whole)
    yield "GIF with a plain text", gif(b"\x21\x01\x0c" + bytes(12) + b"\x02hi\0", whole)
    yield "GIF with zeros between its blocks", gif(b"\0\0\0", whole)
    yield "GIF with noise between its blocks", gif(b"noise", whole)
    yield "GIF without its end", gif(whole)[:-1]
    for lost in (1, 10, 240, 240 * 10, 240 * 40, 240 * 120):
        yield f"GIF that lacks its last {lost} pixels", gif(frame(_QUARTERS, codes=lzw(shorter[:-lost])))
        yield (
            f"GIF that lacks its last {lost} pixels and the end of its codes",
            gif(frame(_QUARTERS, codes=lzw(shorter[:-lost], end=False))),
        )
    yield "GIF without the end of its codes", gif(frame(_QUARTERS, codes=lzw(shorter, end=False)))
    yield "GIF with more pixels than its frame", gif(frame(_QUARTERS, codes=lzw([*shorter, *[1] * 900])))
    yield "GIF with a wrong code in its middle", gif(frame(_QUARTERS, codes=lzw(shorter)[:6000] + b"\xff" * 3000))
    for bits in (0, 1, 9, 12, 13):
        yield f"GIF of {bits} bits a code", gif(whole).replace(b"\0\3\xff", bytes((0, bits, 255)), 1)
    yield (
        "GIF with a colour beyond its palette",
        gif(frame(np.full_like(_QUARTERS, 7)), flags=0xF1, palette=_PALETTE[:12]),
    )
    yield "GIF without a frame", gif()
    yield "GIF whose second frame is cut", gif(control(), whole, control(), frame(np.rot90(_QUARTERS, 2)))[:-3000]


# WebP


def riff(*chunks: bytes, length: int | None = None) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if length is None else length) + body


def fourcc(name: bytes, data: bytes, length: int | None = None) -> bytes:
    return name + struct.pack("<I", len(data) if length is None else length) + data + b"\0" * (len(data) & 1)


def vp8x(flags: int, width: int = SIZE[0], height: int = SIZE[1]) -> bytes:
    return fourcc(
        b"VP8X", bytes((flags, 0, 0, 0)) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )


def _webps() -> Iterator[tuple[str, bytes]]:
    picture = textured()
    plain, clear = encoded(picture, "WEBP", quality=80), encoded(_with_alpha(), "WEBP", quality=80)
    body = plain[12:]
    yield "WebP lossless, alpha", encoded(_with_alpha(), "WEBP", lossless=True)
    yield "WebP animated", encoded(picture, "WEBP", save_all=True, append_images=[flat().rotate(180)], duration=9000)
    for orientation in range(1, 9):
        yield f"WebP with EXIF orientation {orientation}", encoded(picture, "WEBP", exif=exif_of(orientation))
    yield "WebP turned by XMP alone", riff(vp8x(4), body, fourcc(b"XMP ", b"tiff:Orientation='6'"))
    yield "WebP with malformed EXIF", riff(vp8x(8), body, fourcc(b"EXIF", exif.tiff(6)[:15]))
    wide = wide_gamut_profile()
    yield "WebP with red and green swapped by its profile", encoded(picture, "WEBP", icc_profile=wide)
    yield "WebP with a profile of noise", riff(vp8x(32), fourcc(b"ICCP", b"noise"), body)
    yield "WebP with a profile announced and missing", riff(vp8x(32), body)
    yield "WebP with a profile not announced", riff(vp8x(0), fourcc(b"ICCP", wide), body)
    yield "WebP with an empty profile", riff(vp8x(32), fourcc(b"ICCP", b""), body)
    for name, length in (
        ("0", 0),
        ("4", 4),
        ("too small", len(plain) // 2),
        ("odd", len(plain) - 9),
        ("too large", len(plain) + 900),
    ):
        yield f"WebP with a RIFF length {name}", plain[:4] + struct.pack("<I", length) + plain[8:]
    yield "WebP with an unknown chunk", riff(vp8x(0), fourcc(b"abcd", b"hello"), body)
    yield "WebP with an unknown chunk behind its picture", riff(vp8x(0), body, fourcc(b"abcd", b"hello"))
    yield "WebP with a chunk longer than the file", riff(vp8x(0), fourcc(b"abcd", b"hello", 90_000), body)
    yield "WebP whose canvas is larger than its picture", riff(vp8x(0, 480, 384), body)
    yield "WebP with alpha announced and missing", riff(vp8x(16), body)
    alpha_at, alpha_end = next((s, e) for s, e in anatomy("WEBP", clear).blocks if clear[s : s + 4] == b"ALPH")
    noise = fourcc(b"ALPH", b"\1" + bytes(range(40)))
    yield "WebP with alpha of noise", riff(clear[12:alpha_at], noise, clear[alpha_end:])
    yield "WebP with its picture twice", riff(vp8x(0), body, body)
    yield "WebP without a picture", riff(vp8x(0))


def _with_alpha() -> Image.Image:
    picture = textured().convert("RGBA")
    alpha = Image.new("L", SIZE, 255)
    alpha.paste(0, (0, 0, 120, 96))
    alpha.paste(128, (120, 0, 240, 96))
    picture.putalpha(alpha)
    return picture


# AVIF


def _avifs() -> Iterator[tuple[str, bytes]]:
    picture, fast = textured(), {"speed": 10, "quality": 70}
    plain = encoded(picture, "AVIF", **fast)
    forms: dict[str, dict[str, Any]] = {
        "4:4:4": {"subsampling": "4:4:4"},
        "4:2:2": {"subsampling": "4:2:2"},
        "grey": {"subsampling": "4:0:0"},
        "of a narrow range": {"range": "limited"},
        "lossless": {"quality": 100},
        "with a profile": {"icc_profile": wide_gamut_profile()},
        "with sRGB": {"icc_profile": srgb_profile()},
        "animated": {"save_all": True, "append_images": [flat().rotate(180)], "duration": 9000},
    }
    for name, options in forms.items():
        yield f"AVIF {name}", encoded(picture, "AVIF", **{**fast, **options})
    yield "AVIF with alpha", encoded(_with_alpha(), "AVIF", **fast)
    for orientation in range(1, 9):
        yield f"AVIF with EXIF orientation {orientation}", encoded(picture, "AVIF", exif=exif_of(orientation), **fast)
    box = struct.pack(">I", 12) + b"free" + bytes(4)
    yield "AVIF then a box", plain + box
    yield "AVIF then an unknown box", plain + box.replace(b"free", b"abcd")
    yield "AVIF then a box longer than the file", plain + struct.pack(">I", 9000) + b"free"
    yield "AVIF then half a box's header", plain + b"\0\0"
    yield "AVIF whose last box has length 0", _last_box(plain, 0)
    yield "AVIF whose last box is too long by 20", _last_box(plain, 20)
    yield "AVIF of an unknown brand", plain.replace(b"ftypavif", b"ftypabcd", 1)
    yield "AVIF of the brand mif1", plain.replace(b"ftypavif", b"ftypmif1", 1)


def _last_box(data: bytes, more: int) -> bytes:
    start, end = next(one for one in anatomy("AVIF", data).blocks if one[1] == len(data))
    return data[:start] + struct.pack(">I", end - start + more if more else 0) + data[start + 4 :]


# TIFF, and what is refused


def _refused() -> Iterator[tuple[str, bytes]]:
    picture = textured()
    for kind in ("ICO", "PPM", "TGA", "PCX", "SGI", "ICNS", "JPEG2000", "PDF", "EPS", "XBM", "DDS"):
        shown = picture.convert("1") if kind == "XBM" else picture.resize((256, 256)) if kind == "ICNS" else picture
        yield f"{kind} picture", encoded(shown, kind)
    yield "CUR picture", b"\0\0\2\0" + encoded(picture, "ICO")[4:]
    shapes = "".join(
        f'<rect x="{n % 2 * 120}" y="{n // 2 * 96}" width="120" height="96" fill="rgb{colour}"/>'
        for n, colour in enumerate((RED, GREEN, BLUE, YELLOW))
    )
    yield "SVG picture", f'<svg xmlns="http://www.w3.org/2000/svg" width="240" height="192">{shapes}</svg>'.encode()
    yield "HEIC picture", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(900)
    yield "JXL picture", b"\xff\x0a" + bytes(900)
    yield "PSD picture", b"8BPS\0\1" + bytes(900)
    yield "QOI picture", b"qoif" + struct.pack(">IIBB", 240, 192, 3, 0) + b"\xfe\xdc\x1e\x1e" * 900
    yield "HTML page", b"<!doctype html><title>x</title><p>no photo here"
    yield "JSON answer", b'{"error": "not found"}'
    yield "Nothing at all", b""
    yield "Zeros", bytes(5000)
    yield "Noise", bytes(range(1, 256)) * 20


def pictures() -> Iterator[Picture]:
    """All of these formats."""
    yield from damaged("GIF interlaced", encoded(textured().quantize(64), "GIF", interlace=1))
    yield from damaged("GIF row by row", encoded(textured().quantize(64), "GIF", interlace=0))
    yield from damaged("WebP lossy", encoded(textured(), "WEBP", quality=80))
    yield from damaged("WebP lossless", encoded(textured(), "WEBP", lossless=True))
    yield from damaged("WebP lossy, alpha", encoded(_with_alpha(), "WEBP", quality=80))
    yield from damaged("AVIF plain", encoded(textured(), "AVIF", speed=10, quality=70))
    for compression in ("raw", "tiff_lzw", "jpeg"):
        yield from list(damaged(f"TIFF {compression}", encoded(textured(), "TIFF", compression=compression)))[:1]
    for name, data in (*_gifs(), *_webps(), *_avifs(), *_refused()):
        yield Picture(name, data, "GIF by hand" if " lacks " in name or " wrong code " in name else "")
