"""Draw docs/processing.png: one photograph before and after sharpening and gamma. Argument: a photograph."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from imagesys_lib.config import ProcessDetails
from imagesys_lib.thumbnail.gamma_and_sharpen import finished

_TARGET = Path(__file__).parents[1] / "docs" / "processing.png"
_SHOWN = (
    ("as scaled: 0x0, gamma 1.0", ProcessDetails(sharpen="0x0")),
    ("sharpen 0x1", ProcessDetails(sharpen="0x1")),
    ("sharpen 0x1, gamma 1.3", ProcessDetails(sharpen="0x1", gamma=1.3)),
)
_ENLARGED, _CAPTION = 2, 18


def main() -> None:
    """Scale, finish and put side by side, enlarged without smoothing."""
    photo = Image.open(sys.argv[1]).convert("RGB")
    photo.thumbnail((160, 120), Image.Resampling.LANCZOS)
    width, height = photo.width * _ENLARGED, photo.height * _ENLARGED
    sheet = Image.new("RGB", (len(_SHOWN) * (width + 8) - 8, height + _CAPTION), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (caption, details) in enumerate(_SHOWN):
        left = number * (width + 8)
        sheet.paste(
            Image.fromarray(finished(np.asarray(photo), details)).resize((width, height), Image.Resampling.NEAREST),
            (left, _CAPTION),
        )
        draw.text((left, 2), caption, fill="black")
    sheet.save(_TARGET, optimize=True)


if __name__ == "__main__":
    main()
