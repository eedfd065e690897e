"""Retry-After: for how long a host asks to be left alone, and which of its answers may ask for that."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from datetime import datetime, timezone

_OF_THE_HOST = frozenset({403, 408, 429})  # beside 5xx: of other statuses Retry-After cannot mean the whole host


def retry_after(status: int, fields: Mapping[str, str], most: float) -> float | None:
    """Return the seconds that an answer asks for, at most ``most`` (RFC 9110, 10.2.3: seconds or an HTTP date).

    A date is read against the answer's own Date, so that a wrong clock cancels out.
    """
    if status not in _OF_THE_HOST and status < 500:
        return None
    text = fields.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return min(float(text), most)
    until = _http_date(text)
    if until is None:
        return None
    now = _http_date(fields.get("date", "")) or datetime.now(timezone.utc)
    return min(max((until - now).total_seconds(), 0.0), most)


def _http_date(text: str) -> datetime | None:
    try:
        parsed_date = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return parsed_date if parsed_date.tzinfo else parsed_date.replace(tzinfo=timezone.utc)
