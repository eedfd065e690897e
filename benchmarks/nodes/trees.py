"""Images by the hundred thousand, and trees of their files: names alone as hard links, or files of their own bytes.

Where only names, sizes and times are looked at, a file is a hard link to one of a few hundred master files: a million
of them take seconds and no space. What is copied or read for its bytes has files of its own.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from imagesys_lib.images.hash_and_path import lis_hash_for_url, thumbnail_path

from .settings import BASE, COUNTRY, FILES_AN_IMAGE

_MASTERS = BASE / "masters"
_MASTERS_A_SIZE = 256  # ext4 allows a file 65,000 names: enough for 16 million images in two trees
_BYTES = ((2048, 4096), (4096, 8192))
"""From and to, of thumbnails 1 and 2: together the 2 to 8 KB of real ones."""

_DIMENSIONS = ((60, 60), (160, 120))
_JOBS = 2


@dataclass(frozen=True)
class Image:
    """One image: its URL, and its thumbnails as ``lis_images`` keeps them."""

    image_hash: str
    url: str
    thumbs: tuple[dict[str, Any], ...]


def url_of(number: int) -> str:
    """Return the URL of an image by its number."""
    return f"https://photos.example.com/listings/{number // 20}/{number}.jpg"


def linked_images(first: int, after: int) -> Iterator[Image]:
    """Yield the images of these numbers, in order of their hashes, as `link_tree` makes their files."""
    sizes = [[_master(n, which).stat().st_size for which in range(_MASTERS_A_SIZE)] for n in _numbers()]
    for image_hash, number in sorted((lis_hash_for_url(url_of(number)), number) for number in range(first, after)):
        which = _which(image_hash)
        # The sum of a master's bytes is never looked at, but takes its place in the row.
        thumbs = tuple(_thumb(image_hash, n, sizes[n - 1][which], image_hash) for n in _numbers())
        yield Image(image_hash, url_of(number), thumbs)


def make_masters() -> None:
    """Write the files that hard-linked trees consist of, once."""
    _MASTERS.mkdir(parents=True, exist_ok=True)
    chance = random.Random(1)
    for n in _numbers():
        for which in range(_MASTERS_A_SIZE):
            _master(n, which).write_bytes(chance.randbytes(chance.randint(*_BYTES[n - 1])))


def link_tree(root: Path, first: int, after: int) -> None:
    """Add the files of these images to the tree at ``root``, with all processors."""
    hashes = sorted(lis_hash_for_url(url_of(number)) for number in range(first, after))
    shares = [list(some) for _, some in groupby(hashes, key=lambda image_hash: image_hash[0])]
    with ProcessPoolExecutor(_JOBS) as pool:
        list(pool.map(partial(_link_share, root), shares))


def _link_share(root: Path, hashes: Sequence[str]) -> None:
    masters = [(n, [str(_master(n, which)) for which in range(_MASTERS_A_SIZE)]) for n in _numbers()]
    for folder, some in groupby(hashes, key=lambda image_hash: image_hash[:3]):
        place = root / COUNTRY / Path(*folder)
        place.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for image_hash in some:
                which = _which(image_hash)
                for n, names in masters:
                    os.link(names[which], f"{image_hash[3:]}.{n}.jpg", dst_dir_fd=descriptor)
        finally:
            os.close(descriptor)


def written_images(root: Path, first: int, after: int) -> list[Image]:
    """Write files of their own random bytes for these images below ``root``; return the images in hash order."""
    chance = random.Random(first)
    images = []
    for image_hash, number in sorted((lis_hash_for_url(url_of(number)), number) for number in range(first, after)):
        thumbs = []
        for n in _numbers():
            data = chance.randbytes(chance.randint(*_BYTES[n - 1]))
            digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
            thumbs.append(_thumb(image_hash, n, len(data), digest))
            file = root / thumbs[-1]["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        images.append(Image(image_hash, url_of(number), tuple(thumbs)))
    return images


def link_images(source: Path, root: Path, images: Iterable[Image]) -> None:
    """Give the files that images have below ``source`` a second name below ``root``."""
    for path in paths(images):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).hardlink_to(source / path)


def paths(images: Iterable[Image]) -> list[str]:
    """Return the paths of all files of these images, below a root."""
    return [str(thumb["path"]) for image in images for thumb in image.thumbs]


def count_files(root: Path) -> int:
    """Return how many files a country has below ``root``."""
    return sum(len(names) for _, _, names in os.walk(root / COUNTRY))


def make_folders(root: Path) -> None:
    """Make the folders of a country's tree, and no file in them."""
    digits = "0123456789abcdef"
    for folder in (a + b + c for a in digits for b in digits for c in digits):
        (root / COUNTRY / Path(*folder)).mkdir(parents=True, exist_ok=True)


def remove(*folders: Path) -> None:
    """Remove whole trees."""
    subprocess.run(["rm", "-rf", "--", *folders], check=True)


def _numbers() -> range:
    return range(1, FILES_AN_IMAGE + 1)


def _master(n: int, which: int) -> Path:
    return _MASTERS / f"{n}-{which}.jpg"


def _which(image_hash: str) -> int:
    return int(image_hash[-4:], 16) % _MASTERS_A_SIZE


def _thumb(image_hash: str, n: int, size: int, digest: str) -> dict[str, Any]:
    width, height = _DIMENSIONS[n - 1]
    path = thumbnail_path(COUNTRY, image_hash, n)
    return {"n": n, "path": path, "width": width, "height": height, "bytes": size, "sha1": digest}
