"""The wall between the ETL and us: a raw row becomes a listing that fits every column of ours, or a fault by name.

Nothing that passes it can make a database refuse a statement: ids and positions fit their columns, text is UTF-8.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from imagesys_lib.config.intervals import UTC
from imagesys_lib.etl.photo_urls import split_photo_urls

Raw: TypeAlias = "bytes | int | float | Decimal | None"
"""A value as the ETL's connection gives it: numbers as such; text (UTF-8), dates and everything else as bytes."""

MAX_ID = 64
"""Characters of a listing's id that ``lis_listing_images`` holds."""

MAX_PHOTOS = 1 << 16
"""Photos of one listing that ``lis_listing_images`` can number."""

_NUMBER = re.compile(rb"\s*[+-]?[0-9]{1,10}(\.0+)?\s*\Z")
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?\Z", re.ASCII)
_SHOWN = 40  # characters of a bad value that a fault quotes


@dataclass(frozen=True)
class Listing:
    """One listing with its photo URLs in order; ``updated_at`` is naive UTC."""

    listing_id: str
    datasource_id: int
    urls: tuple[str, ...]
    updated_at: dt.datetime


@dataclass(frozen=True)
class BadRow:
    """A row of the ETL that was skipped, or (``kept``) cut to what can be kept. ``listing_id`` is as far as known."""

    listing_id: str
    why: str
    kept: bool = False

    def __str__(self) -> str:
        return f"bad row: listing {self.listing_id[:MAX_ID]!r}: {self.why}"


@dataclass(frozen=True)
class Rows:
    """Rows of the ETL: the listings in them, and what was wrong with some. A row that was cut is in both."""

    listings: list[Listing] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)

    @property
    def unreadable(self) -> set[str]:
        """The ids of listings that are there, but of which this says nothing: not that they show no image."""
        return {row.listing_id for row in self.bad if not row.kept}


class _Bad(ValueError):
    """Why a row cannot be a listing."""


def listings_of(rows: Iterable[Any], zone: ZoneInfo, separator: str) -> Rows:
    """Read rows of :data:`Raw` columns ``listing``, ``datasource``, ``photos`` and ``updated``, naive in ``zone``."""
    found = Rows()
    for row in rows:
        try:
            urls, cut = _urls(row.photos, separator)
            listing_id, datasource_id = _listing_id(row.listing), _datasource_id(row.datasource)
            found.listings.append(Listing(listing_id, datasource_id, urls, _instant(row.updated, zone)))
            found.bad.extend(BadRow(listing_id, why, kept=True) for why in cut)
        except _Bad as fault:
            found.bad.append(BadRow(as_text(row.listing), str(fault)))
    return found


def as_text(value: Raw) -> str:
    """Return a raw value as text that is safe to store, whatever it is; NULL is ``NULL``."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return "NULL" if value is None else str(value)


def dated(value: Raw) -> str:
    """Return what is wrong with a row that has an impossible date."""
    return f"its date is {as_text(value)[:_SHOWN]!r}"


def _listing_id(value: Raw) -> str:
    if isinstance(value, bytes):
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            raise _Bad("its id is not UTF-8") from None
    elif isinstance(value, (int, Decimal)) and value == int(value):
        text = str(int(value))
    else:
        raise _Bad(f"{as_text(value)} is no id")
    if len(text) > MAX_ID:
        raise _Bad(f"its id has {len(text)} characters, more than {MAX_ID}")
    if text.endswith(" "):
        raise _Bad("its id ends in a blank, which databases do not tell from none")
    return text


def _datasource_id(value: Raw) -> int:
    number: Any = int(value.split(b".")[0]) if isinstance(value, bytes) and _NUMBER.match(value) else value
    fits = isinstance(number, (int, float, Decimal)) and number == int(number) and -(1 << 31) <= number < 1 << 31
    if not fits:
        raise _Bad(f"its data source {as_text(value)[:_SHOWN]!r} is no whole number of 32 bits")
    return int(number)


def _instant(value: Raw, zone: ZoneInfo) -> dt.datetime:
    match = _DATE.match(as_text(value))
    try:
        if match is None:
            raise ValueError
        *parts, fraction = match.groups("0")
        year, month, day, hour, minute, second = map(int, parts)
        stamp = dt.datetime(year, month, day, hour, minute, second, int(fraction.ljust(6, "0")), tzinfo=zone)
        return stamp.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise _Bad(dated(value)) from None


def _urls(value: Raw, separator: str) -> tuple[tuple[str, ...], list[str]]:
    """Return the URLs that can be kept, and what had to go. NULL is no photos."""
    if value is None:
        return (), []
    if not isinstance(value, bytes):
        raise _Bad("its photos are a number, no text")
    text = value.decode("utf-8", "surrogateescape")
    if text.lstrip()[:1] in ("[", "{"):
        raise _Bad("its photos are JSON, not URLs")
    every = split_photo_urls(text, separator)
    urls = [url for url in every if url.isascii() or _is_utf8(url)]
    cut = [f"{len(every) - len(urls)} of its photo URLs are not UTF-8"] if len(urls) < len(every) else []
    if len(urls) > MAX_PHOTOS:
        cut.append(f"{len(urls)} photos, of which the first {MAX_PHOTOS} are kept")
    return tuple(urls[:MAX_PHOTOS]), cut


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
