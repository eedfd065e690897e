"""Names of images: the hash of a URL, and the path of a hash."""

from __future__ import annotations

import hashlib
import re

_HASH = re.compile(r"[0-9a-f]{40}\Z")


def lis_hash_for_url(url: str) -> str:
    """Return the image hash: SHA-1 of the URL's UTF-8 bytes, 40 hex digits."""
    return hashlib.sha1(url.encode("utf-8"), usedforsecurity=False).hexdigest()


def lis_path_for_hash(image_hash: str) -> str:
    """Return the relative path of an image without its suffix: ``h[0]/h[1]/h[2]/h[3:]``.

    Raises ValueError for anything but 40 lower-case hex digits, so that no other text ever becomes a path.
    """
    if not _HASH.match(image_hash):
        raise ValueError(f"not an image hash (40 lower-case hex digits): {image_hash!r}")
    return f"{image_hash[0]}/{image_hash[1]}/{image_hash[2]}/{image_hash[3:]}"


THUMBNAIL_SUFFIXES = ("jpg", "webp", "avif")
"""What a thumbnail's file may end in: the JPEG, and the siblings that a configuration may ask for beside it."""


def thumbnail_stem(country: str, image_hash: str) -> str:
    """Return what all files of an image begin with, below a root: ``<country>/<path>``."""
    return f"{country}/{lis_path_for_hash(image_hash)}"


def thumbnail_path(country: str, image_hash: str, number: int, suffix: str = "jpg") -> str:
    """Return where thumbnail ``number`` (from 1) lies below a root: ``<country>/<path>.<n>.<suffix>``."""
    return f"{thumbnail_stem(country, image_hash)}.{number}.{suffix}"


def canary_folder(country: str) -> str:
    """Return where a country's canary lies below a root, laid out as a country's own folder.

    Beside the countries, which are two letters: no image can have a path there, and no check or repair looks there.
    """
    return f"canary/{country}"


_THUMBNAIL = re.compile(r"([0-9a-f])/([0-9a-f])/([0-9a-f])/([0-9a-f]{37})\.[1-9]\.(?:jpg|webp|avif)\Z")


def parse_thumbnail_path(path: str) -> tuple[str, str] | None:
    """Return (image hash, end such as ``1.jpg``) of a path below ``<root>/<country>``; None if impossible."""
    match = _THUMBNAIL.match(path)
    if match is None:
        return None
    a, b, c, rest = match.groups()
    return a + b + c + rest, path[match.end(4) + 1 :]
