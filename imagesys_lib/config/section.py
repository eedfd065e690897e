"""What the sections of the configuration share: a frozen model, and types with limits."""

from __future__ import annotations

import re
import zoneinfo
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

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
    """A part of the configuration: frozen, and a setting with an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def known_zone(value: str) -> str:
    """Return the name of a time zone. Raises ValueError if there is none."""
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # `Europe` is a directory
        raise ValueError(f"{value!r} is not a time zone (IANA name such as Europe/London)") from None
    return value
