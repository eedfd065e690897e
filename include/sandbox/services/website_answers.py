"""What the web site answers for each kind of URL: a description of the answer; sending it is
`website_server`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path

from include.sandbox.feed.manifest import ManifestEntry

FLAKY_FAILURES = 2
REDIRECTED = "/redirected"
"""Prefix of the address that a `redirect` points to."""

_REFUSALS = {"missing": 404, "gone": 410, "forbidden": 403, "always_500": 500}
_HTML = b"<!doctype html><html><head><title>Sorry</title></head><body><h1>No longer listed</h1></body></html>"
_SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="480"><circle r="200"/></svg>'
_NOT_PHOTOS = {"html": _HTML, "svg": _SVG, "empty": b""}


@dataclass(frozen=True)
class Answer:
    """A response. `declared` is Content-Length where it differs from the body; `pace` says how the body is
    sent.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    declared: int | None = None
    pace: str = "at once"  # or "slowly" (about 1.5 s), "drip" (a byte a second, for ever)
    close: bool = False
    kind: str = ""


def answer_for(entry: ManifestEntry, seen_before: int, headers: dict[str, str], redirected: bool = False) -> Answer:
    """The answer to a request for this entry that `seen_before` others of the same path have preceded."""
    match entry.kind:
        case "missing" | "gone" | "forbidden" | "always_500":
            return plain(_REFUSALS[entry.kind], entry.kind)
        case "flaky" if seen_before < FLAKY_FAILURES:
            return plain(500, entry.kind)
        case "redirect" if not redirected:
            return Answer(302, headers={"Location": REDIRECTED + entry.target}, kind=entry.kind)
        case "html" | "svg" | "empty":
            return Answer(200, _NOT_PHOTOS[entry.kind], {"Content-Type": "image/jpeg"}, kind=entry.kind)
    return _photo(entry, headers)


def plain(status: int, kind: str = "unknown") -> Answer:
    text = f"{status} {HTTPStatus(status).phrase}\n"
    return Answer(status, text.encode(), {"Content-Type": "text/plain; charset=utf-8"}, kind=kind)


def _photo(entry: ManifestEntry, headers: dict[str, str]) -> Answer:
    file = Path(entry.file)
    try:
        stat = file.stat()
    except FileNotFoundError:
        return Answer(
            500,
            f"the sandbox lost the file {file}: start it again with the same arguments\n".encode(),
            kind="lost",
        )
    media_type = "image/jpeg" if entry.kind == "png_as_jpeg" else entry.media_type
    etag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
    described = {
        "Content-Type": media_type,
        "ETag": etag,
        "Last-Modified": formatdate(stat.st_mtime, usegmt=True),
    }
    if _is_unchanged(headers, etag, int(stat.st_mtime)):
        return Answer(304, headers={"ETag": etag}, kind=entry.kind)
    body = file.read_bytes()
    if entry.marked:
        body = with_comment(body, entry.target)
    if entry.kind == "truncated":
        return Answer(200, body[: len(body) // 2], described, declared=len(body), close=True, kind=entry.kind)
    pace = {"slow": "slowly", "drip": "drip"}.get(entry.kind, "at once")
    return Answer(200, body, described, pace=pace, kind=entry.kind)


def with_comment(jpeg: bytes, text: str) -> bytes:
    """The JPEG with a comment right after its start (ITU T.81, B.2.4.5): the same picture in other bytes."""
    if not jpeg.startswith(b"\xff\xd8"):
        raise ValueError("not a JPEG")
    body = text.encode()
    return jpeg[:2] + b"\xff\xfe" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def _is_unchanged(headers: dict[str, str], etag: str, modified: int) -> bool:
    """RFC 9110, 13.2.2: If-None-Match, where it is given, decides alone."""
    if "if-none-match" in headers:
        return headers["if-none-match"].strip() == "*" or etag in [
            tag.strip().removeprefix("W/") for tag in headers["if-none-match"].split(",")
        ]
    if "if-modified-since" in headers:
        try:
            return modified <= parsedate_to_datetime(headers["if-modified-since"]).timestamp()
        except ValueError:
            return False
    return False
