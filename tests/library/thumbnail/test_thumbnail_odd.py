"""Odd pictures become what Chromium shows of them, and only damage to pixels is damage."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagesys_lib.config import ProcessDetails, Size
from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.thumbnail.decoding.jpeg import jpeg_header
from imagesys_lib.thumbnail.messages import Limits
from imagesys_lib.thumbnail.one_photo import create_thumbnails_of_image
from tests.support import pictures_odd_formats, pictures_odd_jpeg, pictures_odd_png
from tests.support.pictures_odd import Colours

PLAIN = ProcessDetails(sharpen="0x0", gamma=1.0, quality=95)
TABLES = {
    make.__name__: make
    for make in (
        pictures_odd_png.png_ancillary,
        pictures_odd_png.png_colours,
        pictures_odd_png.png_transparency,
        pictures_odd_png.png_animations,
        pictures_odd_png.png_damage,
        pictures_odd_jpeg.jpeg_segments,
        pictures_odd_jpeg.jpeg_colours,
        pictures_odd_jpeg.jpeg_damage,
        pictures_odd_jpeg.orientations,
        pictures_odd_formats.gifs,
        pictures_odd_formats.bmps,
        pictures_odd_formats.others,
    )
}
OFF_BY = 24  # levels of 255, as between the browser and the pipeline


def outcome(folder: Path, data: bytes) -> Colours | str:
    """The middles of the quarters of the thumbnail of 160x120, or the reason that there is none."""
    source = folder / "original"
    source.write_bytes(data)
    try:
        (made,) = create_thumbnails_of_image(
            source, (Size(width=160, height=120, mode="fit"),), PLAIN, Limits(50_000_000, 32, 32)
        )
    except ImageFault as fault:
        return fault.reason.code
    picture = Image.open(io.BytesIO(made.data)).convert("RGB")
    places = [(picture.width * x // 4, picture.height * y // 4) for y in (1, 3) for x in (1, 3)]
    return tuple(picture.getpixel(place) for place in places)  # type: ignore[misc]


def agrees(seen: Colours | str, wanted: Colours | str) -> bool:
    if isinstance(seen, str) or isinstance(wanted, str):
        return seen == wanted
    return all(abs(a - b) <= OFF_BY for x, y in zip(seen, wanted, strict=True) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("table", TABLES)
def test_a_browser_and_the_pipeline_agree(tmp_path: Path, table: str) -> None:
    cases = TABLES[table]()
    seen = {name: outcome(tmp_path, data) for name, (data, _) in cases.items()}
    assert {n: (seen[n], wanted) for n, (_, wanted) in cases.items() if not agrees(seen[n], wanted)} == {}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_where_a_decoder_gives_up_nothing_of_another_photo_is_shown(tmp_path: Path, mode: str) -> None:
    """libjpeg leaves the rows as they were in memory, where the photo before has left its own."""
    damaged = pictures_odd_jpeg.given_up(mode)
    seen = set()
    for level in range(0, 256, 51):
        header = jpeg_header(damaged)
        size = (header.height, header.width, header.components)
        for _ in range(3):
            np.full(size, level, np.uint8)  # freed at once: the next of its size lies there
        try:
            seen.add(header.decoded(damaged, 1, coarse=False)[0].tobytes())
        except (ImageFault, ValueError) as fault:
            seen.add(repr(fault).encode())
    assert len(seen) == 1
    assert outcome(tmp_path, damaged) == outcome(tmp_path, damaged)
