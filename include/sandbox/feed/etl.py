"""The ETL's tables: filled with listings, and changed as an ETL changes them (late rows, corrections,
removals, disasters).
"""

# ruff: noqa: S608 (the only name in the SQL is the table's, from the closed list that _cursor checks)

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from include.sandbox.feed.listings import Listing, Plan, plan
from include.sandbox.feed.manifest import KINDS_WITH_PHOTO, Manifest, ManifestEntry
from include.sandbox.photos import catalogue
from include.sandbox.services.mariadb import MariaDb
from include.sandbox.services.process import file_lock
from include.sandbox.settings import COUNTRIES, SandboxSettings

SEPARATOR = "|"
_ROWS_A_STATEMENT = 500
_PHOTOGRAPHED = "uk"  # all countries show its photos: to make one takes a fifth of a second

_UPSERT = (
    "INSERT INTO `listings_{country}` (listing_id, datasource_id, photo_urls, updated_at) "
    "VALUES (%s, %s, %s, %s) ON DUPLICATE KEY UPDATE datasource_id = VALUES(datasource_id), "
    "photo_urls = VALUES(photo_urls), updated_at = VALUES(updated_at)"
)


@dataclass(frozen=True)
class Etl:
    """`etl.listings_<country>`, written as the owner of the ETL; ImageSys itself only reads it."""

    settings: SandboxSettings

    def seed(
        self,
        country: str,
        *,
        images: int,
        last_day: date,
        time_zone: str | ZoneInfo,
        spread_days: int = 2,
        past_days: Sequence[date] = (),
        per_past_day: int = 20,
        seed: int = 0,
        broken_share: float = 0.06,
        repeat: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, ManifestEntry]:
        """Fill the table and the web site; returns the manifest of this seeding by URL.

        `images` distinct URLs lie on `last_day` and the `spread_days - 1` days before it, `per_past_day` more
        on each of `past_days`. The same arguments give the same rows, files and URLs, and repair what was
        changed meanwhile. Other arguments with the same `seed` replace its rows; another `seed` adds rows
        beside them. With `repeat` the URLs show the JPEGs among the first so many photos of seed 0 in turn,
        each with bytes of its own: tens of thousands of images without as many photographs to make.
        """
        zone = ZoneInfo(time_zone) if isinstance(time_zone, str) else time_zone
        make_plan = partial(plan, country, zone=zone, port=self.settings.port("website"), broken_share=broken_share)
        days = [last_day - timedelta(days=back) for back in range(spread_days)]
        prefix = f"{country}-{seed}"
        plans = [make_plan(prefix, images=images, days=days, every_kind=True)]
        plans += [
            make_plan(f"{prefix}-{day:%Y%m%d}", images=per_past_day, days=[day], every_kind=False) for day in past_days
        ]

        total = sum(len(one.addresses) for one in plans)
        entries: list[ManifestEntry] = []
        for one in plans:
            done = len(entries)
            report = (lambda made, _, done=done: progress(done + made, total)) if progress else None
            made = self._repeated(one, repeat, report) if repeat else self._made(one, country, report)
            entries += _entries(one, made, marked=bool(repeat))
        with file_lock(self.settings.run_dir / f"etl-{country}.lock"):
            Manifest(self.settings).write(
                country, seed, entries
            )  # first, so that no listing shows a URL that nobody serves
            self._replace(country, prefix, [listing for one in plans for listing in one.listings])
        if progress:
            progress(total, total)
        return {entry.url: entry for entry in entries}

    def create_table(self, country: str) -> None:
        with self._cursor(country) as cursor:
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS `listings_{country}` ("
                "listing_id VARCHAR(64) NOT NULL PRIMARY KEY, datasource_id INT NOT NULL, "
                "photo_urls TEXT NOT NULL, updated_at DATETIME NOT NULL COMMENT 'UTC', "
                "KEY (updated_at, listing_id)) DEFAULT CHARSET = utf8mb4"
            )

    def listings(self, country: str) -> list[Listing]:
        """All rows, oldest first."""
        with self._cursor(country) as cursor:
            cursor.execute(
                "SELECT listing_id, datasource_id, photo_urls, updated_at "
                f"FROM `listings_{country}` ORDER BY updated_at, listing_id"
            )
            return [
                Listing(id_, source, tuple(urls.split(SEPARATOR)), moment)
                for id_, source, urls, moment in cursor.fetchall()
            ]

    def count(self, country: str) -> int:
        with self._cursor(country) as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM `listings_{country}`")
            return int(cursor.fetchone()[0])

    def put(self, country: str, listing: Listing) -> None:
        """Add a listing, or replace the one with its id."""
        self._upsert(country, [listing])

    def touch(
        self,
        country: str,
        listing_id: str,
        updated_at: datetime,
        *,
        photo_urls: Sequence[str] | None = None,
        datasource_id: int | None = None,
    ) -> None:
        """A correction: a new `updated_at` (naive UTC) and, where given, other photos or data source."""
        changes: dict[str, Any] = {"updated_at": updated_at}
        if photo_urls is not None:
            changes["photo_urls"] = SEPARATOR.join(photo_urls)
        if datasource_id is not None:
            changes["datasource_id"] = datasource_id
        assignments = ", ".join(f"{column} = %s" for column in changes)
        with self._cursor(country) as cursor:
            cursor.execute(
                f"UPDATE `listings_{country}` SET {assignments} WHERE listing_id = %s",
                (*changes.values(), listing_id),
            )

    def remove(self, country: str, listing_ids: Iterable[str]) -> int:
        """Delete these listings; returns how many there were."""
        ids = list(listing_ids)
        with self._cursor(country) as cursor:
            return sum(cursor.execute(f"DELETE FROM `listings_{country}` WHERE listing_id = %s", (one,)) for one in ids)

    def empty(self, country: str) -> int:
        """The disaster of an ETL that loaded nothing."""
        with self._cursor(country) as cursor:
            return int(cursor.execute(f"DELETE FROM `listings_{country}`"))

    def halve(self, country: str) -> int:
        """The disaster of an ETL that stopped half-way: every second listing goes; returns how many went."""
        return self.remove(country, [listing.listing_id for listing in self.listings(country)[1::2]])

    def _made(self, one: Plan, country: str, progress: Callable[[int, int], None] | None) -> dict[int, catalogue.Photo]:
        """A photo for each address that shows one, and no other in this country, by the address's index."""
        return catalogue.generate(
            len(one.addresses),
            f"{_PHOTOGRAPHED}{one.namespace.removeprefix(country)}",
            self.settings.photo_cache,
            skip=frozenset(address.index for address in one.addresses if address.kind not in KINDS_WITH_PHOTO),
            forced={address.index: "png" for address in one.addresses if address.kind == "png_as_jpeg"},
            progress=progress,
        )

    def _repeated(
        self, one: Plan, count: int, progress: Callable[[int, int], None] | None
    ) -> dict[int, catalogue.Photo]:
        """The JPEGs among the first `count` photos of seed 0, in turn, by the address's index."""
        made = catalogue.generate(count, f"{_PHOTOGRAPHED}-0", self.settings.photo_cache, progress=progress)
        jpegs = [photo for photo in made.values() if photo.media_type == "image/jpeg"]
        return {
            address.index: jpegs[address.index % len(jpegs)]
            for address in one.addresses
            if address.kind in KINDS_WITH_PHOTO
        }

    def _replace(self, country: str, prefix: str, listings: Sequence[Listing]) -> None:
        self.create_table(country)
        wanted = {listing.listing_id for listing in listings}
        with self._cursor(country) as cursor:
            cursor.execute(f"SELECT listing_id FROM `listings_{country}` WHERE listing_id LIKE %s", (f"{prefix}-%",))
            surplus = [row[0] for row in cursor.fetchall() if row[0] not in wanted]
        self.remove(country, surplus)
        self._upsert(country, listings)

    def _upsert(self, country: str, listings: Sequence[Listing]) -> None:
        rows = [(one.listing_id, one.datasource_id, SEPARATOR.join(one.photo_urls), one.updated_at) for one in listings]
        with self._cursor(country) as cursor:
            for at in range(0, len(rows), _ROWS_A_STATEMENT):
                cursor.executemany(_UPSERT.format(country=country), rows[at : at + _ROWS_A_STATEMENT])

    @contextmanager
    def _cursor(self, country: str) -> Any:
        """A cursor whose work is committed at the end of the block, or rolled back by an error."""
        if country not in COUNTRIES:  # the name goes into SQL: only ours may
            raise ValueError(f"unknown country {country!r}: one of {', '.join(COUNTRIES)}")
        connection = MariaDb(self.settings).connect("sandbox", "etl")
        try:
            with connection.cursor() as cursor:
                yield cursor
            connection.commit()
        finally:
            connection.close()  # without a commit the server rolls back


def _entries(one: Plan, made: Mapping[int, catalogue.Photo], *, marked: bool) -> list[ManifestEntry]:
    shown: dict[str, list[Listing]] = {}
    for listing in one.listings:
        for url in dict.fromkeys(listing.photo_urls):
            shown.setdefault(url, []).append(listing)
    entries = []
    for address in one.addresses:
        photo = made.get(address.index)
        listings = shown[address.url]
        entries.append(
            ManifestEntry(
                url=address.url,
                kind=address.kind,
                file=str(photo.file) if photo else "",
                media_type=photo.media_type if photo else "",
                width=photo.width if photo else 0,
                height=photo.height if photo else 0,
                photo_class=photo.photo_class if photo else "",
                original=photo.original if photo else "",
                listing_ids=tuple(listing.listing_id for listing in listings),
                datasource_ids=tuple(dict.fromkeys(listing.datasource_id for listing in listings)),
                local_day=one.days[listings[0].listing_id].isoformat(),
                marked=marked,
            )
        )
    return entries
