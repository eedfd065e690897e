"""What an answer's header lines say."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

_LONGEST = {"etag": 255, "last-modified": 64}  # as they are stored
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_BLANKS = " \t\r\n"


@dataclass(frozen=True)
class Head:
    """Status and fields of one answer; names are in lower case, of a repeated field the first counts."""

    status: int
    fields: Mapping[str, str]

    @property
    def announced(self) -> float | None:
        """Content-Length in bytes; a float, as a hostile number may have thousands of digits."""
        text = self.fields.get("content-length", "")
        return float(text) if text.isascii() and text.isdigit() else None

    @property
    def location(self) -> str | None:
        """Where a redirect leads, or None. As in browsers, bytes that are not ASCII are sent back as they came."""
        text = self.fields.get("location")
        return text and _NOT_ASCII.sub(lambda found: f"%{ord(found[0]):02X}", text)

    def validator(self, name: str) -> str:
        """Return ``etag`` or ``last-modified``; one too long to store is worth nothing when cut, so it is dropped."""
        value = self.fields.get(name, "")
        return value if len(value) <= _LONGEST[name] else ""

    def retry_after(self, most: float) -> float | None:
        """Return Retry-After in seconds, at most ``most`` (RFC 9110, 10.2.3: seconds or an HTTP date).

        A date is read against the answer's own Date, so that a wrong clock cancels out.
        """
        text = self.fields.get("retry-after", "")
        if text.isascii() and text.isdigit():
            return min(float(text), most)
        until = _http_date(text)
        if until is None:
            return None
        now = _http_date(self.fields.get("date", "")) or datetime.now(timezone.utc)
        return min(max((until - now).total_seconds(), 0.0), most)


def parsed(lines: Sequence[bytes]) -> Head:
    """Read the lines of one answer, the status line first. Raises ValueError where that has no status."""
    fields: dict[str, str] = {}
    name = ""
    for line in lines[1:]:
        text = line.decode("latin-1")
        if text[0] in " \t" and name in fields:  # a folded line goes on with the field before it
            fields[name] = f"{fields[name]} {text.strip(_BLANKS)}"
            continue
        name, _, value = text.partition(":")
        name = name.strip().lower()
        fields.setdefault(name, value.strip(_BLANKS))  # a strip() of all blanks would take bytes of UTF-8, too
    return Head(int(lines[0].split(None, 2)[1]), fields)


def conditions(etag: str, last_modified: str) -> list[bytes]:
    """Return the header lines that make a request conditional. A value that could not have come by HTTP is left out."""
    pairs = (("If-None-Match", etag), ("If-Modified-Since", last_modified))
    return [f"{name}: {value}".encode("latin-1") for name, value in pairs if value and _is_sendable(value)]


def _is_sendable(value: str) -> bool:
    return all(" " <= character <= "ÿ" and character != "\x7f" for character in value)


def _http_date(text: str) -> datetime | None:
    try:
        parsed_date = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return parsed_date if parsed_date.tzinfo else parsed_date.replace(tzinfo=timezone.utc)
