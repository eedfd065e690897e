"""The settings that belong together: one typed, frozen model a section, with what each of its values means."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, ValidationInfo, field_validator

from imagesys_lib.config.hostnames import configured_host

SQL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}(\.[A-Za-z_][A-Za-z0-9_]{0,63})?\Z")
CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"

Seconds = Annotated[float, Field(gt=0)]
Days = Annotated[int, Field(ge=0, le=3650)]
KeptDays = Annotated[int, Field(ge=1, le=3650)]
Percent = Annotated[float, Field(ge=0, le=100)]
HttpStatus = Annotated[int, Field(ge=400, le=599)]
HttpUrl = Annotated[str, Field(pattern=r"^https?://[^\s]+[^\s/]$")]
StatusMeaning = Literal["gone", "unknown"]


class Section(BaseModel):
    """Frozen, and with no setting that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Size(Section):
    """One thumbnail size in pixels; ``crop`` fills the box exactly, ``fit`` stays inside it."""

    width: Annotated[int, Field(ge=16, le=4096)]
    height: Annotated[int, Field(ge=16, le=4096)]
    mode: Literal["crop", "fit"]


class ProcessDetails(Section):
    """How a data source's thumbnails are finished: ``sharpen`` is radius x sigma, as ImageMagick means it."""

    sharpen: Annotated[str, Field(pattern=r"^\d+(\.\d+)?x\d+(\.\d+)?$")] = "0x1"
    gamma: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    quality: Annotated[int, Field(ge=1, le=100)] = 90


class DataSource(ProcessDetails):
    """What holds for one data source alone: how its thumbnails are finished, what its hosts' statuses mean.

    Process details that it does not name are the country's.
    """

    statuses: Mapping[HttpStatus, StatusMeaning] = Field(default_factory=dict)


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
    def _knownknown_zone(cls, value: str) -> str:
        return known_zone(value)


class HostLimits(Section):
    """How hard one host may be asked: requests in flight over all workers, and optionally requests a second.

    A rate that it does not name is that of all hosts; null is none.
    """

    per_host: Annotated[int, Field(ge=1, le=64)]
    rate: Annotated[float, Field(gt=0, le=1000)] | None = None


class Breaker(Section):
    """When a host or data source is left alone: after so many failures, for a time that doubles up to a most.

    A host's breaker opens after ``failures`` requests in a row that it failed, a data source's when
    ``source_percent`` of at least ``source_images`` images failed, both within ``window_hours``. Times in seconds.
    """

    failures: Annotated[int, Field(ge=2, le=1000)] = 10
    first_seconds: Seconds = 60
    max_seconds: Seconds = 6 * 3600
    source_percent: Percent = 95
    source_images: Annotated[int, Field(ge=1)] = 200
    window_hours: Annotated[float, Field(gt=0)] = 24


class Fetch(Section):
    """How photos are fetched. Times in seconds, sizes in bytes, speeds in bytes a second.

    ``statuses`` says what an HTTP status means: ``gone`` (rejected) or ``unknown`` (tried again later).
    ``allowed_addresses`` are networks that may be asked although they are not public, ``denied_addresses`` such as may
    not whatever they are (a network's own NAT64 prefix, say). ``proxy`` is a URL; without it no proxy is used, whatever
    the environment says (the original's ``noproxy``). ``user_agent`` names a page or an address for whoever minds us.
    """

    in_flight: Annotated[int, Field(ge=1, le=512)] = 64
    per_host: Annotated[int, Field(ge=1, le=64)] = 6
    rate: Annotated[float, Field(gt=0, le=1000)] | None = None
    hosts: Mapping[str, HostLimits] = Field(default_factory=dict)
    breaker: Breaker = Breaker()
    connect_timeout: Seconds = 10
    read_timeout: Seconds = 20
    image_deadline: Seconds = 60
    min_speed: Annotated[int, Field(ge=0)] = 1024
    max_bytes: Annotated[int, Field(ge=1024)] = 32 * 1024 * 1024
    max_redirects: Annotated[int, Field(ge=0, le=20)] = 20
    tries: Annotated[int, Field(ge=1, le=10)] = 3
    pause_between_tries: Annotated[float, Field(ge=0)] = 2
    max_retry_after_hours: Annotated[float, Field(gt=0)] = 24
    network_patience: Annotated[float, Field(ge=0)] = 300
    allowed_addresses: tuple[IPvAnyNetwork, ...] = ()
    denied_addresses: tuple[IPvAnyNetwork, ...] = ()
    proxy: Annotated[str, Field(pattern=r"^(https?|socks5h?)://[^\s]+$")] | None = None
    statuses: Mapping[HttpStatus, StatusMeaning] = Field(default_factory=dict)
    user_agent: Annotated[str, Field(min_length=8, max_length=250)]

    @field_validator("user_agent")
    @classmethod
    def _has_contact(cls, value: str) -> str:
        if not value.isascii() or not value.isprintable() or not re.search(r"https?://\S|\S@\S", value):
            raise ValueError(f"{value!r} names no contact: add a URL or a mail address, in ASCII")
        return value

    @field_validator("hosts")
    @classmethod
    def _known_by_one_name(cls, value: Mapping[str, HostLimits]) -> Mapping[str, HostLimits]:
        hosts = {configured_host(host): limits for host, limits in value.items()}
        if len(hosts) < len(value):
            raise ValueError(f"a host is named twice: {', '.join(value)}")
        return hosts

    def limits(self, host: str) -> HostLimits:
        """Return what holds for one host, named as by :func:`imagesys_lib.config.hostnames.host_of`."""
        own = self.hosts.get(host) or self.hosts.get(host.rpartition(":")[0])
        if own is None:
            return HostLimits(per_host=self.per_host, rate=self.rate)
        return own if "rate" in own.model_fields_set else own.model_copy(update={"rate": self.rate})


class Thumbnailing(Section):
    """How thumbnails are made. ``processes`` decode at once, each within ``memory_mb`` and ``seconds`` an image.

    ``encoder``: ``lean`` spends time on fewer bytes, ``fast`` does not. ``siblings`` are made beside each JPEG.
    The same bytes on more than ``placeholder_listings`` listings of one data source are a placeholder (0: never).
    """

    encoder: Literal["lean", "fast"] = "lean"
    siblings: tuple[Literal["webp", "avif"], ...] = ()
    processes: Annotated[int, Field(ge=1, le=256)] | None = None
    memory_mb: Annotated[int, Field(ge=128, le=65536)] = 768
    seconds: Seconds = 20
    placeholder_listings: Annotated[int, Field(ge=0)] = 50


class Retry(Section):
    """When a failed image is tried again: ``first_hours`` doubled per attempt up to ``max_hours``, jittered."""

    first_hours: Annotated[float, Field(gt=0)] = 6
    max_hours: Annotated[float, Field(gt=0)] = 24 * 7
    max_attempts: Annotated[int, Field(ge=1)] = 12


class Batching(Section):
    """Size of a batch in images, and how many batches one run may have (Airflow maps at most 1,024)."""

    size: Annotated[int, Field(ge=1, le=100_000)] = 2000  # 20 s of work, beside which its two tasks cost a twentieth
    max_batches: Annotated[int, Field(ge=1, le=1024)] = 1000
    lease_seconds: Annotated[int, Field(ge=2, le=3600)] = 60
    deadline_minutes: Annotated[float, Field(gt=0)] = 120


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


class Transfer(Section):
    """How files go to a node. ``bandwidth_kbps`` in KiB/s, 0 for no limit; times in seconds.

    ``repair_kbps`` is the same for what a repair takes from its peers, all together.
    A transfer is given up when nothing comes for ``io_timeout``, a command or listing after five times as long.
    """

    bandwidth_kbps: Annotated[int, Field(ge=0)] = 0
    repair_kbps: Annotated[int, Field(ge=0)] = 20_000
    connect_timeout: Seconds = 10
    io_timeout: Seconds = 120
    lock_timeout: Seconds = 1800
    node_min_free_mb: Annotated[int, Field(ge=0)] = 256
    node_min_free_inodes: Annotated[int, Field(ge=0)] = 10_000
    group_images: Annotated[int, Field(ge=1, le=1000)] = 1000


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
    """Who is told, and when a run counts as late: a warning, then the deadline (minutes after it was queued).

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


def known_zone(value: str) -> str:
    """Return the name of a time zone. Raises ValueError if there is none."""
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # `Europe` is a directory
        raise ValueError(f"{value!r} is not a time zone (IANA name such as Europe/London)") from None
    return value
