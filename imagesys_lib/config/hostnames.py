"""The one name of a photo host, however a feed or the configuration spells it."""

from __future__ import annotations

import re

from ada_url import URL

NAME = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
_NO_HOST = re.compile(r"[/\\?#@\s]")
_KEY = re.compile(rf"(?:{NAME.pattern}|\[[0-9a-f:.]+\])(?::[1-9][0-9]*)?")


def host_of(url: str) -> str:
    """Return the key under which the host of a URL is limited and left alone; ``""`` if it has none.

    However a feed spells a host, it is one, by the WHATWG URL standard: lower case, punycode, addresses in one form,
    without a last dot or the scheme's own port.
    """
    try:
        return host_key(URL(url))
    except ValueError:
        return ""


def host_key(url: URL) -> str:
    """Return the key under which the host of a parsed URL is limited and left alone."""
    name = url.hostname.removesuffix(".")
    return f"{name}:{url.port}" if url.port else name


def configured_host(text: str) -> str:
    """Return the key of a host that is written ``name`` or ``name:port``. Raises ValueError for anything else."""
    key = min((host_of(f"{scheme}://{text}") for scheme in ("http", "https")), key=len)
    if _NO_HOST.search(text) or not _KEY.fullmatch(key):
        raise ValueError(f"{text!r} is no host: write its name or address, with a port only where it has its own")
    return key
