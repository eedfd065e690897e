"""Parts of the tree: a seventh a day, as folders of the hash tree and ranges of hashes, so that both sides agree."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

_DAYS = 7
_FOLDERS = 256  # two hex digits


@dataclass(frozen=True)
class Folder:
    """One folder below ``<root>/<country>``, "" for all of it, and its hashes: ``low < hash < high`` ("": no bound)."""

    path: str
    low: str = ""
    high: str = ""


@dataclass(frozen=True)
class Part:
    """Folders in byte order, and the name under which results are kept: ``all``, or ``24-48`` by two hex digits."""

    name: str
    folders: tuple[Folder, ...]

    def share(self, image_hash: str) -> float:
        """Return how much of this part lies before a hash, over 0 and up to 1: hashes are spread evenly."""
        low, high = _position(self.folders[0].low), _position(self.folders[-1].high or "g")
        return min(1.0, max(1, _position(image_hash) - low) / (high - low))


def _position(image_hash: str) -> int:
    """Return the place of a hash, or of its first digits, among 65,536; "g" lies behind all."""
    return 16**4 if image_hash == "g" else int(image_hash[:4].ljust(4, "0"), 16)


WHOLE = Part("all", (Folder(""),))


def of_range(first: int, last: int) -> Part:
    """Return the part from ``first`` to ``last``, both 0 to 255 and included: the first two digits of the hash."""
    if not 0 <= first <= last < _FOLDERS:
        raise ValueError(f"no part of the tree: {first} to {last}")
    if last - first == _FOLDERS - 1:
        return WHOLE
    folders = []
    at = first
    while at <= last:
        step = 16 if at % 16 == 0 and at + 15 <= last else 1
        high = f"{at + step:02x}" if at + step < _FOLDERS else ""
        digits = f"{at:02x}"
        if step == 16:
            folders.append(Folder(digits[0], digits[0], high[:1]))
        else:
            folders.append(Folder(f"{digits[0]}/{digits[1]}", digits, high))
        at += step
    return Part(f"{first:02x}-{last:02x}", tuple(folders))


def of_day(day: dt.date) -> Part:
    """Return the part that is checked on a day: two or three whole top folders, one command each on the node.

    Any seven days in a row see every folder once.
    """
    number = day.toordinal() % _DAYS
    first, beyond = (16 * at // _DAYS for at in (number, number + 1))
    return of_range(16 * first, 16 * beyond - 1)


def named(text: str) -> Part:
    """Read ``all``, ``a``, ``a0``, ``a/0`` or ``24-48``. Raises ValueError for anything else."""
    text = text.strip().lower()
    if text == "all":
        return WHOLE
    match = re.fullmatch(r"([0-9a-f])/?([0-9a-f])?(?:-([0-9a-f])([0-9a-f])?)?", text)
    if match is None:
        raise ValueError(f"not a part of the tree: {text!r}")
    a, b, c, d = match.groups()
    first, last = a + (b or "0"), (c + (d or "f")) if c else a + (b or "f")
    return of_range(int(first, 16), int(last, 16))
