"""What code outside ImageSys may call; everything else in this package is private to it.

images = Interface("uk")
images.lis_get_searchapi_data_for_hash("0917c1…")   # what the search API shows, or None
images.lis_images_for_si_build("http://a/1.jpg|http://a/2.jpg")   # "0917c1…,5bd2…"
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from imagesys_lib.config.connections import Resolver, environment_connection
from imagesys_lib.context import open_context
from imagesys_lib.db.engine import chunks, read
from imagesys_lib.db.schema import lis_live_images
from imagesys_lib.etl.photo_urls import split_photo_urls
from imagesys_lib.images.hash_and_path import lis_hash_for_url

__all__ = ["ImageData", "Interface", "Rendition"]


@dataclass(frozen=True)
class Rendition:
    """One thumbnail as the website shows it; width and height in pixels.

    The URL is another one (``?v=``) when the file has other bytes, so that it may be cached for ever; older
    thumbnails have no version. ``siblings`` has the URLs of the same picture in other formats, by ``webp`` and
    ``avif``, where they are made.
    """

    url: str
    width: int
    height: int
    siblings: Mapping[str, str]


@dataclass(frozen=True)
class ImageData:
    """What the search API gives of one live image: its JPEGs by number (1 the thumb, 2 the image).

    ``image_class`` says what it shows, None where nobody has said. ``thumbhash`` is what a page can show until the file
    is there: some 25 bytes in base64, for any decoder of ThumbHash; ``colour`` is its average, ``#rrggbb``. Both are
    "" of older thumbnails.
    """

    image_hash: str
    renditions: Mapping[int, Rendition]
    image_class: str | None
    thumbhash: str
    colour: str


class Interface:
    """One country's images. Holds a small pool of database connections; ``close()`` or ``with`` ends them."""

    def __init__(self, country: str, *, resolver: Resolver = environment_connection) -> None:
        self._ctx = open_context(country, resolver=resolver)

    def __enter__(self) -> Interface:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database connections."""
        self._ctx.close()

    def lis_get_searchapi_data_for_hash(self, image_hash: str) -> ImageData | None:
        """Return the data of a live image, or None where it is not live."""
        return self.lis_get_searchapi_data_for_hashes([image_hash]).get(image_hash)

    def lis_get_searchapi_data_for_hashes(self, image_hashes: Iterable[str]) -> dict[str, ImageData]:
        """Return the data of those of the images that are live, by hash, in the order asked for."""
        wanted = list(dict.fromkeys(image_hashes))
        found: dict[str, ImageData] = {}
        live = lis_live_images.c
        for piece in chunks(wanted):
            query = sa.select(live.image_hash, live.image_data, live.image_class).where(live.image_hash.in_(piece))
            for row in read(self._ctx.db, query):
                glance = next(
                    (str(thumb["thumbhash"]) for thumb in row.image_data.values() if "thumbhash" in thumb), ""
                )
                found[row.image_hash] = ImageData(
                    row.image_hash, self._renditions(row.image_data), row.image_class, glance, _average_colour(glance)
                )
        return {image_hash: found[image_hash] for image_hash in wanted if image_hash in found}

    def lis_images_for_si_build(self, photo_url: str, *, photo_first: bool = False) -> str:
        """Return the hashes of a raw listing's photo URLs, in order, live or not, separated by commas.

        ``photo_url`` is the listing's photo column as the ETL holds it. A page shows the first image that is live.
        With ``photo_first`` the first live photo comes before all others, such as a plan; their order stays.
        """
        return self.lis_images_for_si_builds([photo_url], photo_first=photo_first)[0]

    def lis_images_for_si_builds(self, photo_urls: Iterable[str], *, photo_first: bool = False) -> list[str]:
        """Return what ``lis_images_for_si_build`` does, of many listings, in order."""
        separator = self._ctx.config.etl.url_separator
        listings = [[lis_hash_for_url(url) for url in split_photo_urls(one, separator)] for one in photo_urls]
        photos = self._photos({image_hash for listing in listings for image_hash in listing}) if photo_first else set()
        return [",".join(sorted(listing, key=_photo_first(listing, photos))) for listing in listings]

    def _photos(self, image_hashes: Iterable[str]) -> set[str]:
        """Return which of the images are live and photos, or of a person's class that is of photos."""
        classes = [name for name, kind in {**self._ctx.config.classes, "photo": "photo"}.items() if kind == "photo"]
        live = lis_live_images.c
        found: set[str] = set()
        for piece in chunks(sorted(image_hashes)):
            query = sa.select(live.image_hash).where(live.image_hash.in_(piece), live.image_class.in_(classes))
            found.update(row.image_hash for row in read(self._ctx.db, query))
        return found

    def _renditions(self, image_data: Mapping[str, Mapping[str, Any]]) -> dict[int, Rendition]:
        urls = {name: self._url(thumb) for name, thumb in sorted(image_data.items())}
        return {
            int(number): Rendition(
                urls[number],
                int(thumb["width"]),
                int(thumb["height"]),
                {name.partition(".")[2]: url for name, url in urls.items() if name.startswith(f"{number}.")},
            )
            for number, thumb in sorted(image_data.items())
            if number.isdigit()  # siblings in other formats are "1.webp" and the like
        }

    def _url(self, thumb: Mapping[str, Any]) -> str:
        version = f"?v={thumb['sha1'][:10]}" if "sha1" in thumb else ""
        return f"{self._ctx.config.image_base_url}/{thumb['path']}{version}"


def _average_colour(thumbhash: str) -> str:
    """Return the mean that a ThumbHash begins with: brightness, yellow to blue and red to green, 6 bits each."""
    if not thumbhash:
        return ""
    head = int.from_bytes(base64.b64decode(thumbhash)[:3], "little")
    brightness, yellow, redness = (head & 63) / 63, (head >> 6 & 63) / 31.5 - 1, (head >> 12 & 63) / 31.5 - 1
    blue = brightness - 2 / 3 * yellow
    red = (3 * brightness - blue + redness) / 2
    return "#" + bytes(round(255 * min(1.0, max(0.0, one))) for one in (red, red - redness, blue)).hex()


def _photo_first(listing: Iterable[str], photos: Container[str]) -> Callable[[str], bool]:
    """Return the sort key by which a listing's first photo comes before all else."""
    first = next((image_hash for image_hash in listing if image_hash in photos), None)
    return lambda image_hash: image_hash != first
