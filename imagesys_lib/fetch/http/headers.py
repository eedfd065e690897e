"""What an answer's header lines say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imagesys_lib.images.reasons import ImageFault

_BLANKS = " \t\r\n"
_STATUS = re.compile(rb"HTTP/[0-9.]*[ \t]+([1-9][0-9]{2})", re.IGNORECASE)  # and no more: as curl reads it
_LISTS = frozenset({"content-encoding"})
_LONGEST = {"etag": 255, "last-modified": 64}  # as they are stored
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


@dataclass(frozen=True)
class Head:
    """Status and fields of one answer; names are in lower case, of a repeated field the first counts.

    Where a field is a list, as Content-Encoding is, its repetitions are one.
    """

    status: int
    fields: Mapping[str, str]

    @property
    def announced(self) -> float | None:
        """Content-Length in bytes; a float, as a hostile number may have thousands of digits. ``5, 5`` is 5."""
        text = self.fields.get("content-length", "").partition(",")[0].strip()
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


def parsed(lines: Sequence[bytes]) -> Head:
    """Read the lines of one answer, the status line first. Raises ImageFault ``protocol`` where that has no status.

    Values are stripped of what HTTP calls blank, and not of the bytes that are blank in Latin-1: they may be UTF-8.
    """
    status = _STATUS.match(lines[0]) if lines else None
    if status is None:
        raise ImageFault("protocol", "no line with a status of three digits")
    fields: dict[str, str] = {}
    name = ""
    for line in lines[1:]:
        text = line.decode("latin-1")
        if text[0] in " \t" and name in fields:  # a folded line goes on with the field before it
            fields[name] = f"{fields[name]} {text.strip(_BLANKS)}"
            continue
        name, _, value = text.partition(":")
        name, value = name.strip(_BLANKS).lower(), value.strip(_BLANKS)
        fields[name] = f"{fields[name]}, {value}" if name in fields and name in _LISTS else fields.get(name, value)
    return Head(int(status[1]), fields)


def conditions(etag: str, last_modified: str) -> list[bytes]:
    """Return the header lines that make a request conditional. A value that could not have come by HTTP is left out."""
    pairs = (("If-None-Match", etag), ("If-Modified-Since", last_modified))
    return [f"{name}: {value}".encode("latin-1") for name, value in pairs if value and _is_sendable(value)]


def _is_sendable(value: str) -> bool:
    return all(" " <= character <= "ÿ" and character != "\x7f" for character in value)
