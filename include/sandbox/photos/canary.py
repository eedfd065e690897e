"""The known photo of the sandbox's canary: the web site serves it, the configuration says what it is."""

from __future__ import annotations

import hashlib
import io
from functools import cache
from typing import Any

from PIL import Image

from include.sandbox.feed.manifest import Manifest, ManifestEntry
from include.sandbox.settings import WEB_HOSTS, SandboxSettings

_SIZE = (640, 480)


def canary_settings(settings: SandboxSettings) -> dict[str, Any]:
    """`canary` of countries.yaml."""
    sha1 = hashlib.sha1(_photo(), usedforsecurity=False).hexdigest()
    return {"url": _url(settings), "sha1": sha1}


def serve_canary(settings: SandboxSettings) -> None:
    """Have the web site serve it, beside the photos of all countries."""
    file = settings.web_dir / "canary.jpg"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_photo())
    width, height = _SIZE
    entry = ManifestEntry(
        url=_url(settings),
        kind="ok",
        file=str(file),
        media_type="image/jpeg",
        width=width,
        height=height,
        photo_class="baseline",
        original="",
        listing_ids=(),
        datasource_ids=(),
        local_day="",
    )
    Manifest(settings).write("canary", 0, [entry])


def _url(settings: SandboxSettings) -> str:
    return f"http://{WEB_HOSTS[0]}:{settings.port('website')}/canary.jpg"


@cache
def _photo() -> bytes:
    down = Image.linear_gradient("L").resize(_SIZE)
    bands = (down, down.transpose(Image.Transpose.ROTATE_180), Image.radial_gradient("L").resize(_SIZE))
    file = io.BytesIO()
    Image.merge("RGB", bands).save(file, "JPEG", quality=90)
    return file.getvalue()
