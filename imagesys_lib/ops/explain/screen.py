"""Several images in one screen: a line or two each, what many of them share once, and how many more there are."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

from imagesys_lib.ops.explain.gather import Explanation

LEAST_LINES, MOST_LINES = 24, 40
"""Lines of a screen; on a higher one the eye would have to search."""


def several(found: Sequence[Explanation], width: int, height: int) -> list[str]:
    """Return lines of at most ``width`` characters, no more than a screen of ``height`` lines and its prompt have.

    Images that are not as they should be come first; those that have no room are counted.
    """
    room = min(max(height, LEAST_LINES), MOST_LINES) - 1
    faults = Counter(fault for one in found for fault in _faults(one))
    shared = {fault: count for fault, count in faults.most_common() if count > 1}
    foot = [
        line
        for (country, node, text), count in shared.items()
        for line in _wrapped(f"{country.upper()} {node}, {count} images: {text}", width)
    ][: room // 2]
    images = []
    for one in found:
        single = [fault for fault in _faults(one) if fault not in shared]
        lines = _wrapped(f"{one.country.upper()} {one.image_hash} {one.verdict}", width)
        lines += [line for _, node, text in single for line in _wrapped(f"   {node}: {text}", width)]
        images.append((one.verdict == "Live." and not single, lines))
    images.sort(key=lambda image: image[0])
    heights = [len(lines) for _, lines in images]
    room -= len(foot)
    shown = len(images) if sum(heights) <= room else sum(height < room for height in accumulate(heights))
    hidden = [is_well for is_well, _ in images[shown:]]
    more = [f"and {len(hidden)} more images, {sum(hidden)} of them live: --json tells all"] if hidden else []
    return [*(line for _, lines in images[:shown] for line in lines), *more, *foot]


def _faults(one: Explanation) -> list[tuple[str, str, str]]:
    """Return country, node, and what is wrong there."""
    return [(one.country, name, node.text) for name, node in one.nodes.items() if not node.ok]


def _wrapped(text: str, width: int) -> list[str]:
    """Break a line. A listing must fit a screen: rich, which prints the rest, counts lines only by rendering them."""
    return textwrap.wrap(text, width, subsequent_indent=" " * 6, max_lines=8, placeholder=" …")
