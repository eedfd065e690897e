"""All settings of one country, and what is read from several of them together."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from imagesys_lib.config.classes import KINDS, Kind
from imagesys_lib.config.fetch_settings import Fetch, Retry
from imagesys_lib.config.node_transfers import Transfer
from imagesys_lib.config.process_details import DataSource, ProcessDetails, Size, Thumbnailing
from imagesys_lib.config.section import CLOCK, SQL_NAME, HttpUrl, Section, StatusMeaning, known_zone
from imagesys_lib.config.settings import Alerts, Batching, Canary, Check, EtlTable, Purge, Recheck, Retention, Staging

ClassName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]

_CLASSES: Mapping[str, Kind] = {
    **dict.fromkeys(("exterior", "garden", "living_room", "kitchen", "bedroom", "bathroom"), "photo"),
    **dict.fromkeys(("floor_plan", "map", "logo"), "graphic"),
}


class CountryConfig(Section):
    """All settings of one country.

    ``classes`` are what people may call an image besides ``photo``, ``graphic`` and ``blank``; each is of one of these.
    """

    country: Annotated[str, Field(pattern=r"^[a-z]{2}$")]
    name: str
    time_zone: str
    start: Annotated[str, Field(pattern=CLOCK)] = "03:00"
    look_back_hours: Annotated[float, Field(ge=0, le=24 * 31)] = 48
    database: str
    image_base_url: HttpUrl
    sizes: Annotated[tuple[Size, ...], Field(min_length=1, max_length=9)]
    batch: Batching = Batching()
    fetch: Fetch
    retry: Retry = Retry()
    process: ProcessDetails = ProcessDetails()
    datasources: Mapping[int, DataSource] = Field(default_factory=dict)
    thumbnail: Thumbnailing = Thumbnailing()
    classes: Mapping[ClassName, Kind] = Field(default_factory=lambda: dict(_CLASSES))
    min_width: Annotated[int, Field(ge=1)] = 32
    min_height: Annotated[int, Field(ge=1)] = 32
    max_megapixels: Annotated[float, Field(gt=0)] = 50
    etl: EtlTable
    nodes: Annotated[tuple[str, ...], Field(min_length=1)]
    quorum: Annotated[int, Field(ge=1)]
    node_root: Path = Path("/srv/imagesys")
    node_urls: Mapping[str, HttpUrl] = Field(default_factory=dict)
    staging: Staging
    transfer: Transfer = Transfer()
    recheck: Recheck = Recheck()
    purge: Purge = Purge()
    check: Check = Check()
    canary: Canary | None = None
    retention: Retention = Retention()
    alerts: Alerts
    max_threads_running: Annotated[int, Field(ge=1)] = 64
    owner: str = "imagesys"

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        return known_zone(value)

    @field_validator("nodes")
    @classmethod
    def _node_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        bad = [name for name in value if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name)]
        if bad or len(set(value)) != len(value):
            raise ValueError(f"node names must be distinct connection ids such as n1, not {list(value)}")
        return value

    @field_validator("database")
    @classmethod
    def _database_name(cls, value: str) -> str:
        if not SQL_NAME.match(value) or "." in value:
            raise ValueError(f"{value!r} is not a database name (letters, digits, _)")
        return value

    @field_validator("quorum")
    @classmethod
    def _quorum_possible(cls, value: int, info: ValidationInfo) -> int:
        nodes = info.data.get("nodes")  # missing where they are wrong themselves
        if nodes is not None and value > len(nodes):
            raise ValueError(f"quorum {value} is more than the {len(nodes)} nodes")
        return value

    @field_validator("classes")
    @classmethod
    def _own_classes(cls, value: Mapping[str, Kind]) -> Mapping[str, Kind]:
        if bad := [name for name in KINDS if value.get(name, name) != name]:
            raise ValueError(f"{', '.join(bad)}: the system's own, which cannot be another kind")
        return value

    @field_validator("node_urls")
    @classmethod
    def _urls_of_nodes(cls, value: Mapping[str, str], info: ValidationInfo) -> Mapping[str, str]:
        unknown = sorted(value.keys() - set(info.data.get("nodes", value)))
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: not one of the nodes")
        return value

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        """The country's time zone; a run's interval is one calendar day in it."""
        return zoneinfo.ZoneInfo(self.time_zone)

    def process_details(self, datasource_id: int) -> ProcessDetails:
        """Return how this data source's thumbnails are finished."""
        override = self.datasources.get(datasource_id)
        if override is None:
            return self.process
        named = override.model_dump(exclude_unset=True, include=set(ProcessDetails.model_fields))
        return self.process.model_copy(update=named)

    def status_meaning(self, datasource_id: int, status: int) -> StatusMeaning | None:
        """Return what a status means from this data source; None where nobody has said."""
        override = self.datasources.get(datasource_id)
        return (override.statuses.get(status) if override else None) or self.fetch.statuses.get(status)
