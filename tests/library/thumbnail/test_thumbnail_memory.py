"""Decoders that find no memory say so in many ways, most of them as if the file were broken: none is believed."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from imagesys_lib.thumbnail.messages import ThumbnailJob
from imagesys_lib.thumbnail.processes.pool import Decoders
from tests.support.images import encoded
from tests.support.poison import MAKING

MEMORY_MB = 128  # of which 60 are taken before the first photo
HUNGRY = [
    ("JPEG", {"progressive": True, "subsampling": 0}),
    ("WEBP", {"lossless": True, "quality": 0, "method": 0}),
    ("AVIF", {"speed": 10}),
    ("PNG", {"compress_level": 1}),
]


def test_a_good_photo_that_needs_more_than_there_is_is_no_broken_one(tmp_path: Path) -> None:
    large = Image.new("RGB", (5000, 5000), (10, 200, 30))
    small = Image.new("RGB", (500, 400), (10, 200, 30))
    jobs = []
    for kind, options in HUNGRY:
        for picture, cut in ((large, False), (small, False), (small, True)):
            data = encoded(picture, kind, **options)
            source = tmp_path / str(len(jobs))
            # A progressive JPEG is all there, if coarse, once its first scan is.
            source.write_bytes(data[: len(data) // (60 if kind == "JPEG" else 2)] if cut else data)
            jobs.append(ThumbnailJob(len(jobs), source, tmp_path / "out", source.name, MAKING))
    with Decoders(1, MEMORY_MB, 60) as decoders:
        made = sorted(decoders.submit(jobs).result(300), key=lambda one: one.key)
    for (kind, _), at in zip(HUNGRY, range(0, len(made), 3), strict=True):
        hungry, well, cut = made[at : at + 3]
        assert (kind, hungry.code, hungry.detail) == (kind, "decoder_crash", "not enough memory")
        assert (kind, well.code, cut.code) == (kind, "", "truncated")
