"""What Chromium makes of URLs: whether it shows a picture, and which colours stand where."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from playwright.sync_api import Page

GRID = (40, 64)
"""Places, across and down, at which a picture's pixels are looked at."""

MIDDLE = 0.08
"""Half the side of the square in the middle of a quarter whose mean colour counts, of the picture's side."""

_AT_ONCE = 50
_PATIENCE = 15_000
"""Milliseconds for a picture. Chromium waits for ever where it would ask a person for a password."""
_SCRIPT = """
async ([urls, across, down, middle, patience]) => {
  const shown = (url) => new Promise((done) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => done(null);
    setTimeout(() => done(null), patience);
    try {
      image.src = new URL(url).href;  // a listing's URL has no page to be relative to
    } catch (error) {
      done(null);
    }
  });
  const look = (image) => {
    if (!image || !image.naturalWidth) return null;
    const canvas = new OffscreenCanvas(Math.min(image.naturalWidth, 2000), Math.min(image.naturalHeight, 2000));
    const context = canvas.getContext('2d', {willReadFrequently: true});
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    const size = [image.naturalWidth, image.naturalHeight];
    let pixels;
    try {
      pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    } catch (error) {
      return {size, grid: '', quarters: []};
    }
    let grid = '';
    for (let y = 0; y < down; y++) for (let x = 0; x < across; x++) {
      const column = Math.floor((x + 0.5) * canvas.width / across), row = Math.floor((y + 0.5) * canvas.height / down);
      const at = 4 * (row * canvas.width + column);
      grid += String.fromCharCode(pixels[at], pixels[at + 1], pixels[at + 2], pixels[at + 3]);
    }
    const quarters = [];
    for (const top of [0.25, 0.75]) for (const left of [0.25, 0.75]) {
      const sum = [0, 0, 0];
      let count = 0;
      const from = [Math.floor((left - middle) * canvas.width), Math.floor((top - middle) * canvas.height)];
      const to = [Math.ceil((left + middle) * canvas.width), Math.ceil((top + middle) * canvas.height)];
      for (let y = from[1]; y < to[1]; y++) for (let x = from[0]; x < to[0]; x++, count++) {
        const at = 4 * (y * canvas.width + x), alpha = pixels[at + 3] / 255;
        for (let n = 0; n < 3; n++) sum[n] += pixels[at + n] * alpha + 255 * (1 - alpha);
      }
      quarters.push(sum.map((value) => Math.round(value / count)));
    }
    return {size, grid: btoa(grid), quarters};
  };
  const images = await Promise.all(urls.map(shown));
  return images.map(look);
}
"""


@dataclass(frozen=True)
class Seen:
    """One picture as a page shows it: size in pixels, mean colours of the middles of its quarters on white.

    ``grid`` has RGBA samples, :data:`GRID` of them. Of a picture of another origin a page may know but the size.
    """

    size: tuple[int, int]
    quarters: tuple[tuple[int, ...], ...] = ()
    grid: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def is_clear(self) -> bool:
        """Whether nothing at all is painted."""
        return self.grid is not None and not self.grid[:, 3].any()

    def absent(self, whole: Seen) -> float:
        """Return the share of the picture that the ``whole`` one has and this one lacks: clear, plain grey or black."""
        if self.grid is None or whole.grid is None:
            return 0.0
        return float((_is_blank(self.grid) & ~_is_blank(whole.grid)).mean())


def _is_blank(grid: np.ndarray) -> np.ndarray:
    """Say where nothing was painted: clear, mid-grey (of inks a darker one) or black, which decoders begin with."""
    plain = [(np.abs(grid[:, :3].astype(int) - level) <= 3).all(axis=1) for level in (0, 64, 128)]
    return (grid[:, 3] == 0) | np.any(plain, axis=0)


def looked_at(page: Page, urls: Sequence[str]) -> Mapping[str, Seen | None]:
    """Return what ``page`` shows of each URL; None where it shows a broken image."""
    found: dict[str, Seen | None] = {}
    for at in range(0, len(urls), _AT_ONCE):
        some = urls[at : at + _AT_ONCE]
        for url, one in zip(some, page.evaluate(_SCRIPT, [some, *GRID, MIDDLE, _PATIENCE]), strict=True):
            found[url] = _seen(one) if one else None
    return found


def _seen(one: dict[str, object]) -> Seen:
    raw = base64.b64decode(str(one["grid"]))
    grid = np.frombuffer(raw, np.uint8).reshape(-1, 4) if raw else None
    quarters = tuple(tuple(colour) for colour in one["quarters"])
    width, height = one["size"]
    return Seen((width, height), quarters, grid)
