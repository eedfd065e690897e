"""Odd pictures: damaged beside their pixels, or of kinds that decoders disagree about. Colours are Chromium's (156).

Each table maps a name to a file and what it must come to: the colours in the middles of its four quarters, or a reason.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from PIL import Image

from tests.support.images import (
    QUARTERS,
    quarters,
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
