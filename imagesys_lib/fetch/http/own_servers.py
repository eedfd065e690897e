"""A fetcher for our own servers, which the configuration names: the nodes' web servers."""

from __future__ import annotations

import threading
from ipaddress import ip_network

from imagesys_lib.config import Fetch
from imagesys_lib.fetch.http.fetcher import Fetcher

_ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def own_fetcher(settings: Fetch, stop: threading.Event) -> Fetcher:
    """Return it: whoever configured a URL may mean a private address, and no other host answers in its place."""
    overrides = {"allowed_addresses": _ANYWHERE, "proxy": None, "max_redirects": 0}
    return Fetcher(settings.model_copy(update=overrides), stop=stop)
