"""JPEGs that end too early, but for a mark that says they do not: none of them is half a photo on the site."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.thumbnail.one_photo import Thumbnail, create_thumbnails_of_image
from tests.support.images import encoded, quarters
from tests.support.poison import MAKING

END = b"\xff\xd9"
KINDS = [{}, {"progressive": True}, {"restart_marker_rows": 1}]


def jpeg(options: dict[str, object]) -> bytes:
    """A photo of many bytes, so that its half is one."""
    noise = Image.effect_noise((1200, 900), 40).convert("RGB")
    return encoded(Image.blend(noise, quarters(1200, 900), 0.5), "JPEG", quality=85, **options)


def made(folder: Path, data: bytes, encoder: str) -> tuple[Thumbnail, ...]:
    source = folder / "original"
    source.write_bytes(data)
    return create_thumbnails_of_image(source, MAKING.sizes, MAKING, MAKING.limits, encoder)  # type: ignore[arg-type]


@pytest.mark.parametrize("encoder", ["lean", "fast"])
@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("ending", ["end", "zeros", "a few zeros", "a page"])
def test_half_a_photo_is_truncated_whatever_follows(tmp_path: Path, ending: str, options, encoder: str) -> None:
    whole = jpeg(options)
    # Half of a progressive one would be the whole picture, a little blurred.
    half = whole[: len(whole) // (60 if "progressive" in options else 2)]
    rest = {"end": END, "zeros": bytes(len(whole) - len(half)), "a few zeros": bytes(16), "a page": b"<html>" * 20}
    with pytest.raises(ImageFault) as caught:
        made(tmp_path, half + rest[ending], encoder)
    assert caught.value.reason.code == "truncated"


@pytest.mark.parametrize("encoder", ["lean", "fast"])
@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize(("before", "after"), [(b"abc", b""), (b"", b"rubbish"), (b"", bytes(5000))])
def test_rubbish_that_costs_no_pixel_is_passed_over(tmp_path: Path, before: bytes, after: bytes, options, encoder: str):
    whole = jpeg(options)
    changed = whole.removesuffix(END) + before + END + after
    assert made(tmp_path, changed, encoder) == made(tmp_path, whole, encoder)
