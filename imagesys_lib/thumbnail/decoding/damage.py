"""How much of a damaged picture must be there to be shown."""

from __future__ import annotations

from imagesys_lib.images.reasons import ImageFault

MOST_ABSENT = 0.09
"""Of a picture's pixels. What a browser paints nearly whole is made; a picture with a grey or blank part is not."""


def check_painted(kind: str, absent: float, code: str = "truncated") -> None:
    """Raise ImageFault if more of a picture's pixels are missing than may be. ``absent`` is their share, 0 to 1."""
    if absent > MOST_ABSENT:
        raise ImageFault(code, f"{kind}: {absent:.0%} of the pixels are missing")


def ends_early(error: BaseException, text: str) -> bool:
    """Say whether a decoder's error, of this text, means that the file is cut."""
    signs = ("truncat", "end of file", "premature end")
    return isinstance(error, EOFError) or any(sign in text.lower() for sign in signs)
