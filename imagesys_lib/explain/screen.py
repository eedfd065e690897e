"""Several images in one screen: a line or two each, what many of them share told once, and how many more there are."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from imagesys_lib.explain.gather import Explanation

LEAST_LINES, MOST_LINES = 24, 40
"""A screen has so many; on a higher one the eye would have to search."""

_BLOCK = 8  # lines of one image, or of what several share

Key = tuple[str, str, str]
"""Country, node, and what is wrong there."""


def several(found: Sequence[Explanation], width: int, height: int) -> list[str]:
    """Return lines of at most ``width`` characters, no more than a screen of ``height`` lines and its prompt have.

    If not all images have room, those that are as they should be are the first that are only counted.
    """
    room = min(max(height, LEAST_LINES), MOST_LINES) - 1
    troubles = Counter(key for one in found for key in _troubles(one))
    shared = {key: count for key, count in troubles.most_common() if count > 1}
    foot = [line for key, count in shared.items() for line in _shared(key, count, width)][: room // 2]
    blocks = [(_is_well(one, shared), _block(one, shared, width)) for one in found]
    if sum(len(block) for _, block in blocks) + len(foot) <= room:
        return [line for _, block in blocks for line in block] + foot
    blocks.sort(key=lambda block: block[0])
    told: list[str] = []
    shown = 0
    for _, block in blocks:
        if len(told) + len(block) + len(foot) >= room:
            break
        told += block
        shown += 1
    well = sum(is_well for is_well, _ in blocks[shown:])
    more = f"and {len(blocks) - shown} more images, {well} of them live: --json tells all"
    return [*told, more, *foot]


def _troubles(one: Explanation) -> list[Key]:
    return [(one.country, name, node.text) for name, node in one.nodes.items() if not node.ok]


def _is_well(one: Explanation, shared: dict[Key, int]) -> bool:
    return one.verdict == "Live." and all(key in shared for key in _troubles(one))


def _block(one: Explanation, shared: dict[Key, int], width: int) -> list[str]:
    """Return an image, and a line for each node that is not as it should be for a reason of its own."""
    lines = _wrapped(f"{one.country.upper()} {one.image_hash} {one.verdict}", width)
    for key in _troubles(one):
        if key not in shared:
            lines += _wrapped(f"   {key[1]}: {key[2]}", width)
    return _cut(lines, width)


def _shared(key: Key, count: int, width: int) -> list[str]:
    country, node, text = key
    return _cut(_wrapped(f"{country.upper()} {node}, {count} images: {text}", width), width)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=" " * 6) or [""]


def _cut(lines: list[str], width: int) -> list[str]:
    if len(lines) <= _BLOCK:
        return lines
    return [*lines[: _BLOCK - 1], f"{lines[_BLOCK - 1][: width - 2]} …"]
