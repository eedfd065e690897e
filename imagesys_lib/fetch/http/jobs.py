"""What the fetcher is given and what it hands back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imagesys_lib.images.reasons import ImageFault


@dataclass(frozen=True)
class FetchJob:
    """One image to fetch. ``key`` is the caller's; with ``etag`` or ``last_modified`` the request is conditional."""

    key: int
    url: str
    target: Path
    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True)
class Fetched:
    """A body on disk. ``sha1`` (hex) and ``size`` (bytes) are of the decoded body; no header is ``""``."""

    sha1: str
    size: int
    content_type: str
    final_url: str
    etag: str
    last_modified: str


@dataclass(frozen=True)
class NotModified:
    """The host says that the image is as the job's validators describe it (status 304). Nothing is on disk."""

    final_url: str


@dataclass(frozen=True)
class Unattempted:
    """The limiter gave the host up for now: ``wait`` seconds until it may be asked."""

    wait: float


@dataclass(frozen=True)
class Outcome:
    """How a job ended; ``host`` is the key of the last host that was, or was to be, asked, after ``hops`` redirects."""

    job: FetchJob
    result: Fetched | NotModified | Unattempted | ImageFault
    host: str
    hops: int = 0
