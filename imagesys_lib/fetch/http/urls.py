"""URLs of photos: which may be asked for, in what form they go over the wire, where a redirect leads.

They are read by the WHATWG URL standard (https://url.spec.whatwg.org), as browsers read them.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from ada_url import URL, HostType

from imagesys_lib.config import Fetch
from imagesys_lib.config.hostnames import NAME, host_key
from imagesys_lib.fetch.addresses import is_refused
from imagesys_lib.images.reasons import ImageFault

MAX_URL_BYTES = 4096


@dataclass(frozen=True)
class Wire:
    """A URL as it is sent: ``url`` is canonical ASCII without credentials and fragment, ``target`` its path and query.

    ``host`` is the key that ``host_of`` gives, ``address`` the IP address that the URL names, or ``""``.
    ``authorization`` is a header's value, or ``""``; ``base`` is what a redirect is relative to, with credentials.
    """

    url: str
    host: str
    target: str = "/"
    address: str = ""
    authorization: str = ""
    base: str = ""


def wire(url: str, base: str | None = None) -> Wire:
    """Return what is sent for ``url``, which may be relative to ``base``, the URL that redirects to it.

    A redirect within a host keeps its credentials. Raises ImageFault ``bad_url`` for what is no fetchable http or
    https URL. The length that counts is that of the text given, of a redirect that of the URL it leads to.
    """
    try:
        parsed = URL(url, base)
    except UnicodeEncodeError:
        raise ImageFault("bad_url", "not valid Unicode") from None
    except ValueError:
        raise ImageFault("bad_url", "the URL cannot be parsed") from None
    if len((url if base is None else parsed.href).encode()) > MAX_URL_BYTES:
        raise ImageFault("bad_url", f"longer than {MAX_URL_BYTES} bytes")
    _check(parsed)
    origin = f"{parsed.protocol}//{parsed.host}"
    base, authorization = parsed.href, _authorization(parsed)
    parsed.username = parsed.password = parsed.hash = ""
    path, mark, query = parsed.href.removeprefix(origin).partition("?")
    target = path.replace("|", "%7C") + mark + query  # as Chromium, unlike the standard: some servers refuse it
    address = "" if parsed.host_type is HostType.DEFAULT else parsed.hostname.strip("[]")
    return Wire(origin + target, host_key(parsed), target, address, authorization, base)


def judged_wire(url: str, base: str | None, settings: Fetch) -> Wire:
    """Return :func:`wire` of a URL whose address, if it names one, may be connected to; else ``blocked_address``.

    Behind a proxy nobody else would judge that address.
    """
    made = wire(url, base)
    if made.address and is_refused(made.address, settings.allowed_addresses, settings.denied_addresses):
        raise ImageFault("blocked_address", f"{made.host}: {made.address} may not be fetched from")
    return made


def _check(url: URL) -> None:
    if url.protocol not in ("http:", "https:"):
        raise ImageFault("bad_url", f"scheme {url.protocol[:20]!r} is not http or https")
    if url.port == "0":
        raise ImageFault("bad_url", "port 0")
    # Nothing that curl would read differently than we did gets through.
    if url.host_type is HostType.DEFAULT and (len(url.hostname) > 254 or not NAME.fullmatch(url.hostname)):
        raise ImageFault("bad_url", "the host is no valid name")


def _authorization(url: URL) -> str:
    if not url.username and not url.password:
        return ""
    pair = unquote_to_bytes(url.username) + b":" + unquote_to_bytes(url.password)
    return "Basic " + base64.b64encode(pair).decode("ascii")
