"""Which failures of a download are tried again within its batch, and what a status means. Decisions without I/O."""

from __future__ import annotations

from dataclasses import replace

from imagesys_lib.config import StatusMeaning
from imagesys_lib.fetch.politeness.host_limits import PATIENCE
from imagesys_lib.images.reasons import Fate, ImageFault

_MEANINGS: dict[StatusMeaning, Fate] = {"gone": Fate.REJECT, "unknown": Fate.RETRY}


def with_meaning(fault: ImageFault, meaning: StatusMeaning | None) -> ImageFault:
    """Return a failure as its data source's status map reads it."""
    if meaning is None:
        return fault
    fault.reason = replace(fault.reason, fate=_MEANINGS[meaning])
    return fault


def tries_again(fault: ImageFault) -> bool:
    """Say whether another try within the batch makes sense: the fault passes by itself, and soon.

    Not where a host drips (each try costs a whole deadline), names a time beyond the limits' patience, or refuses
    without saying for how long.
    """
    code = fault.reason.code
    refused = code.startswith("http_4") and code not in ("http_408", "http_425", "http_429")
    later = fault.retry_after is not None and fault.retry_after > PATIENCE
    return fault.reason.fate is Fate.RETRY and not later and code != "too_slow" and not refused
