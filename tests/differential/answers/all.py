"""All generated answers, by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from tests.differential.answers import bodies, heads, redirects


@lru_cache(maxsize=1)
def answers() -> Mapping[str, bytes]:
    """Every raw answer by its name, which is unique."""
    made: dict[str, bytes] = {}
    for module in (heads, bodies, redirects):
        for name, data in module.answers():
            assert name not in made, name
            made[name] = data
    return made
