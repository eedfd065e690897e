"""Clocks: leases and retry times go by the database's; the others should be near it."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Engine

from imagesys_lib.config.intervals import UTC
from imagesys_lib.db.engine import database_now
from imagesys_lib.errors import EnvironmentFault

MOST_SECONDS = 30
"""What is kept by NTP is within one. Days, file times and logs are compared between machines."""


def offset(ask: Callable[[], float]) -> float:
    """Return the offset, in seconds, of the clock that ``ask`` reads (since 1970) from this worker's."""
    before = time.time()
    there = ask()
    return there - (before + time.time()) / 2


def database_offset(engine: Engine) -> float:
    """Return the offset, in seconds, of the database's clock from this worker's."""
    return offset(lambda: database_now(engine).replace(tzinfo=UTC).timestamp())


def require_near(whose: str, seconds: float, of: str) -> str:
    """Say how far a clock is off another. Raises EnvironmentFault if that is too much."""
    text = f"{whose} is {seconds:+.1f} s off {of}"
    if abs(seconds) > MOST_SECONDS:
        raise EnvironmentFault(f"{text}; at most {MOST_SECONDS} s are allowed.", remedy="let NTP keep both clocks.")
    return text
