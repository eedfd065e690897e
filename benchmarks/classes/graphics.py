"""Drawn pictures that are no photographs: floor plans, maps, pages, logos, charts, blanks. Each from a seed alone."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]
_WORDS = (
    *("Kitchen", "Bedroom", "Lounge", "Bath", "Hall", "Study", "Garage", "Garden", "Store"),
    *("3.20m", "4.55m", "12'4", "EPC", "Rating", "Floor", "Area", "sq", "ft"),
)


def _pale(chance: random.Random) -> Colour:
    red, green, blue = (chance.randint(205, 255) for _ in range(3))
    return red, green, blue


def _any(chance: random.Random) -> Colour:
    red, green, blue = (chance.randint(0, 255) for _ in range(3))
    return red, green, blue


def _text(draw: ImageDraw.ImageDraw, at: tuple[float, float], words: str, size: int, fill: Colour) -> None:
    draw.text(at, words, fill=fill, font=ImageFont.load_default(size))


def _size(chance: random.Random) -> tuple[int, int]:
    return chance.choice([(800, 600), (900, 600), (600, 800), (700, 700), (1000, 560)])


def floor_plan(chance: random.Random, *, coloured: bool = False, blueprint: bool = False) -> Image.Image:
    """Rooms by halving a rectangle, with walls, doors, windows, furniture, labels and dimension lines."""
    width, height = _size(chance)
    paper, ink = ((20, 50, 110), (225, 235, 250)) if blueprint else ((255, 255, 255), (chance.randint(0, 70),) * 3)
    if coloured and chance.random() < 0.3:
        paper = _pale(chance)
    picture = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(picture)
    wall = chance.choice([2, 4, 7, 11])
    grey = (150, 160, 175)
    edge = chance.uniform(0.05, 0.22)
    rooms = [(edge * width, edge * height, (1 - edge) * width, (1 - edge) * height)]
    for _ in range(chance.randint(3, 9)):
        left, top, right, bottom = rooms.pop(max(range(len(rooms)), key=lambda n: _area(rooms[n])))
        part = chance.uniform(0.35, 0.65)
        if right - left > bottom - top:
            middle = left + part * (right - left)
            rooms += [(left, top, middle, bottom), (middle, top, right, bottom)]
        else:
            middle = top + part * (bottom - top)
            rooms += [(left, top, right, middle), (left, middle, right, bottom)]
    labelled, furnished = chance.random() < 0.85, chance.random() < 0.7
    for left, top, right, bottom in rooms:
        draw.rectangle((left, top, right, bottom), fill=_pale(chance) if coloured else None, outline=ink, width=wall)
        door = min(right - left, bottom - top) * 0.3
        draw.line((left + wall, bottom, left + wall + door, bottom), fill=paper, width=wall + 2)
        draw.arc((left + wall - door, bottom - door, left + wall + door, bottom + door), 270, 360, fill=ink)
        if furnished:
            for _ in range(chance.randint(1, 4)):
                x, y = chance.uniform(left, right - door), chance.uniform(top, bottom - door)
                shape = draw.ellipse if chance.random() < 0.3 else draw.rectangle
                shape((x, y, x + door * chance.random(), y + door * chance.random()), outline=grey)
        if labelled:
            size = chance.randint(11, 22)
            at = left + 0.2 * (right - left), (top + bottom) / 2
            _text(draw, at, chance.choice(_WORDS), size, ink)
            _text(draw, (at[0], at[1] + size), "3.1m x 4.0m", size - 3, ink)
    if chance.random() < 0.5:
        draw.line((edge * width, 20, (1 - edge) * width, 20), fill=ink)
        _text(draw, (width * 0.3, height - 40), "Ground Floor approx. 84 sq m", 22, ink)
    return picture


def _area(box: tuple[float, float, float, float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def street_map(chance: random.Random) -> Image.Image:
    """Streets, water, parks, blocks of houses and names."""
    width, height = _size(chance)
    picture = Image.new("RGB", (width, height), chance.choice([(242, 239, 233), (234, 230, 222), (255, 253, 245)]))
    draw = ImageDraw.Draw(picture)
    for fill in ((170, 211, 223), (200, 230, 190), (200, 250, 204), (225, 225, 230)):
        for _ in range(chance.randint(0, 2)):
            x, y, r = chance.uniform(0, width), chance.uniform(0, height), chance.uniform(40, 260)
            turns = sorted(chance.uniform(0, math.tau) for _ in range(9))
            draw.polygon([(x + r * math.cos(t), y + r * math.sin(t) * 0.7) for t in turns], fill=fill)
    for _ in range(chance.randint(0, 160)):
        x, y = chance.uniform(0, width), chance.uniform(0, height)
        box = (x, y, x + chance.uniform(8, 30), y + chance.uniform(8, 30))
        draw.rectangle(box, fill=(217, 208, 201), outline=(190, 180, 172))
    roads = (((255, 255, 255), 10), ((255, 255, 255), 6), ((250, 200, 110), 14), ((230, 140, 150), 16))
    for _ in range(chance.randint(9, 34)):
        fill, across = chance.choice(roads)
        angle = chance.choice([0.3, 0.3 + math.pi / 2, chance.uniform(0, math.pi)])
        x, y = chance.uniform(0, width), chance.uniform(0, height)
        dx, dy = 1200 * math.cos(angle), 1200 * math.sin(angle)
        draw.line((x - dx, y - dy, x + dx, y + dy), fill=(180, 170, 160), width=across + 2)
        draw.line((x - dx, y - dy, x + dx, y + dy), fill=fill, width=across)
    for _ in range(chance.randint(5, 30)):
        at = chance.uniform(0, width), chance.uniform(0, height)
        _text(draw, at, chance.choice(_WORDS) + " Street", chance.randint(10, 16), (90, 90, 90))
    draw.ellipse((width / 2 - 14, height / 2 - 14, width / 2 + 14, height / 2 + 14), fill=(220, 40, 40))
    return picture


def page(chance: random.Random, *, dark: bool = False) -> Image.Image:
    """A page or a screenshot full of words, perhaps with a coloured bar and buttons."""
    width, height = _size(chance)
    paper, ink = ((32, 33, 36), (220, 220, 225)) if dark else ((255, 255, 255), (chance.randint(0, 60),) * 3)
    picture = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(picture)
    y, size = 20.0, chance.randint(12, 34)
    if chance.random() < 0.4:
        draw.rectangle((0, 0, width, 70), fill=_any(chance))
        y = 90.0
    while y < height - size:
        words = " ".join(chance.choice(_WORDS) for _ in range(chance.randint(3, 16)))
        _text(draw, (30, y), words, size, ink)
        y += size * chance.choice([1.3, 1.3, 1.3, 2.2])
    return picture


def chart(chance: random.Random) -> Image.Image:
    """An energy certificate's coloured steps."""
    width, height = _size(chance)
    picture = Image.new("RGB", (width, height), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    colours = (
        (0, 128, 84),
        (25, 180, 89),
        (141, 206, 70),
        (255, 213, 0),
        (252, 170, 101),
        (239, 128, 35),
        (233, 21, 59),
    )
    step = height / 9
    for n, fill in enumerate(colours):
        draw.rectangle((40, (n + 1) * step, 40 + width * (0.25 + 0.07 * n), (n + 1.85) * step), fill=fill)
        _text(
            draw, (55, (n + 1.1) * step), f"{92 - 12 * n}-{100 - 12 * n}  {'ABCDEFG'[n]}", int(step * 0.5), (255,) * 3
        )
    _text(draw, (40, 10), "Energy efficiency rating", int(step * 0.6), (0, 0, 0))
    return picture


def logo(chance: random.Random, *, gradient: bool = False) -> Image.Image:
    """A name and a shape on one colour, or on a slope of two."""
    width, height = _size(chance)
    first, second = _any(chance), _any(chance)
    if gradient:
        ramp = (
            np.linspace(0, 1, width)[None, :, None] * chance.random() + np.linspace(0, 1, height)[:, None, None] * 0.5
        )
        mixed = np.array(first) * (1 - ramp) + np.array(second) * ramp
        picture = Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))
    else:
        picture = Image.new("RGB", (width, height), first if chance.random() < 0.5 else (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    for _ in range(chance.randint(1, 4)):
        x, y, r = chance.uniform(0, width), chance.uniform(0, height), chance.uniform(40, 220)
        draw.regular_polygon((x, y, r), chance.randint(3, 8), fill=_any(chance))
    _text(
        draw, (width * 0.15, height * 0.4), chance.choice(["HOMES & CO", "No photo", "Estate Agents"]), 90, _any(chance)
    )
    return picture


def blank(chance: random.Random) -> Image.Image:
    """One colour, perhaps with a little noise."""
    width, height = _size(chance)
    grain = np.random.default_rng(chance.randrange(1 << 30)).normal(0, chance.choice([0, 0, 1, 3]), (height, width, 1))
    one = chance.choice([(255, 255, 255), (0, 0, 0), (238, 238, 238), _any(chance)])
    return Image.fromarray(np.clip(np.array(one) + grain, 0, 255).astype(np.uint8))


def scanned(drawn: Callable[[random.Random], Image.Image], chance: random.Random) -> Image.Image:
    """Return what a scanner or a phone makes of a sheet: paper, shade, grain, a turn, soft ink, JPEG."""
    sheet = drawn(chance).rotate(chance.uniform(-2, 2), Image.Resampling.BICUBIC, fillcolor=(250, 250, 250))
    sheet = sheet.filter(ImageFilter.GaussianBlur(chance.uniform(0, 1.6)))
    seed = np.random.default_rng(chance.randrange(1 << 30))
    height, width = sheet.height, sheet.width
    across, down = np.linspace(-1, 1, width)[None, :, None], np.linspace(-1, 1, height)[:, None, None]
    shade = 1 - chance.uniform(0, 0.14) * (across * chance.uniform(-1, 1) + down * chance.uniform(-1, 1) + 0.4)
    paper = np.array([chance.uniform(0.88, 1), chance.uniform(0.86, 0.98), chance.uniform(0.78, 0.96)])
    grain = seed.normal(0, chance.uniform(1, 9), (height, width, 1))
    pixels = np.asarray(sheet).astype(np.float32) * paper * shade + grain
    scan = as_jpeg(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), chance.randint(30, 85))
    return scan.convert("L").convert("RGB") if chance.random() < 0.3 else scan


def as_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    """Return the picture as JPEG has it."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


GRAPHICS: dict[str, Callable[[random.Random], Image.Image]] = {
    "floor plan": floor_plan,
    "coloured plan": partial(floor_plan, coloured=True),
    "blueprint": partial(floor_plan, blueprint=True),
    "scanned plan": partial(scanned, floor_plan),
    "scanned coloured plan": partial(scanned, partial(floor_plan, coloured=True)),
    "map": street_map,
    "scanned map": partial(scanned, street_map),
    "text": page,
    "dark text": partial(page, dark=True),
    "scanned text": partial(scanned, page),
    "energy chart": chart,
    "logo": logo,
    "logo on a slope": partial(logo, gradient=True),
}
