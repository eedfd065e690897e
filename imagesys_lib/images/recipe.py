"""The recipe of a thumbnail: a short fingerprint of every setting that determines its bytes.

An image's recipe makes its thumbnails out of the original that its row speaks of. One whose newest original has no
thumbnails yet, or never had, has none, whatever older thumbnails are shown of it.
"""

from __future__ import annotations

import hashlib
import json

from imagesys_lib.config import CountryConfig

ENGINE_VERSION = 3
"""Counted up when equal settings come out differently: a forced run then makes thumbnails anew."""


def recipe(config: CountryConfig, datasource_id: int) -> str:
    """Return 16 hex digits; equal ones promise equal thumbnails of equal originals."""
    details = config.process_details(datasource_id)
    parts = {
        "engine": ENGINE_VERSION,
        "sizes": [size.model_dump() for size in config.sizes],
        "details": {"sharpen": details.sharpen, "gamma": details.gamma, "quality": details.quality},
        "encoder": config.thumbnail.encoder,
        "siblings": sorted(config.thumbnail.siblings),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
