"""Which listings and which photo URLs a seeding consists of: pure, and the same for the same arguments.

Everything about URL number n or listing number n depends on the seed and n alone. So seeding 500 and then
2,000 images keeps the first 500 as they were: same address, same photo, same fault.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from urllib.parse import quote
from zoneinfo import ZoneInfo

from include.sandbox.feed.manifest import BROKEN_KINDS
from include.sandbox.settings import WEB_HOSTS

DATASOURCES = (101, 102, 103)
MAX_PHOTOS = 8
_BLOCK = 100


@dataclass(frozen=True)
class Address:
    """One photo URL of the plan, before its photo exists."""

    index: int
    url: str
    kind: str


@dataclass(frozen=True)
class Listing:
    """A row of the ETL table; `updated_at` is naive UTC, as the DATETIME column holds it."""

    listing_id: str
    datasource_id: int
    photo_urls: tuple[str, ...]
    updated_at: datetime


@dataclass(frozen=True)
class Plan:
    """One namespace of URLs (the daily set, or one past day) with the listings that show them."""

    namespace: str
    addresses: tuple[Address, ...]
    listings: tuple[Listing, ...]
    days: dict[str, date]
    """Listing id -> its local day."""


def plan(
    country: str,
    namespace: str,
    *,
    images: int,
    days: Sequence[date],
    zone: ZoneInfo,
    port: int,
    broken_share: float,
    every_kind: bool,
) -> Plan:
    """`images` distinct URLs on listings of 1 to 8 photos, dealt over `days`; a URL never belongs to two
    days.

    On each day the first listing is dated at its first second and the second one at its last.
    """
    kinds = kinds_of(namespace, images, broken_share, every_kind)
    addresses = tuple(Address(index, url_of(country, namespace, index, port), kinds[index]) for index in range(images))
    listings: list[Listing] = []
    dated: dict[str, date] = {}
    position = 0
    while position < images:
        number = len(listings)
        rng = random.Random(f"{namespace}:listing:{number}")
        photos = [address.url for address in addresses[position : position + rng.randint(1, MAX_PHOTOS - 1)]]
        position += len(photos)
        day = days[number % len(days)]
        earlier = number - len(days)  # the previous listing of the same day
        if earlier >= 0 and number % 7 == 5:
            photos.append(listings[earlier].photo_urls[0])  # two listings, often of two data sources, share a photo
        elif number == 3:
            photos.append(photos[0])
        listing = Listing(
            listing_id=f"{namespace}-{number:06d}",
            datasource_id=DATASOURCES[number % len(DATASOURCES)],
            photo_urls=tuple(photos),
            updated_at=moment_in_day(day, zone, number // len(days), rng),
        )
        listings.append(listing)
        dated[listing.listing_id] = day
    return Plan(namespace, addresses, tuple(listings), dated)


def moment_in_day(day: date, zone: ZoneInfo, rank: int, rng: random.Random) -> datetime:
    """Naive UTC: the day's first second for rank 0, its last for rank 1, any second for the others."""
    start, end = start_of_day(day, zone), start_of_day(day + timedelta(days=1), zone)
    seconds = int((end - start).total_seconds())
    offset = {0: 0, 1: seconds - 1}.get(rank, rng.randrange(seconds))
    return start + timedelta(seconds=offset)


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of the local day as naive UTC (00:00, or what follows a gap where the clocks skip
    midnight).
    """
    return datetime.combine(day, time(), zone).astimezone(timezone.utc).replace(tzinfo=None)


def kinds_of(namespace: str, images: int, broken_share: float, every_kind: bool) -> list[str]:
    """The kind of each URL: `broken_share` of them misbehave, in turn in every way, at shuffled places.

    With `every_kind` the first hundred holds every fault once, whatever the share (unless it is 0).
    """
    kinds: list[str] = []
    broken = 0
    for block in range(-(-images // _BLOCK)):
        target = round(broken_share * _BLOCK * (block + 1))
        if every_kind and broken_share > 0:
            target = max(target, len(BROKEN_KINDS))
        faults = [BROKEN_KINDS[number % len(BROKEN_KINDS)] for number in range(broken, target)]
        broken = target
        members = [*faults, *["ok"] * (_BLOCK - len(faults))]
        random.Random(f"{namespace}:kinds:{block}").shuffle(members)
        kinds += members
    return kinds[:images]


def url_of(country: str, namespace: str, index: int, port: int) -> str:
    """Six hosts in turn, and all the spellings that real feeds have: queries, blanks, umlauts, an escaped
    question mark.
    """
    name = f"{index:06d}.jpg"
    match index % 10:
        case 3:
            name += "?x=1&y=%20"
        case 5:
            name = f"garden%20view%20{name}"
        case 6:
            name += f"?size=large&id={index}"
        case 7:
            name = quote("façade-größe-") + name
        case 8:
            name = f"really%3F-{name}"
    host = WEB_HOSTS[index % len(WEB_HOSTS)]
    return f"http://{host}:{port}/{country}/photo/{namespace}/{name}"
