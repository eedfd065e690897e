"""Work on a node in groups, of which one bad item must not hold the others up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from imagesys_lib.nodes import NodeFault

log = logging.getLogger(__name__)
T = TypeVar("T")

_MOST_SET_ASIDE = 50


def in_halves(items: Sequence[T], work: Callable[[Sequence[T]], None]) -> list[T]:
    """Do ``work`` with all items; return those it cannot be done with, halving a group that fails down to one.

    Raises NodeFault where it is not for the items' sake that it fails, or where it fails for very many of them.
    """
    if not items:
        return []
    try:
        work(items)
    except NodeFault as fault:
        if fault.reason != "transfer":
            raise
        log.warning("%s (in a group of %d)", fault.message, len(items))
        if len(items) == 1:
            return list(items)
        middle = len(items) // 2
        failed = in_halves(items[:middle], work)
        if len(failed) > _MOST_SET_ASIDE:
            raise
        return failed + in_halves(items[middle:], work)
    return []
