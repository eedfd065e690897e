"""What all generated pictures share: four coloured quarters with some texture, and damage for any format."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from PIL import Image

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 220, 40)
SIZE = (240, 192)
"""Pixels. The thumbnail that is compared is 150x120."""


@dataclass(frozen=True)
class Picture:
    """One file. ``name`` begins with its format; ``whole`` names the picture that was damaged, or is ``""``."""

    name: str
    data: bytes = field(repr=False)
    whole: str = ""


@lru_cache(maxsize=8)
def flat(width: int = SIZE[0], height: int = SIZE[1]) -> Image.Image:
    """Four quarters: red, green, blue, yellow."""
    picture = Image.new("RGB", (width, height), RED)
    for colour, left, top in ((GREEN, 1, 0), (BLUE, 0, 1), (YELLOW, 1, 1)):
        picture.paste(colour, (left * width // 2, top * height // 2, (left + 1) * width // 2, (top + 1) * height // 2))
    return picture


@lru_cache(maxsize=8)
def textured(width: int = SIZE[0], height: int = SIZE[1]) -> Image.Image:
    """The four quarters with coarse noise, so that every part of a file holds some of the picture."""
    chance = random.Random(13)
    noise = Image.frombytes("RGB", (width // 2, height // 2), chance.randbytes(width // 2 * (height // 2) * 3))
    return Image.blend(flat(width, height), noise.resize((width, height), Image.Resampling.BILINEAR), 0.15)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file of Pillow's format ``kind``."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def damaged(name: str, data: bytes, *, flips_from: float = 0.3) -> Iterator[Picture]:
    """The picture itself, cut, with bytes behind it, and with bytes changed behind ``flips_from`` of its length."""
    yield Picture(name, data)
    for percent in (10, 30, 60, 90, 95, 99):
        yield Picture(f"{name}, cut at {percent} %", data[: len(data) * percent // 100], name)
    for lost in (1, 2, 4, 13, 40):
        yield Picture(f"{name}, without its last {lost}", data[:-lost], name)
    for words, more in (("a zero", b"\0"), ("1000 zeros", bytes(1000)), ("HTML", b"<html>" * 9), ("itself", data)):
        yield Picture(f"{name}, then {words}", data + more, name)
    chance = random.Random(name)
    for number in range(3):
        spoilt = bytearray(data)
        for _ in range((1, 3, 20)[number]):
            spoilt[chance.randrange(int(len(data) * flips_from), len(data))] ^= 1 << chance.randrange(8)
        yield Picture(f"{name}, {(1, 3, 20)[number]} bits flipped", bytes(spoilt), name)
    middle = len(data) // 2
    yield Picture(f"{name}, 64 zeros in the middle", data[:middle] + bytes(64) + data[middle + 64 :], name)
    yield Picture(f"{name}, 9 bytes missing in the middle", data[:middle] + data[middle + 9 :], name)
