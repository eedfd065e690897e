"""Why an image is not live: one stable code per failure. docs/reasons.md is made from this table."""

from __future__ import annotations

import enum
import re
import sys
from dataclasses import dataclass

from imagesys_lib.images.http_statuses import says_later


class Fate(enum.Enum):
    """What a reason means for the image."""

    RETRY = "failed"  # transient: tried again at a later time
    REJECT = "rejected"  # permanent for this URL and ETL version
    QUARANTINE = "quarantined"  # released by hand or by new ETL data


@dataclass(frozen=True)
class Reason:
    """One row of the table: ``code`` is stored, ``help`` is shown to people."""

    code: str
    fate: Fate
    help: str


_TABLE = (
    Reason("dns", Fate.RETRY, "The host name did not resolve."),
    Reason("connect", Fate.RETRY, "The host refused or dropped the connection."),
    Reason("tls", Fate.RETRY, "The host's certificate or TLS handshake is bad."),
    Reason("timeout", Fate.RETRY, "No answer within the connect or read time-out, or a body that stopped for so long."),
    Reason("too_slow", Fate.RETRY, "The answer came below the least speed, or not within the image's deadline."),
    Reason("truncated", Fate.RETRY, "The body is shorter than announced, or the image ends early."),
    Reason("protocol", Fate.RETRY, "The answer breaks HTTP, or has a content coding that is broken or not undone."),
    Reason("too_large", Fate.REJECT, "The body exceeds the size cap."),
    Reason("redirect_loop", Fate.REJECT, "More redirects than allowed."),
    Reason("blocked_address", Fate.REJECT, "The URL leads to an address that may not be fetched."),
    Reason("bad_url", Fate.REJECT, "Not an http or https URL, or longer than 4,096 bytes."),
    Reason("not_an_image", Fate.REJECT, "The bytes are no image (an HTML page, an empty body)."),
    Reason("unsupported_format", Fate.REJECT, "An image of a format that is not accepted."),
    Reason("too_many_pixels", Fate.REJECT, "The header announces more pixels than allowed."),
    Reason("too_small", Fate.REJECT, "Smaller than a thumbnail is useful for."),
    Reason("decode_error", Fate.REJECT, "The decoder could not read the image."),
    Reason("decoder_crash", Fate.QUARANTINE, "The decoder died or hung on this image."),
    Reason("placeholder", Fate.QUARANTINE, "The same bytes stand for many listings of one data source."),
    Reason("poison", Fate.QUARANTINE, "Workers died at it, or its original was lost, time and again."),
)

REASONS: dict[str, Reason] = {reason.code: reason for reason in _TABLE}

_STATUS = re.compile(r"http_([0-9]+)")


def reason_for(code: str) -> Reason:
    """Return the reason of ``code``; ``http_<status>`` codes are made as needed, for statuses of three digits.

    Any other number is ``protocol``. Raises KeyError for a code that is not in the table: codes are a contract.
    """
    if found := _STATUS.fullmatch(code):
        if len(found[1]) != 3 or found[1][0] == "0":
            return REASONS["protocol"]
        status = int(found[1])
        return Reason(
            code, Fate.RETRY if says_later(status) else Fate.REJECT, f"The host answered with status {status}."
        )
    return REASONS[code]


class ImageFault(Exception):
    """One image failed for a stable reason. ``retry_after`` is in seconds.

    ``detail`` is for people and fits its column, whatever a host's words in it are: bytes that are no text are spelt.
    """

    def __init__(self, code: str, detail: str = "", *, retry_after: float | None = None) -> None:
        self.reason = reason_for(code)
        self.detail = detail[:250].encode("utf-8", "backslashreplace").decode("utf-8")[:250]
        super().__init__(f"{self.reason.code}: {self.detail}" if detail else self.reason.code)
        self.retry_after = retry_after


_INTRO = """# Reasons

Why an image is not live: one stable code per failure, kept in `lis_images.reason`. Made by `make docs` from
`imagesys_lib/images/reasons.py`.

- **failed**: transient. Tried a few times inside its batch, then again by later runs with growing pauses; after
  `retry.max_attempts` (12) it is rejected with the same reason.
- **rejected**: permanent for this URL and ETL version. Taken up again when the ETL changes a listing that shows it, or
  by `imagesys retry`.
- **quarantined**: set aside until somebody releases it with `imagesys retry`, or the ETL changes its listing.

An image that was to be made again stays live whatever the reason, as it was before, until `imagesys retry` or another
forced backfill.

| code | becomes | meaning |
| --- | --- | --- |
"""


def as_markdown() -> str:
    """Return docs/reasons.md."""
    lines = [f"| `{reason.code}` | {reason.fate.value} | {reason.help} |" for reason in _TABLE]
    lines.append(
        "| `http_<status>` | failed for 403, 408, 425, 429 and 5xx, else rejected | The host answered with that status."
        " The data source's `statuses`, then `fetch.statuses`, decide where they name it: `unknown` is failed, as 403"
        " is by default, `gone` is rejected. |"
    )
    return _INTRO + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
