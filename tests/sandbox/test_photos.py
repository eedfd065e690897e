"""The photographs: distinct, of every class, the same for ever, and credited."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from include.sandbox.photos import catalogue
from include.sandbox.photos.catalogue import recipe_for
from include.sandbox.photos.originals import MINIMUM, ORIGINALS, render_sources
from include.sandbox.settings import DEFAULT_CACHE, PROJECT

CACHE = DEFAULT_CACHE / "photos"


@pytest.fixture(scope="module")
def made() -> dict[int, catalogue.Photo]:
    return catalogue.generate(50, "test", CACHE)


def test_fifty_photos_are_distinct_and_of_every_class(made: dict[int, catalogue.Photo]) -> None:
    assert len({hashlib.sha256(photo.file.read_bytes()).digest() for photo in made.values()}) == 50
    assert {photo.photo_class for photo in made.values()} == set(catalogue.CLASSES)
    assert len({photo.original for photo in made.values()}) >= MINIMUM
    seen = Counter()
    for photo in made.values():
        with Image.open(photo.file) as image:
            seen[image.format, image.mode] += 1
            assert photo.photo_class != "progressive" or image.info.get("progressive")
            if photo.photo_class == "exif":
                orientation = image.getexif()[0x0112]
                seen["orientation", orientation] += 1
                stored = image.size if orientation == 3 else image.size[::-1]
                assert stored == (photo.width, photo.height)
            else:
                assert image.size == (photo.width, photo.height)
    assert {("orientation", turn) for turn in (3, 6, 8)} <= set(seen)
    assert {("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "RGBA"), ("WEBP", "RGB"), ("GIF", "P")} <= set(seen)


def test_no_two_photos_look_alike(made: dict[int, catalogue.Photo]) -> None:
    """Compared as 16x16 grey pictures: any two differ somewhere by more than encoding could make them."""
    small = []
    for photo in made.values():
        with Image.open(photo.file) as image:
            small.append(image.convert("RGB").convert("L").resize((16, 16)).tobytes())
    for at, one in enumerate(small):
        for other in small[at + 1 :]:
            assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 12


def test_a_second_call_makes_nothing_and_a_larger_one_only_adds(made: dict[int, catalogue.Photo]) -> None:
    before = {photo.file: photo.file.stat().st_mtime_ns for photo in made.values()}
    calls: list[tuple[int, int]] = []
    more = catalogue.generate(52, "test", CACHE, progress=lambda done, total: calls.append((done, total)))
    assert {photo.file: photo.file.stat().st_mtime_ns for photo in more.values() if photo.index < 50} == before
    assert calls[-1] == (52, 52)
    assert calls[0][0] >= 50


def test_the_mix_of_a_thousand_recipes_is_as_planned() -> None:
    recipes = [recipe_for(index, "mix", ORIGINALS) for index in range(1000)]
    classes = Counter(recipe.photo_class for recipe in recipes)
    rare = dict.fromkeys(("cmyk", "grey", "png", "webp", "gif"), 20)
    assert classes == {"baseline": 700, "progressive": 150, "exif": 50, **rare}
    megapixels = [recipe.width * recipe.height / 1e6 for recipe in recipes]
    assert sum(size <= 1.01 for size in megapixels) in range(590, 640)
    assert sum(9.9 < size < 12.1 for size in megapixels) in range(40, 51)
    assert any(recipe.height > recipe.width for recipe in recipes)


def test_the_same_recipe_gives_the_same_bytes(made: dict[int, catalogue.Photo], tmp_path: Path) -> None:
    recipe = recipe_for(0, "test", tuple(one for one in ORIGINALS if one.file(CACHE).is_file()))
    catalogue.make_variants(recipe.original.file(CACHE), [(recipe, tmp_path / "again")])
    assert (tmp_path / "again").read_bytes() == made[0].file.read_bytes()


def test_the_table_of_credits_is_the_one_that_is_used() -> None:
    assert (PROJECT / "include" / "sandbox" / "PHOTOS.md").read_text() == render_sources()
