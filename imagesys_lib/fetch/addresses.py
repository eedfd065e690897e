"""Which addresses may be connected to: only what is globally routable, and what the configuration opens.

Python's own ``is_global`` differs between patch releases, so the tables are written out here, from IANA's
special-purpose registries (https://www.iana.org/assignments/iana-ipv4-special-registry and -ipv6-).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

IpNetwork = IPv4Network | IPv6Network

_REFUSED_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network: Linux connects 0.0.0.0 to itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and some clouds' metadata services
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, and most clouds' metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_GLOBAL_6 = IPv6Network("2000::/3")  # all that IANA has ever given out; what lies outside is refused
_REFUSED_6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
_COMPATIBLE = IPv6Network("::/96")
_MAPPED = IPv6Network("::ffff:0:0/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_NAT64 = IPv6Network("64:ff9b::/96")  # the local prefix 64:ff9b:1::/48 has no fixed place for an IPv4 address
_ONLY_AS_GOOD_AS_EMBEDDED = (_MAPPED, _NAT64)
_LOW = 0xFFFF_FFFF


def is_refused(address: str, allowed: Iterable[IpNetwork] = (), denied: Iterable[IpNetwork] = ()) -> bool:
    """Say whether ``address`` (text, perhaps with a zone) may not be connected to.

    An IPv6 address that embeds an IPv4 one is judged with it: it must be public in both, or ``allowed`` in either.
    What is ``denied`` in either is refused whatever else holds.
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return True
    inside = embedded(ip)
    both = [ip] if inside is None else [ip, inside]
    if any(one in network for network in denied for one in both):
        return True
    if any(one in network for network in allowed for one in both):
        return False
    return not _is_public(ip)


def embedded(ip: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 one leads to: mapped, compatible, 6to4, Teredo's client, NAT64."""
    if isinstance(ip, IPv4Address):
        return None
    number = int(ip)
    if ip in _MAPPED or ip in _NAT64 or (ip in _COMPATIBLE and number > 1):
        return IPv4Address(number & _LOW)
    if ip in _SIX_TO_FOUR:
        return IPv4Address(number >> 80 & _LOW)
    if ip in _TEREDO:
        return IPv4Address(~number & _LOW)  # RFC 4380, 4: stored inverted
    return None


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _REFUSED_4)
    if any(ip in network for network in _ONLY_AS_GOOD_AS_EMBEDDED):
        inside = embedded(ip)
        return inside is not None and _is_public(inside)
    return ip in _GLOBAL_6 and not any(ip in network for network in _REFUSED_6)
