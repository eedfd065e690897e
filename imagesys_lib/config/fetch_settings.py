"""Settings of fetching: limits, time-outs, circuit breakers and retries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, IPvAnyNetwork, field_validator

from imagesys_lib.config.hostnames import configured_host
from imagesys_lib.config.section import (
    HttpStatus,
    Percent,
    Seconds,
    Section,
    StatusMeaning,
)


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


class Retry(Section):
    """When a failed image is tried again: ``first_hours`` doubled per attempt up to ``max_hours``, jittered."""

    first_hours: Annotated[float, Field(gt=0)] = 6
    max_hours: Annotated[float, Field(gt=0)] = 24 * 7
    max_attempts: Annotated[int, Field(ge=1)] = 12
