"""The page of the example website: listings as their owner has them, with the photos that are live."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from imagesys_lib.interface import ImageData, Interface
from include.sandbox.example.glance import data_uri
from include.sandbox.feed.etl import SEPARATOR
from include.sandbox.feed.listings import Listing

HOMES_A_PAGE = 24


@dataclass(frozen=True)
class Home:
    """One listing and its live photos, in order."""

    name: str
    updated_at: str
    images: tuple[ImageData, ...]


@functools.cache
def _templates() -> Environment:
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    templates.globals["glance"] = lambda thumbhash: data_uri(thumbhash) if thumbhash else ""
    return templates


def rendered(interface: Interface, listings: Sequence[Listing], page: int) -> str:
    """Return one page of the listings as HTML; beyond the last one comes the last."""
    pages = max(1, math.ceil(len(listings) / HOMES_A_PAGE))
    page = min(max(1, page), pages)
    some = listings[(page - 1) * HOMES_A_PAGE : page * HOMES_A_PAGE]
    columns = interface.lis_images_for_si_builds(SEPARATOR.join(listing.photo_urls) for listing in some)
    hashes = [[one for one in column.split(",") if one] for column in columns]
    live = interface.lis_get_searchapi_data_for_hashes(one for row in hashes for one in row)
    homes = [
        Home(listing.listing_id, f"{listing.updated_at:%d %B %Y}", tuple(live[one] for one in row if one in live))
        for listing, row in zip(some, hashes, strict=True)
    ]
    return (
        _templates()
        .get_template("page.html")
        .render(
            homes=homes,
            total=len(listings),
            live=sum(len(home.images) for home in homes),
            photos=sum(map(len, hashes)),
            page=page,
            pages=pages,
        )
    )
