"""Pictures of which Chromium and the pipeline may think differently, by the reason."""

from __future__ import annotations

from tests.differential.agreement import Exceptions

EXCEPTIONS: Exceptions = {
    "TIFF is accepted, which Chromium does not show": (
        "TIFF raw",
        "TIFF tiff_lzw",
        "TIFF jpeg",
    ),
    "WebP is turned by its EXIF, as libvips does it; Chromium does not turn it": (
        "WebP with EXIF orientation 2",
        "WebP with EXIF orientation 3",
        "WebP with EXIF orientation 4",
        "WebP with EXIF orientation 5",
        "WebP with EXIF orientation 6",
        "WebP with EXIF orientation 7",
        "WebP with EXIF orientation 8",
    ),
    "SVG is refused, as it is a program; icons are no photos": (
        "ICO picture",
        "CUR picture",
        "SVG picture",
    ),
    "cICP of high dynamic range: its tone mapping is not cheap, so it is taken as sRGB or as its profile says": (
        "PNG with cICP PQ",
        "PNG with cICP PQ and a profile",
        "PNG with cICP HLG",
        "PNG with cICP HLG and a profile",
    ),
    "Lab beside RGB pixels is nonsense: Chromium takes it at its word, we take the pixels as sRGB": (
        "PNG with a profile of Lab",
    ),
    "What Chromium refuses may be refused, and need not: the pixels are whole": (
        "JPEG with two starts",
        "PNG with an unknown critical chunk",
        "PNG with cICP of a matrix",
        "PNG animated, frames in the wrong order",
        "PNG animated, a first frame that is small",
        "PNG animated, control of 3 bytes",
        "PNG in many IDATs, one with a wrong CRC",
        "PNG with a text between its IDATs",
        "PNG with its head twice",
        "PNG with a wrong zlib header",
        "GIF with a control of 9 bytes",
        "GIF with zeros between its blocks",
        "GIF with noise between its blocks",
    ),
    "a depth that only Windows CE wrote, for which there is no decoder here": ("BMP of 2 bits",),
}
