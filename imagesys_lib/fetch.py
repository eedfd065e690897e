"""Fetch one photo from a foreign web server: bounded in time, size and redirects, one reason a failure."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import http.client
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
from urllib3 import exceptions as u3

from imagesys_lib.config import Fetch
from imagesys_lib.errors import Stopped
from imagesys_lib.files import atomic_writer
from imagesys_lib.reasons import ImageFault
from imagesys_lib.transport import CHUNK, GUARD, POLL, Guard, GuardedAdapter, fault_of

__all__ = ["Fetched", "Fetcher", "Stopped"]

MAX_URL_BYTES = 4096
MAX_RETRY_AFTER = 86_400.0
_NETWORK = (u3.HTTPError, http.client.HTTPException, OSError)  # requests' own are OSErrors
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Fetched:
    """A body on disk. ``sha1`` (hex) and ``size`` (bytes) are of the decoded body; no header is ``""``."""

    sha1: str
    size: int
    content_type: str
    final_url: str
    etag: str
    last_modified: str


class Fetcher:
    """Fetches photos; one object serves ``settings.in_flight`` threads at once. Use it in a ``with`` block.

    It takes no proxy, netrc or CA bundle from the environment, keeps no cookies (one image's answer must not
    depend on another's), verifies TLS, and holds at most ``settings.per_host`` requests in flight per host.
    """

    def __init__(self, settings: Fetch, stop: threading.Event | None = None) -> None:
        self._settings = settings
        self._stop = stop or threading.Event()
        self._lock = threading.Lock()
        self._hosts: dict[tuple[str, int], threading.Semaphore] = {}
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # identity: photos are compressed already, and a plain body can be checked against its Content-Length.
        self._session.headers.update(
            {"User-Agent": settings.user_agent, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
        )
        adapter = GuardedAdapter(pool_connections=64, pool_maxsize=settings.in_flight, max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all idle connections."""
        self._session.close()

    def fetch(self, url: str, target: Path) -> Fetched:
        """Write the body of ``url`` to ``target`` atomically, in one attempt (retrying is the caller's).

        The deadline of ``settings.image_deadline`` seconds covers all but the wait for the host's turn.
        Raises ImageFault with the reason (``retry_after`` in seconds where the host asked), Stopped, or
        DiskFull; after any of them nothing is on disk. Messages name the host only: URLs may carry secrets.
        """
        guard = Guard(self._settings, self._stop)
        token = GUARD.set(guard)
        try:
            for _hop in range(self._settings.max_redirects + 1):
                host = _checked(url)
                with self._turn(host, guard), contextlib.closing(self._request(url, host, guard)) as response:
                    location = response.headers.get("Location")
                    if response.status_code not in _REDIRECTS or location is None:
                        return self._save(response, url, target, guard)
                url = _joined(url, location)
            raise ImageFault("redirect_loop", f"more than {self._settings.max_redirects} redirects")
        finally:
            GUARD.reset(token)

    @contextlib.contextmanager
    def _turn(self, host: tuple[str, int], guard: Guard) -> Iterator[None]:
        """Hold one of the host's places. Each hop takes its own, so no thread waits while holding one."""
        with self._lock:
            places = self._hosts.setdefault(host, threading.Semaphore(self._settings.per_host))
        began = time.monotonic()
        while not places.acquire(timeout=POLL):
            if self._stop.is_set():
                raise Stopped
        guard.deadline += time.monotonic() - began
        try:
            yield
        finally:
            places.release()

    def _request(self, url: str, host: tuple[str, int], guard: Guard) -> requests.Response:
        guard.remaining()
        timeout = (self._settings.connect_timeout, self._settings.read_timeout)
        try:
            return self._session.get(url, stream=True, allow_redirects=False, timeout=timeout)
        except (*_NETWORK, ValueError) as error:
            raise fault_of(error, host[0]) from None  # the cause's text holds the whole URL

    def _save(self, response: requests.Response, url: str, target: Path, guard: Guard) -> Fetched:
        headers, limit = response.headers, self._settings.max_bytes
        if not 200 <= response.status_code < 300:
            raise ImageFault(f"http_{response.status_code}", retry_after=_retry_after(headers))
        if response.status_code == 206:
            raise ImageFault("protocol", "a partial answer (206) that was not asked for")
        announced = headers.get("Content-Length", "")
        if announced.isascii() and announced.isdigit() and float(announced) > limit:
            raise ImageFault("too_large", f"{announced[:20]} bytes announced, {limit} allowed")
        digest, size = hashlib.sha1(usedforsecurity=False), 0
        chunk = _read(response, url)
        if not chunk:
            raise ImageFault("not_an_image", "an empty body")
        with atomic_writer(target) as file:
            while chunk:
                size += len(chunk)
                if size > limit:
                    raise ImageFault("too_large", f"more than {limit} bytes")
                digest.update(chunk)
                file.write(chunk)
                guard.remaining()
                chunk = _read(response, url)
        return Fetched(
            sha1=digest.hexdigest(),
            size=size,
            content_type=headers.get("Content-Type", "")[:100],
            final_url=_without_credentials(url),
            etag=_validator(headers, "ETag"),
            last_modified=_validator(headers, "Last-Modified"),
        )


def _checked(url: str) -> tuple[str, int]:
    """Return (host, port). Raises ImageFault ``bad_url`` for what is not a fetchable http or https URL."""
    try:
        length = len(url.encode("utf-8"))
    except UnicodeEncodeError:
        raise ImageFault("bad_url", "not valid Unicode") from None
    if length > MAX_URL_BYTES:
        raise ImageFault("bad_url", f"longer than {MAX_URL_BYTES} bytes")
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in url):
        raise ImageFault("bad_url", "control characters in the URL")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ImageFault("bad_url", "the URL cannot be parsed") from None
    if parts.scheme.lower() not in ("http", "https"):
        raise ImageFault("bad_url", f"scheme {parts.scheme[:20]!r} is not http or https")
    if not parts.hostname:
        raise ImageFault("bad_url", "no host in the URL")
    return parts.hostname, port or (443 if parts.scheme.lower() == "https" else 80)


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location.strip())
    except ValueError:
        raise ImageFault("bad_url", "a redirect to a URL that cannot be parsed") from None


def _without_credentials(url: str) -> str:
    parts: SplitResult = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _read(response: requests.Response, url: str) -> bytes:
    """Return the next decoded bytes, at most a chunk, as soon as there are any; empty at the end."""
    try:
        data: bytes = response.raw.read1(CHUNK, decode_content=True)
    except _NETWORK as error:
        raise fault_of(error, urlsplit(url).hostname or "", in_body=True) from None
    return data


def _validator(headers: Mapping[str, str], name: str) -> str:
    """Return a cache validator; one too long to store is worth nothing when cut, so it is dropped."""
    value = headers.get(name, "")
    return value if len(value) <= 255 else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return Retry-After in seconds, clamped to a day (RFC 9110, 10.2.3: seconds or an HTTP date).

    A date is read against the answer's own Date header, so that a wrong clock cancels out.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_RETRY_AFTER)
    until = _http_date(text)
    if until is None:
        return None
    now = _http_date(headers.get("Date", "")) or datetime.now(timezone.utc)
    return min(max((until - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


def _http_date(text: str) -> datetime | None:
    try:
        parsed = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)
