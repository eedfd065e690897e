"""All generated pictures, by name."""

from __future__ import annotations

from functools import lru_cache

from tests.differential.pictures import bmps, jpegs, others, pngs
from tests.differential.pictures.base import Picture


@lru_cache(maxsize=1)
def pictures() -> dict[str, Picture]:
    """Every picture by its name, which is unique."""
    made: dict[str, Picture] = {}
    for module in (jpegs, pngs, others, bmps):
        for one in module.pictures():
            assert one.name not in made, one.name
            made[one.name] = one
    return made
