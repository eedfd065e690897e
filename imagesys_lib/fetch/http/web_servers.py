"""A fetcher for the nodes' web servers, which the configuration names."""

from __future__ import annotations

import threading
from ipaddress import ip_network

from imagesys_lib.config import Fetch
from imagesys_lib.fetch.http.fetcher import Fetcher

_ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def web_server_fetcher(settings: Fetch, stop: threading.Event) -> Fetcher:
    """Return a fetcher for URLs of the configuration.

    Whoever wrote one may mean a private address, and no other host answers in its place: no proxy, no redirects.
    """
    overrides = {"allowed_addresses": _ANYWHERE, "proxy": None, "max_redirects": 0}
    return Fetcher(settings.model_copy(update=overrides), stop=stop)
