"""PNGs with all that may stand beside the picture: text, colour, EXIF; whole, short, long, and with wrong sums."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from PIL import ImageCms

from tests.differential.pictures import exif
from tests.differential.pictures.jpegs import XMP
from tests.differential.pictures.png_parts import (
    HEAD,
    IDAT,
    chunk,
    file,
    head,
    packed,
    palette,
    quarters,
    samples,
    typed,
    with_chunks,
)
from tests.support.images import linear_srgb_profile, srgb_profile, wide_gamut_profile


def _chrm(swapped: bool = False) -> bytes:
    red, green = (64000, 33000), (30000, 60000)
    if swapped:
        red, green = green, red
    return struct.pack(">8I", 31270, 32900, *red, *green, 15000, 6000)


_ANCILLARY = {
    b"gAMA": struct.pack(">I", 45455),
    b"cHRM": _chrm(),
    b"sRGB": b"\0",
    b"cICP": b"\1\x0d\0\1",
    b"pHYs": struct.pack(">IIB", 2835, 2835, 1),
    b"tIME": struct.pack(">HBBBBB", 2024, 1, 2, 3, 4, 5),
    b"tEXt": b"Comment\0hello",
    b"zTXt": b"Comment\0\0" + zlib.compress(b"hello"),
    b"iTXt": b"Comment\0\0\0\0\0hello",
    b"bKGD": bytes(6),
    b"sBIT": b"\x08\x08\x08",
    b"sPLT": b"name\0\x08" + bytes(6),
    b"hIST": bytes(8),
    b"eXIf": exif.tiff(1),
    b"iCCP": b"p\0\0" + zlib.compress(srgb_profile()),
    b"oFFs": bytes(9),
    b"pCAL": b"a\0" + bytes(12),
    b"sCAL": b"\x011\x002",
    b"mDCV": bytes(24),
    b"cLLI": bytes(8),
    b"acTL": bytes(8),
    b"iDOT": bytes(28),
    b"vpAg": bytes(9),
    b"abCd": b"noise",
}


def _beside() -> Iterator[tuple[str, bytes]]:
    for kind, data in _ANCILLARY.items():
        name = kind.decode()
        yield f"PNG with {name}", with_chunks(chunk(kind, data))
        yield f"PNG with a wrong CRC of {name}", with_chunks(chunk(kind, data, damage=1))
        yield f"PNG with an empty {name}", with_chunks(chunk(kind, b""))
        yield f"PNG with a short {name}", with_chunks(chunk(kind, data[: max(1, len(data) // 2)]))
        yield f"PNG with a long {name}", with_chunks(chunk(kind, data + bytes(400)))
        yield f"PNG with {name} twice", with_chunks(chunk(kind, data) * 2)
        yield f"PNG with {name} behind its pixels", file(HEAD, IDAT, chunk(kind, data))
    big = b"x" * 1_200_000
    yield "PNG with 1.2 MB of zTXt", with_chunks(chunk(b"zTXt", b"C\0\0" + zlib.compress(big)))
    yield "PNG with 1.2 MB of iTXt", with_chunks(chunk(b"iTXt", b"C\0\1\0\0\0" + zlib.compress(big)))
    yield "PNG with 1.2 MB of tEXt", with_chunks(chunk(b"tEXt", b"C\0" + big))
    yield (
        "PNG with 70 MB of text in 70 chunks",
        with_chunks(*[chunk(b"zTXt", b"C\0\0" + zlib.compress(b"x" * 1_000_000))] * 70),
    )
    yield "PNG with 3,000 texts", with_chunks(*[chunk(b"tEXt", b"C\0hello")] * 3000)
    yield "PNG with zTXt of method 9", with_chunks(chunk(b"zTXt", b"C\0\x09zz"))
    yield "PNG with zTXt of noise", with_chunks(chunk(b"zTXt", b"C\0\0noise"))
    yield "PNG with iTXt that is not UTF-8", with_chunks(chunk(b"iTXt", b"C\0\0\0\0\0\xff\xfe"))
    yield "PNG with a chunk longer than the file", with_chunks(chunk(b"tEXt", b"hello", length=4_000_000))
    yield "PNG with a chunk of 2^31 bytes", with_chunks(chunk(b"tEXt", b"hello", length=1 << 31))
    yield "PNG with a chunk named in digits", with_chunks(chunk(b"1234", b"hello"))
    yield "PNG with an unknown critical chunk", with_chunks(chunk(b"ABCD", b"hello"))
    yield "PNG with a palette of 3 colours", with_chunks(chunk(b"PLTE", bytes(9)))
    yield "PNG with a palette of 4 bytes", with_chunks(chunk(b"PLTE", bytes(4)))


def _profiled() -> Iterator[tuple[str, bytes]]:
    def profile(data: bytes, name: bytes = b"p", method: int = 0) -> bytes:
        return chunk(b"iCCP", name + b"\0" + bytes((method,)) + zlib.compress(data))

    wide = wide_gamut_profile()
    swapped = profile(wide)
    yield "PNG with red and green swapped by its profile", with_chunks(swapped)
    yield "PNG with a linear profile", with_chunks(profile(linear_srgb_profile()))
    yield "PNG with a profile called by 90 letters", with_chunks(profile(wide, b"x" * 90))
    yield "PNG with a profile without a name", with_chunks(profile(wide, b""))
    yield "PNG with an iCCP of method 1", with_chunks(profile(wide, method=1))
    yield "PNG with an iCCP of noise", with_chunks(chunk(b"iCCP", b"p\0\0noise"))
    yield "PNG with an iCCP without a NUL", with_chunks(chunk(b"iCCP", b"p" * 60))
    yield "PNG with a cut iCCP", with_chunks(chunk(b"iCCP", b"p\0\0" + zlib.compress(wide)[:200]))
    yield "PNG with a cut profile", with_chunks(profile(wide[:200]))
    yield "PNG with a profile of 3 MB", with_chunks(profile(wide + bytes(3_000_000)))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    yield "PNG with a profile of Lab", with_chunks(profile(lab))
    yield "PNG grey with an RGB profile", typed(0, 8, before=swapped)
    yield "PNG palette with an RGB profile", file(
        chunk(b"IHDR", head(8, 3)), swapped, chunk(b"PLTE", palette(8)),
        chunk(b"IDAT", zlib.compress(packed(quarters(samples(3, 8)), 8))),
    )  # fmt: skip
    for name, value in (
        ("1.0", 100000),
        ("0.5", 50000),
        ("1/2.2", 45455),
        ("1/1.8", 55556),
        ("0", 0),
        ("20000", 1 << 31),
    ):
        gamma = chunk(b"gAMA", struct.pack(">I", value))
        yield f"PNG with a gamma of {name}", with_chunks(gamma)
        yield f"PNG grey with a gamma of {name}", typed(0, 8, before=gamma)
        yield f"PNG with a gamma of {name} and chromaticities", with_chunks(gamma, chunk(b"cHRM", _chrm()))
        yield f"PNG with a gamma of {name} and sRGB", with_chunks(gamma, chunk(b"sRGB", b"\0"))
        yield f"PNG with a gamma of {name} and a profile", with_chunks(gamma, swapped)
    gamma = chunk(b"gAMA", struct.pack(">I", 45455))
    yield "PNG with swapped chromaticities alone", with_chunks(chunk(b"cHRM", _chrm(swapped=True)))
    yield "PNG with swapped chromaticities and a gamma", with_chunks(gamma, chunk(b"cHRM", _chrm(swapped=True)))
    yield (
        "PNG with 16 bits, swapped chromaticities and a gamma",
        typed(2, 16, before=gamma + chunk(b"cHRM", _chrm(swapped=True))),
    )
    yield "PNG palette with a gamma of 1.0", file(
        chunk(b"IHDR", head(8, 3)), chunk(b"gAMA", struct.pack(">I", 100000)), chunk(b"PLTE", palette(8)),
        chunk(b"IDAT", zlib.compress(packed(quarters(samples(3, 8)), 8))),
    )  # fmt: skip
    yield "PNG with alpha and a gamma of 1.0", typed(6, 8, before=chunk(b"gAMA", struct.pack(">I", 100000)))
    yield "PNG with chromaticities of 0", with_chunks(gamma, chunk(b"cHRM", bytes(32)))
    for name, code in (
        ("P3", b"\x0c\x0d\0\1"),
        ("linear", b"\1\x08\0\1"),
        ("PQ", b"\x09\x10\0\1"),
        ("HLG", b"\x09\x12\0\1"),
    ):
        yield f"PNG with cICP {name}", with_chunks(chunk(b"cICP", code))
        yield f"PNG with cICP {name} and a profile", with_chunks(chunk(b"cICP", code), swapped)
    yield "PNG with cICP of a matrix", with_chunks(chunk(b"cICP", b"\1\x0d\1\1"))
    yield "PNG with cICP of unknown numbers", with_chunks(chunk(b"cICP", b"\xc8\xc8\0\1"))
    yield "PNG with cICP of a narrow range", with_chunks(chunk(b"cICP", b"\1\x0d\0\0"))


def _turned() -> Iterator[tuple[str, bytes]]:
    for orientation in range(1, 9):
        yield f"PNG with EXIF orientation {orientation}", with_chunks(chunk(b"eXIf", exif.tiff(orientation)))
    for name, data in exif.odd():
        yield f"PNG with EXIF: {name}", with_chunks(chunk(b"eXIf", data))
    turn = exif.tiff(6)
    yield "PNG whose eXIf begins with Exif", with_chunks(chunk(b"eXIf", b"Exif\0\0" + turn))
    yield "PNG turned behind its pixels", file(HEAD, IDAT, chunk(b"eXIf", turn))
    yield "PNG turned with a wrong CRC", with_chunks(chunk(b"eXIf", turn, damage=1))
    yield "PNG turned by XMP alone", with_chunks(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP))
    raw = b"\nexif\n%8d\n%b\n" % (len(turn) + 6, (b"Exif\0\0" + turn).hex().encode())
    for name in (b"exif", b"APP1"):
        yield (
            f"PNG turned by a raw profile {name.decode()}",
            with_chunks(chunk(b"tEXt", b"Raw profile type " + name + b"\0" + raw)),
        )
        yield (
            f"PNG turned by a compressed raw profile {name.decode()}",
            with_chunks(chunk(b"zTXt", b"Raw profile type " + name + b"\0\0" + zlib.compress(raw))),
        )
    yield "PNG turned by a text Orientation", with_chunks(chunk(b"tEXt", b"Orientation\x006"))


def pictures() -> Iterator[tuple[str, bytes]]:
    """(name, file) of all these."""
    yield from (*_beside(), *_profiled(), *_turned())
