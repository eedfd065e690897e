"""The photo-URL column of a listing, which may hold several."""

from __future__ import annotations


def split_photo_urls(photo_url: str, separator: str) -> tuple[str, ...]:
    """Return the distinct URLs of a listing's photo column, in order, without white space around them."""
    urls = (part.strip() for part in photo_url.split(separator))
    return tuple(dict.fromkeys(url for url in urls if url))
