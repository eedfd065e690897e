"""What an HTTP status says of a photo where neither its data source nor the configuration says otherwise."""

from __future__ import annotations

RETRIED_STATUSES = frozenset({408, 425, 429})
"""Client-error statuses that say "later" (RFC 9110, 8470, 6585); every 5xx does too."""


def says_later(status: int) -> bool:
    """Say whether a photo with this status is tried again; any other is gone for good."""
    return status in RETRIED_STATUSES or status >= 500
