"""The one name of a photo host, however a feed or the configuration spells it."""

from __future__ import annotations

import contextlib
import re
from urllib.parse import SplitResult, urlsplit

import idna

NAME = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
_NO_HOST = re.compile(r"[/\\?#@\s]")
_KEY = re.compile(rf"(?:{NAME.pattern}|\[[0-9a-f:.]+\])(?::[1-9][0-9]*)?")
_PORTS = {"http": 80, "https": 443}


def host_of(url: str) -> str:
    """Return the key under which the host of a URL is limited and left alone; ``""`` if it has none.

    However a feed spells a host, it is one: lower case, punycode, without a last dot or the scheme's own port.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    return host_key(parts, port)


def host_key(parts: SplitResult, port: int | None) -> str:
    """Return the same of a URL in its parts."""
    name = (parts.hostname or "").rstrip(". ")
    if ":" in name:
        name = f"[{name}]"
    elif not name.isascii():
        with contextlib.suppress(UnicodeError):  # no such name can be asked, but it is a key all the same
            name = idna.encode(name, uts46=True).decode("ascii")
    return name if port in (None, _PORTS.get(parts.scheme)) else f"{name}:{port}"


def configured_host(text: str) -> str:
    """Return the key of a host that is written ``name`` or ``name:port``. Raises ValueError for anything else."""
    key = min((host_of(f"{scheme}://{text}") for scheme in _PORTS), key=len)
    if _NO_HOST.search(text) or not _KEY.fullmatch(key):
        raise ValueError(f"{text!r} is no host: write its name or address, with a port only where it has its own")
    return key
