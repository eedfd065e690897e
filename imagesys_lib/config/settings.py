"""Settings of all else: batches, the ETL, disks, transfers, purge, check, retention, alerts, canary."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from imagesys_lib.config.section import (
    SQL_NAME,
    Days,
    HttpUrl,
    KeptDays,
    Percent,
    Section,
    known_zone,
)


class Batching(Section):
    """Size of a batch in images, and how many batches one run may have (Airflow maps at most 1,024)."""

    size: Annotated[int, Field(ge=1, le=100_000)] = 2000  # 20 s of work, beside which its two tasks cost a twentieth
    max_batches: Annotated[int, Field(ge=1, le=1024)] = 1000
    lease_seconds: Annotated[int, Field(ge=2, le=3600)] = 60
    deadline_minutes: Annotated[float, Field(gt=0)] = 120


class Recheck(Section):
    """How many live images a daily run asks their hosts for again, in per cent of all (0: none).

    So a photo that was replaced under its URL is noticed. First come those whose listing was updated since, then those
    asked longest ago: at 1 % each is asked once in a hundred days.
    """

    percent: Percent = 1


class EtlTable(Section):
    """Where the ETL keeps listings. Names may carry ``{country}``; ``updated_at`` is naive in ``time_zone``."""

    table: str
    listing_id: str = "listing_id"
    datasource_id: str = "datasource_id"
    photo_urls: str = "photo_urls"
    updated_at: str = "updated_at"
    time_zone: str = "UTC"
    url_separator: Annotated[str, Field(min_length=1, max_length=8)] = ","

    @field_validator("table", "listing_id", "datasource_id", "photo_urls", "updated_at")
    @classmethod
    def _sql_name(cls, value: str) -> str:
        if not SQL_NAME.match(value):
            raise ValueError(f"{value!r} is not a table or column name (letters, digits, _)")
        return value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        return known_zone(value)


class Staging(Section):
    """The worker's disk: where originals and thumbnails wait, and the floors of free space it never crosses.

    Thumbnails stay until all nodes have them. What a node has not fetched for ``keep_days``, or while less is free than
    ``pressure_percent`` of a floor (200: twice as much), goes if another node holds it: a repair brings it from there.
    Up to ``transit_mb`` of files at a time (some four of such groups at once) go through memory in a repair, more
    through ``root``.
    """

    root: Path
    min_free_mb: Annotated[int, Field(ge=0)] = 1024
    min_free_inodes: Annotated[int, Field(ge=0)] = 10_000
    pressure_percent: Annotated[int, Field(ge=100, le=1000)] = 200
    keep_days: Annotated[float, Field(gt=0)] = 7
    transit_mb: Annotated[int, Field(ge=0, le=4096)] = 32


class Purge(Section):
    """When images go: ``retention_days`` after the last listing has gone, or, if ``max_age_days`` is set, so long
    after the newest of their listings was updated and ingested. Files go ``grace_hours`` after the image has left the
    site. Caps in per cent. A data source that loses more than ``max_unlisted_percent``, and at least
    ``datasource_listings``, of its listings at once is taken for half loaded, unless it is one of
    ``ended_datasources``; a listing that shows half of its photos no more counts as lost.
    """

    retention_days: Days = 30
    max_age_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    grace_hours: Annotated[float, Field(ge=0, le=24 * 90)] = 24
    cap_percent: Percent = 5
    approval_hours: Annotated[float, Field(gt=0, le=24 * 30)] = 48
    ask_again_days: Annotated[float, Field(ge=0, le=365)] = 7
    max_unlisted_percent: Percent = 20
    datasource_listings: Annotated[int, Field(ge=1)] = 20
    ended_datasources: tuple[int, ...] = ()
    lookup_shards: Annotated[int, Field(ge=1, le=31)] = 7
    rotate_above: Annotated[int, Field(ge=0)] = 20_000


class Check(Section):
    """Check of files against database: extra files are spared until they are ``extra_grace_hours`` old
    and have been known as extra for so long.

    A country of more than ``shard_above`` live images is checked by sevenths, one a day. ``scrub_files`` files of each
    node are read a day (0: none). A node should have acknowledged a change ``catch_up_hours`` after it was made.

    One repair of a node deletes the extra files of at most ``extra_cap_images`` images, or of ``extra_cap_percent``
    of the live ones where that is more; beyond it none. So many images, too, it queues at most to be made again.
    """

    extra_grace_hours: Annotated[float, Field(ge=0)] = 24
    shard_above: Annotated[int, Field(ge=0)] = 20_000
    scrub_files: Annotated[int, Field(ge=0)] = 20_000
    catch_up_hours: Annotated[float, Field(gt=0)] = 48
    extra_cap_percent: Percent = 5
    extra_cap_images: Annotated[int, Field(ge=0)] = 1000
    samples: Annotated[int, Field(ge=0, le=1000)] = 20


class Retention(Section):
    """For how many days what only tells of the past is kept; changes count from when every node had applied them.

    Log files are those of the whole installation: the longest time of any country holds.
    """

    runs: KeptDays = 400
    batches: KeptDays = 90
    metrics: KeptDays = 400
    node_checks: KeptDays = 90
    changes: KeptDays = 30
    mails: KeptDays = 30
    logs: KeptDays = 30


class Alerts(Section):
    """Who is notified, and when a run counts as late: a warning, then the deadline (minutes after it was queued).

    What the library logs in a run from ``mail_level`` on is mailed too, in one mail a run. With ``daily_report`` the
    country takes part in one mail a day over all countries.
    """

    mail_to: Annotated[tuple[str, ...], Field(min_length=1)]
    warn_minutes: Annotated[float, Field(gt=0)] = 180
    deadline_minutes: Annotated[float, Field(gt=0)] = 240
    daily_report: bool = False
    mail_level: Literal["info", "warning", "error", "critical"] = "error"

    @field_validator("mail_to")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            if not re.fullmatch(r"[^@\s,;<>]+@[^@\s,;<>]+", address):
                raise ValueError(f"{address!r} is not a mail address")
        return value

    @field_validator("deadline_minutes")
    @classmethod
    def _after_the_warning(cls, value: float, info: ValidationInfo) -> float:
        if value <= info.data.get("warn_minutes", 0):
            raise ValueError(f"the deadline ({value:g}) must come after warn_minutes ({info.data['warn_minutes']:g})")
        return value


class Canary(Section):
    """The known photo that an hourly canary takes through the whole path: ``sha1`` is of the photo's bytes.

    The path must be done within ``seconds``.
    """

    url: HttpUrl
    sha1: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    seconds: Annotated[float, Field(ge=1, le=1800)] = 120
