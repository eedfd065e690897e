"""Photographs and what is like them: real ones cropped and toned, rendered rooms, aerial views. Each from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from benchmarks.classes.graphics import as_jpeg

Toned = Callable[[np.ndarray, random.Random], np.ndarray]


def cropped(original: Image.Image, chance: random.Random) -> Image.Image:
    """Return at least half a photograph a side, some 800 pixels wide."""
    share = chance.uniform(0.5, 1)
    width, height = original.width * share, original.height * share
    left, top = chance.uniform(0, original.width - width), chance.uniform(0, original.height - height)
    size = (800, max(200, min(1200, round(800 * height / width))))
    return original.resize(size, Image.Resampling.BOX, box=(left, top, left + width, top + height))


def _grain(shape: tuple[int, ...], chance: random.Random, most: float) -> np.ndarray:
    seed = np.random.default_rng(chance.randrange(1 << 30))
    return seed.normal(0, chance.uniform(0.5, most), shape)


def night(pixels: np.ndarray, chance: random.Random) -> np.ndarray:
    """Dark, with grain."""
    return (pixels / 255) ** chance.uniform(1.5, 2.6) * chance.uniform(90, 200) + _grain(pixels.shape, chance, 6)


def overexposed(pixels: np.ndarray, chance: random.Random) -> np.ndarray:
    """Windows and whatever is light are clipped to white."""
    return pixels * chance.uniform(1.2, 1.7) + chance.uniform(0, 40)


def fog(pixels: np.ndarray, chance: random.Random) -> np.ndarray:
    """Little contrast, and less the higher."""
    veil = np.linspace(chance.uniform(0.8, 0.95), chance.uniform(0.4, 0.75), pixels.shape[0])[:, None, None]
    return pixels * (1 - veil) + chance.uniform(170, 235) * veil + _grain(pixels.shape, chance, 2)


def snow(pixels: np.ndarray, chance: random.Random) -> np.ndarray:
    """Almost grey and very bright below."""
    grey = pixels.mean(axis=2, keepdims=True) * 0.8 + pixels * 0.2
    ground = np.linspace(0, 1, pixels.shape[0])[:, None, None] ** chance.uniform(0.5, 1.5)
    return grey * (1 - 0.75 * ground) + 245 * 0.75 * ground + _grain(pixels.shape, chance, 2)


def white_kitchen(pixels: np.ndarray, chance: random.Random) -> np.ndarray:
    """Everything is bright and almost white, with few dark places."""
    return 255 * (pixels / 255) ** chance.uniform(0.25, 0.5)


def toned(how: Toned, picture: Image.Image, chance: random.Random) -> Image.Image:
    """Return the picture in another light."""
    pixels = how(np.asarray(picture).astype(np.float32), chance)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def black_and_white(picture: Image.Image, _: random.Random) -> Image.Image:
    """Return it in grey."""
    return picture.convert("L").convert("RGB")


def bordered(picture: Image.Image, chance: random.Random) -> Image.Image:
    """Return it on a card: bars at two or four sides."""
    across, down = chance.choice([(0.12, 0), (0, 0.15), (0.1, 0.1), (0.2, 0.02)])
    width, height = picture.size
    card = Image.new("RGB", picture.size, chance.choice([(255, 255, 255), (0, 0, 0), (240, 240, 240)]))
    inner = picture.resize((round(width * (1 - 2 * across)), round(height * (1 - 2 * down))))
    card.paste(inner, (round(width * across), round(height * down)))
    return card


def watermarked(picture: Image.Image, chance: random.Random) -> Image.Image:
    """Return it with an agent's name across and a banner below."""
    marked = picture.copy()
    draw = ImageDraw.Draw(marked, "RGBA")
    width, height = marked.size
    font = ImageFont.load_default(chance.randint(40, 110))
    draw.text((width * 0.1, height * 0.4), "HOMES & CO", fill=(255, 255, 255, 150), font=font)
    if chance.random() < 0.5:
        draw.rectangle((0, height * 0.88, width, height), fill=(200, 30, 60, 255))
    return marked


def rendered_room(chance: random.Random, *, white: bool = False) -> Image.Image:
    """Walls, floor, window, furniture and soft light, as a renderer draws them: no grain."""
    width, height = 800, 600
    across, down = np.linspace(0, 1, width)[None, :, None], np.linspace(0, 1, height)[:, None, None]

    def colour() -> np.ndarray:
        return np.array([chance.uniform(200, 250) if white else chance.uniform(60, 235) for _ in range(3)])

    lit = chance.random()
    light = 1.1 - chance.uniform(0.25, 0.6) * np.hypot(across - lit, (down - 0.3) * 0.8)
    room = np.broadcast_to(colour(), (height, width, 3)) * light
    floor = chance.uniform(0.6, 0.75)
    boards = 1 + 0.06 * np.sign(np.sin((across - 0.5) / (down - floor + 0.25) * chance.uniform(20, 60)))
    room = np.where(down > floor, colour() * light * boards * (0.7 + 0.4 * down), room)
    for _ in range(chance.randint(3, 9)):
        x, y = chance.uniform(0, 0.85), chance.uniform(0.2, 0.8)
        wide, high = chance.uniform(0.05, 0.35), chance.uniform(0.05, 0.3)
        inside = (across > x) & (across < x + wide) & (down > y) & (down < y + high)
        slope = 0.75 + 0.35 * (across - x) / wide - 0.15 * (down - y) / high
        room = np.where(inside, colour() * light * slope, room)
        under = np.exp(-(((across - x - wide / 2) / wide) ** 2 + ((down - y - high) / 0.05) ** 2) * 2)
        room = room * (1 - 0.35 * under)
    x = chance.uniform(0.1, 0.6)
    window = (across > x) & (across < x + 0.25) & (down > 0.1) & (down < 0.45)
    room = np.where(window, 235 + 30 * down, room)
    picture = Image.fromarray(np.clip(room, 0, 255).astype(np.uint8))
    return picture.filter(ImageFilter.GaussianBlur(chance.uniform(0.3, 1.2)))


def _clouds(width: int, height: int, chance: random.Random, rough: float) -> np.ndarray:
    """Return noise of all scales from -1 to 1, as nature has it."""
    seed = np.random.default_rng(chance.randrange(1 << 30))
    total = np.zeros((height, width), np.float32)
    for octave in range(2, 9):
        grid = seed.normal(0, 1, (2**octave, 2**octave)).astype(np.float32)
        layer = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(layer) * rough**octave
    return total / np.abs(total).max()


def aerial(chance: random.Random) -> Image.Image:
    """Fields, trees, roofs and roads from above."""
    width, height = 800, 600
    ground = np.array([chance.uniform(60, 120), chance.uniform(90, 130), chance.uniform(50, 90)])
    pixels = ground + 60 * _clouds(width, height, chance, 0.85)[..., None]
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(chance.randint(10, 60)):
        x, y, r = chance.uniform(0, width), chance.uniform(0, height), chance.uniform(12, 45)
        roof = [chance.randint(80, 190) for _ in range(3)]
        draw.polygon([(x - r, y - r / 2), (x + r, y - r / 2), (x + r, y), (x - r, y)], fill=tuple(roof))
        draw.polygon([(x - r, y), (x + r, y), (x + r, y + r / 2), (x - r, y + r / 2)], fill=tuple(c - 40 for c in roof))
    draw.line((0, chance.uniform(0, height), width, chance.uniform(0, height)), fill=(140, 138, 135), width=18)
    rough = np.asarray(picture).astype(np.float32) + 18 * _clouds(width, height, chance, 0.95)[..., None]
    return Image.fromarray(np.clip(rough, 0, 255).astype(np.uint8))


MADE: dict[str, Callable[[random.Random], Image.Image]] = {
    "rendered room": rendered_room,
    "white rendered room": partial(rendered_room, white=True),
    "aerial view": aerial,
}

TAKEN: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "as it is": lambda picture, _: picture,
    "poor JPEG": lambda picture, chance: as_jpeg(picture, chance.randint(12, 40)),
    "night": partial(toned, night),
    "overexposed": partial(toned, overexposed),
    "fog": partial(toned, fog),
    "snow": partial(toned, snow),
    "white kitchen": partial(toned, white_kitchen),
    "black and white": black_and_white,
    "bordered": bordered,
    "watermarked": watermarked,
}
