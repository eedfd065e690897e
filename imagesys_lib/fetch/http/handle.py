"""One curl handle as this project wants it: all that is the same for every request."""

from __future__ import annotations

import math

import certifi
import pycurl

from imagesys_lib.config import Fetch

pycurl.global_init(pycurl.GLOBAL_DEFAULT)  # once a process, before any thread

_BUFFER = 256 * 1024
_KNOWN_FOR = 300  # seconds that an address is kept; it is judged at every connection all the same
_SUPPRESS_CONNECT_HEADERS = 265  # CURLOPT_*, which pycurl has no name for: a proxy's answer is not the host's


def make_handle(settings: Fetch) -> pycurl.Curl:
    """Return a handle that takes nothing from the environment and keeps nothing from one request to the next.

    No cookies, HSTS or alternative services: libcurl has them off until they are asked for.
    """
    handle = pycurl.Curl()
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    handle.setopt(pycurl.HTTP09_ALLOWED, 0)
    handle.setopt(pycurl.FOLLOWLOCATION, 0)
    handle.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
    handle.setopt(pycurl.PROXY, settings.proxy or "")  # "" and not unset: then curl would look into the environment
    handle.setopt(pycurl.NOPROXY, "" if settings.proxy else "*")
    handle.setopt(_SUPPRESS_CONNECT_HEADERS, 1)
    handle.setopt(pycurl.SSL_VERIFYPEER, 1)
    handle.setopt(pycurl.SSL_VERIFYHOST, 2)
    handle.setopt(pycurl.CAINFO, certifi.where())  # curl's own default is another distribution's path
    handle.unsetopt(pycurl.CAPATH)  # with a directory too, curl could not keep the parsed bundle between connections
    handle.setopt(pycurl.USERAGENT, settings.user_agent)
    handle.setopt(pycurl.CONNECTTIMEOUT_MS, math.ceil(settings.connect_timeout * 1000))
    handle.setopt(pycurl.DNS_CACHE_TIMEOUT, _KNOWN_FOR)
    handle.setopt(pycurl.BUFFERSIZE, _BUFFER)
    return handle
