"""More odd pictures, as in :mod:`pictures_odd`: GIF, BMP, WebP and AVIF."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from PIL import Image

from tests.support.images import QUARTERS, WHITE, encoded, quarters, wide_gamut_profile
from tests.support.pictures_odd import BLUE, GREEN, HEIGHT, RED, SWAPPED, WIDTH, YELLOW, Cases

PALETTE = bytes(sample for colour in QUARTERS for sample in colour) + bytes(12)


def gif_frame(
    left: int,
    top: int,
    width: int,
    height: int,
    *,
    pixels: int | None = None,
    index: int | None = None,
    end: bool = True,
    interlaced: bool = False,
) -> bytes:
    """A frame of the quarters, or of one colour, of which only so many ``pixels`` are there."""
    out, bits, count = bytearray(), 0, 0

    def put(code: int) -> None:
        nonlocal bits, count
        bits |= code << count
        count += 4
        while count >= 8:
            out.append(bits & 255)
            bits >>= 8
            count -= 8

    rows = [y for first, step in ((0, 8), (4, 8), (2, 4), (1, 2)) for y in range(first, height, step)]
    for n in range(width * height if pixels is None else pixels):
        if n % 6 == 0:
            put(8)  # clear
        y, x = divmod(n, width)
        y = rows[y] if interlaced else y
        put((x >= width // 2) + 2 * (y >= height // 2) if index is None else index)
    if end:
        put(9)
    out.append(bits & 255)
    blocks = b"".join(bytes((len(out[n : n + 255]),)) + out[n : n + 255] for n in range(0, len(out), 255))
    return b"\x2c" + struct.pack("<4HBB", left, top, width, height, 0x40 * interlaced, 3) + blocks + b"\0"


def gif(*parts: bytes, tail: bytes = b";", background: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", *size, 0xF2, background, 0) + PALETTE + b"".join(parts) + tail


def transparent(index: int) -> bytes:
    return b"\x21\xf9\4" + bytes((1, 10, 0, index, 0))


def gifs() -> Cases:
    """The first frame on a clear canvas; what is nearly whole is made."""
    whole, all_pixels = gif_frame(0, 0, WIDTH, HEIGHT), WIDTH * HEIGHT
    corner = (WHITE, WHITE, WHITE, YELLOW)
    yellow = gif_frame(80, 64, 120, 96, index=3)
    plain = gif(whole)
    few, comment = encoded(quarters(WIDTH, HEIGHT).quantize(4), "GIF", interlace=0), b"\x21\xfe\5hello\0"
    return {
        "GIF": (plain, QUARTERS),
        "GIF with a small frame": (gif(yellow), corner),
        "GIF with a small frame and a background": (gif(yellow, background=1), corner),
        "GIF with a small frame of a transparent colour": (gif(transparent(3), yellow), (WHITE,) * 4),
        "GIF with a small frame, then a whole one": (gif(yellow, gif_frame(0, 0, WIDTH, HEIGHT, index=1)), corner),
        "GIF with a transparent colour": (gif(transparent(1), whole), (RED, WHITE, BLUE, YELLOW)),
        "GIF with a transparent colour that there is not": (gif(transparent(200), whole), QUARTERS),
        "GIF whose frame is larger than its canvas": (gif(whole, size=(1, 1)), QUARTERS),
        "GIF without its trailer": (gif(whole, tail=b""), QUARTERS),
        "GIF without an end code": (gif(gif_frame(0, 0, WIDTH, HEIGHT, end=False)), QUARTERS),
        "GIF with rubbish behind it": (plain + b"rubbish" * 9, QUARTERS),
        "GIF without its last pixels": (gif(gif_frame(0, 0, WIDTH, HEIGHT, pixels=all_pixels - 500)), QUARTERS),
        "GIF without its last bytes": (plain[:-300], QUARTERS),
        "GIF of few bytes, cut in its last block": (few[:-40], QUARTERS),
        "GIF of few bytes behind a comment, cut in its last block": (few[:25] + comment + few[25:-40], QUARTERS),
        "GIF of few bytes, cut at half": (few[: len(few) // 2], "truncated"),
        "GIF interlaced": (gif(gif_frame(0, 0, WIDTH, HEIGHT, interlaced=True)), QUARTERS),
        "GIF of a third, interlaced": (
            gif(gif_frame(0, 0, WIDTH, HEIGHT, pixels=all_pixels // 3, interlaced=True)),
            QUARTERS,
        ),
        "GIF of a twentieth, interlaced": (
            gif(gif_frame(0, 0, WIDTH, HEIGHT, pixels=all_pixels // 20, interlaced=True)),
            "truncated",
        ),
        "GIF of codes of 1 bit": (plain.replace(b"\0\3\xff", b"\0\1\xff", 1), "decode_error"),
        "GIF of half a frame": (gif(gif_frame(0, 0, WIDTH, HEIGHT, pixels=all_pixels // 2)), "truncated"),
        "GIF of half a small frame": (gif(gif_frame(80, 64, 120, 96, pixels=60 * 96, index=3)), "truncated"),
        "GIF of half a file": (plain[: len(plain) // 2], "truncated"),
    }


# BMP


def bmp(
    bits: int,
    compression: int,
    pixels: bytes,
    *,
    size: int = 40,
    more: bytes = b"",
    palette: bytes = b"",
    height: int = HEIGHT,
    colours: int = 0,
) -> bytes:
    """A BMP with a header of ``size`` bytes, of which ``more`` are what follows BITMAPINFOHEADER's."""
    info = struct.pack("<IiiHHIIiiII", size, WIDTH, height, 1, bits, compression, 0, 2835, 2835, colours, 0)
    info = (info + more.ljust(size - 40, b"\0"))[:size]
    return struct.pack("<2sIHHI", b"BM", 0, 0, 0, 14 + len(info) + len(palette)) + info + palette + pixels


def bmp_rows(pixel: Callable[[int], bytes], *, upside_down: bool = False) -> bytes:
    """The quarters, from the last row to the first one; ``pixel`` makes the bytes of a quarter's."""
    made = []
    for bottom in (False, True) if upside_down else (True, False):
        row = pixel(2 * bottom) * (WIDTH // 2) + pixel(2 * bottom + 1) * (WIDTH // 2)
        made.append((row + bytes(-len(row) % 4)) * (HEIGHT // 2))
    return b"".join(made)


def masked(masks: Sequence[int], length: int, alpha: Sequence[int] = (255,) * 4) -> Callable[[int], bytes]:
    """What makes a quarter's pixel of samples where the masks say."""

    def pixel(quarter: int) -> bytes:
        word = 0
        for sample, mask in zip((*QUARTERS[quarter], alpha[quarter]), masks, strict=True):
            if mask:
                shift = (mask & -mask).bit_length() - 1
                word |= (sample * (mask >> shift) + 127) // 255 << shift
        return word.to_bytes(length, "little")

    return pixel


MASKS = {
    "BGRA": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    "RGBA": (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    "ARGB": (32, (0xFF00, 0xFF0000, 0xFF000000, 0xFF)),
    "10 bits": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)),
    "BGRX": (32, (0xFF0000, 0xFF00, 0xFF, 0)),
    "RGB565 in 32 bits": (32, (0xF800, 0x7E0, 0x1F, 0)),
    "555": (16, (0x7C00, 0x3E0, 0x1F, 0)),
    "565": (16, (0xF800, 0x7E0, 0x1F, 0)),
    "BGR565": (16, (0x1F, 0x7E0, 0xF800, 0)),
    "1555": (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
    "4444": (16, (0xF00, 0xF0, 0xF, 0xF000)),
}


def bmps() -> Cases:
    """Samples wherever masks say; alpha counts where a header has a mask of it."""
    cases: Cases = {}
    clear, opaque = (WHITE, GREEN, WHITE, YELLOW), QUARTERS
    for name, (bits, masks) in MASKS.items():
        for half in (False, True):
            pixels = bmp_rows(masked(masks, bits // 8, (0, 255, 0, 255) if half else (255,) * 4))
            for size in (52, 56, 108, 124):
                shown = clear if half and size >= 56 and masks[3] else opaque
                fields = struct.pack("<4I", *masks)[: size - 40]
                cases[f"BMP {name}, header of {size}{', alpha' if half else ''}"] = (
                    bmp(bits, 3, pixels, size=size, more=fields),
                    shown,
                )
            fields = struct.pack("<3I", *masks[:3])
            cases[f"BMP {name}, header of 40{', alpha' if half else ''}"] = (
                bmp(bits, 3, pixels, palette=fields),
                opaque,
            )
    cases["BMP of BI_ALPHABITFIELDS"] = (
        bmp(
            32,
            6,
            bmp_rows(masked(MASKS["BGRA"][1], 4, (0, 255, 0, 255))),
            palette=struct.pack("<4I", *MASKS["BGRA"][1]),
        ),
        clear,
    )
    true_colour = bmp_rows(lambda quarter: bytes(QUARTERS[quarter][::-1]))
    palette = b"".join(bytes((*colour[::-1], 0)) for colour in QUARTERS)
    indexed = bmp_rows(lambda quarter: bytes((quarter,)))
    for size in (16, 20, 36, 42, 46, 48, 60, 64):
        cases[f"BMP of OS/2, 24 bits, header of {size}"] = (bmp(24, 0, true_colour, size=size), QUARTERS)
        table = palette.ljust(1024, b"\0")
        cases[f"BMP of OS/2, 8 bits, header of {size}"] = (bmp(8, 0, indexed, size=size, palette=table), QUARTERS)
    cases["BMP of a header of 18"] = (bmp(24, 0, true_colour, size=18), "not_an_image")
    with_runs = b"".join(bytes((100, 2 * (y >= 80), 100, 2 * (y >= 80) + 1, 0, 0)) for y in range(HEIGHT - 1, -1, -1))
    profile = (
        struct.pack("<4I", *MASKS["BGRX"][1])
        + b"DEBM"
        + bytes(48)
        + struct.pack("<4I", 4, 124 + len(true_colour), len(wide_gamut_profile()), 0)
    )
    whole = bmp(24, 0, true_colour)
    return cases | {
        "BMP of 16 bits without masks": (bmp(16, 0, bmp_rows(masked(MASKS["555"][1], 2))), QUARTERS),
        "BMP of 32 bits without masks": (bmp(32, 0, bmp_rows(masked(MASKS["BGRA"][1], 4, (0,) * 4))), QUARTERS),
        "BMP from the top": (
            bmp(24, 0, bmp_rows(lambda q: bytes(QUARTERS[q][::-1]), upside_down=True), height=-HEIGHT),
            QUARTERS,
        ),
        "BMP of masks from the top": (
            bmp(
                32,
                3,
                bmp_rows(masked(MASKS["RGBA"][1], 4), upside_down=True),
                size=108,
                more=struct.pack("<4I", *MASKS["RGBA"][1]),
                height=-HEIGHT,
            ),
            QUARTERS,
        ),
        "BMP of more colours than there can be": (
            bmp(8, 0, indexed, palette=palette + bytes(1196 - 16 + 4), colours=300),
            QUARTERS,
        ),
        "BMP of few colours": (bmp(8, 0, indexed, palette=palette, colours=4), QUARTERS),
        "BMP of runs": (bmp(8, 1, with_runs + b"\0\1", palette=palette, colours=4), QUARTERS),
        "BMP of runs without an end": (bmp(8, 1, with_runs, palette=palette, colours=4), QUARTERS),
        "BMP with a profile": (bmp(24, 0, true_colour + wide_gamut_profile(), size=124, more=profile), SWAPPED),
        "BMP with rubbish behind it": (whole + b"rubbish" * 9, QUARTERS),
        "BMP without its last byte": (whole[:-1], QUARTERS),
        "BMP without its last rows": (whole[: len(whole) * 97 // 100], QUARTERS),
        "BMP of masks without its last rows": (
            cases["BMP BGRA, header of 56"][0][: 4 * WIDTH * HEIGHT * 97 // 100],
            QUARTERS,
        ),
        "BMP of a mask with a gap": (
            bmp(32, 3, bmp_rows(masked(MASKS["BGRA"][1], 4)), palette=struct.pack("<3I", 0xF0F000, 0xF00, 0xFF)),
            "decode_error",
        ),
        "BMP of half its rows": (whole[: len(whole) // 2], "truncated"),
        "BMP of masks of half its rows": (cases["BMP BGRA, header of 56"][0][: 2 * WIDTH * HEIGHT], "truncated"),
    }


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack("<I", len(data)) + data + bytes(len(data) & 1) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def others() -> Cases:
    """WebP and AVIF: Chromium shows nothing at all of one that is cut."""
    picture = quarters(400, 320)
    webp, avif = encoded(picture, "WEBP", quality=95), encoded(picture, "AVIF", quality=95)
    small = encoded(Image.new("RGB", (240, 192), YELLOW), "WEBP", quality=95)[12:]

    def u24(*numbers: int) -> bytes:
        return b"".join(struct.pack("<I", number)[:3] for number in numbers)

    frame = u24(80, 64, 239, 191, 100) + b"\0" + small
    animated = riff((b"VP8X", b"\2\0\0\0" + u24(399, 319)), (b"ANIM", b"\0\0\xff\xff\0\0"), (b"ANMF", frame))
    cases: Cases = {
        "WebP with rubbish behind it": (webp + b"rubbish" * 9, QUARTERS),
        "WebP without its last byte": (webp[:-1], "truncated"),
        "WebP with a small frame on a background": (animated, (WHITE, WHITE, WHITE, YELLOW)),
        "AVIF without its last byte": (avif[:-1], "truncated"),
    }
    for name, rest in {"words": b"rubbish" * 9, "zeros": bytes(99), "ones": b"\xff" * 3, "itself": avif}.items():
        cases[f"AVIF with {name} behind it"] = (avif + rest, QUARTERS)
    for compression in ("raw", "tiff_lzw", "jpeg"):  # which Chromium does not show
        tiff = encoded(picture, "TIFF", compression=compression)
        cases[f"TIFF {compression} with rubbish behind it"] = (tiff + b"rubbish" * 9, QUARTERS)
    raw = encoded(picture, "TIFF")
    cases["TIFF without its last byte"] = (raw[:-1], QUARTERS)
    cases["TIFF of half its bytes"] = (raw[: len(raw) // 2], "truncated")
    return cases
