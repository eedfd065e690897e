"""URLs of photos: which may be asked for, in what form they go over the wire, where a redirect leads."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

import idna

from imagesys_lib.hostnames import NAME, host_key
from imagesys_lib.reasons import ImageFault

MAX_URL_BYTES = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ZONE = re.compile(r"[A-Za-z0-9._~-]{1,32}")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SAFE = "!$&'()*+,/:;=@~%"


@dataclass(frozen=True)
class Wire:
    """A URL as it is sent: ASCII, no credentials, no fragment. ``host`` is the key that ``host_of`` gives.

    ``authorization`` is a header's value, or ``""``; ``shown`` is the URL as it came, but without credentials.
    """

    url: str
    host: str
    authorization: str = ""
    shown: str = ""


def wire(url: str) -> Wire:
    """Return what is sent for ``url``. Raises ImageFault ``bad_url`` for what is no fetchable http or https URL."""
    parts, port = _split(url)
    name = _literal(parts.hostname or "") if "[" in parts.netloc else _name(parts.hostname or "")
    at = f"{name}:{port}" if port is not None else name
    query = f"?{_encoded(parts.query, _SAFE + '?')}" if parts.query else ""
    path = _encoded(parts.path, _SAFE) or "/"
    netloc = parts.netloc.rpartition("@")[2]
    shown = parts._replace(netloc=netloc).geturl()
    return Wire(f"{parts.scheme}://{at}{path}{query}", host_key(parts, port), _authorization(parts), shown)


def joined(url: str, location: str) -> str:
    """Return where a redirect from ``url`` leads. A Location without a host keeps the credentials of ``url``."""
    try:
        return urljoin(url, location.strip())
    except ValueError:
        raise ImageFault("bad_url", "a redirect to a URL that cannot be parsed") from None


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        length = len(url.encode("utf-8"))
    except UnicodeEncodeError:
        raise ImageFault("bad_url", "not valid Unicode") from None
    if length > MAX_URL_BYTES:
        raise ImageFault("bad_url", f"longer than {MAX_URL_BYTES} bytes")
    if _CONTROL.search(url):
        raise ImageFault("bad_url", "control characters in the URL")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ImageFault("bad_url", "the URL cannot be parsed") from None
    if parts.scheme not in ("http", "https"):
        raise ImageFault("bad_url", f"scheme {parts.scheme[:20]!r} is not http or https")
    if not parts.hostname:
        raise ImageFault("bad_url", "no host in the URL")
    if port == 0:
        raise ImageFault("bad_url", "port 0")
    return parts, port


def _name(name: str) -> str:
    """Return a host's name as it is sent. Nothing that curl would read differently than we did gets through."""
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except UnicodeError:
            raise ImageFault("bad_url", "the host is no valid international name") from None
    if len(name) > 254 or not NAME.fullmatch(name):
        raise ImageFault("bad_url", "the host is no valid name")
    return name


def _literal(name: str) -> str:
    address, percent, zone = name.partition("%")
    zone = zone.removeprefix("25")
    try:
        IPv6Address(address)
    except ValueError:
        raise ImageFault("bad_url", "the host is no valid address") from None
    if percent and not _ZONE.fullmatch(zone):
        raise ImageFault("bad_url", "the host is no valid address")
    return f"[{address}%25{zone}]" if percent else f"[{address}]"


def _encoded(text: str, safe: str) -> str:
    """Percent-encode what may not be sent as it is; what is encoded already (%3F) stays."""
    return _STRAY_PERCENT.sub("%25", quote(text, safe=safe))


def _authorization(parts: SplitResult) -> str:
    if parts.username is None and parts.password is None:
        return ""
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")
