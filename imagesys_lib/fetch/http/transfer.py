"""One request: what comes back is written to a file as it comes, and ends as a body, a redirect or a fault."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import pycurl

from imagesys_lib.config import Fetch
from imagesys_lib.fetch.http.codings import BodyDecoder
from imagesys_lib.fetch.http.dialler import Dialler
from imagesys_lib.fetch.http.faults import curl_fault
from imagesys_lib.fetch.http.headers import Head, conditions, parsed
from imagesys_lib.fetch.http.jobs import Fetched, NotModified
from imagesys_lib.fetch.http.queues import Task
from imagesys_lib.fetch.http.urls import Wire
from imagesys_lib.fetch.politeness.retry_after import retry_after
from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.storage.atomic_files import AtomicFile
from imagesys_lib.thumbnail.decoding.sniff import HEAD_BYTES, sniff

MAX_HEADER_BYTES = 256 * 1024  # as Chromium; curl takes 5,000 lines, and none of more than 100 KB
_BY_TIME = frozenset({"dns", "connect", "tls", "timeout", "too_slow", "truncated"})  # what waiting in vain may come to
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_READ_THROUGH = 64 * 1024  # bytes of an error page read for the sake of the connection
_WRITE_AT = 256 * 1024  # bytes hashed and written at once: most images touch the disk only when they are whole
_ABORT = 0  # what a callback returns to end the transfer: not the number of bytes it was given


@dataclass(frozen=True)
class Redirect:
    """Where the host sent us."""

    location: str


def _target(wire: Wire, proxy: str | None) -> str:
    """Return what is asked for, to the byte: curl would change the spelling of a path (RFC 9112, 3.2)."""
    in_full = proxy is not None and proxy.startswith("http") and wire.url.startswith("http:")
    return wire.url if in_full else wire.target


TransferVerdict = Redirect | NotModified | ImageFault


class HttpTransfer:
    """One request for a task's current hop on ``handle``, which may take ``seconds``.

    ``on_dial(handle)`` is called when the host's name has resolved and a connection is begun. What a callback raises
    pycurl would only print: it is kept, the request is aborted, and :meth:`end` raises it.
    """

    def __init__(
        self,
        handle: pycurl.Curl,
        settings: Fetch,
        task: Task,
        seconds: float,
        on_dial: Callable[[pycurl.Curl], None],
    ) -> None:
        self.handle, self.task = handle, task
        self._settings, self._seconds = settings, seconds
        self._dialler = Dialler(settings, lambda: on_dial(handle), self._fail)
        self._lines: list[bytes] = []
        self._header_bytes = self._body_bytes = 0  # as they came
        self._head: Head | None = None
        self._body: BodyDecoder | None = None
        self._is_whole = False
        self._verdict: TransferVerdict | None = None
        self._error: BaseException | None = None
        self._digest = hashlib.sha1(usedforsecurity=False)
        self._chunks: list[bytes] = []
        self._held = self._size = 0
        self._file: AtomicFile | None = None
        self.began = time.monotonic()
        self.received = 0  # bytes of header lines and body
        self.away = 0.0  # seconds in which we did not look at it
        lines = conditions(task.job.etag, task.job.last_modified)
        self._is_conditional = bool(lines)
        lines.append(b"Accept: image/*,*/*;q=0.5")
        # Photos are compressed already. As an option of curl's it would make curl decode what comes all the same.
        lines.append(b"Accept-Encoding: identity")
        if task.wire.authorization:
            lines.append(f"Authorization: {task.wire.authorization}".encode("ascii"))
        handle.setopt(pycurl.URL, task.wire.url)
        handle.setopt(pycurl.REQUEST_TARGET, _target(task.wire, settings.proxy))
        handle.setopt(pycurl.HTTPHEADER, lines)
        handle.setopt(pycurl.FRESH_CONNECT, task.fresh)
        handle.setopt(pycurl.TIMEOUT_MS, max(1, math.ceil(seconds * 1000)))
        handle.setopt(pycurl.HEADERFUNCTION, self._on_header)
        handle.setopt(pycurl.WRITEFUNCTION, self._on_body)
        self._dialler.attach(handle)

    def end(self, code: int, words: str) -> Fetched | TransferVerdict:
        """Return what the request came to; ``code`` is curl's, 0 for success.

        Raises DiskFull, or whatever else a callback met. Except for Fetched nothing is on disk.
        """
        try:
            if self._error is not None:
                raise self._error
            verdict = self._verdict or self._judged(code, words)
            if verdict is not None:
                return verdict
            return self._whole()
        except ImageFault as fault:
            return ImageFault(fault.reason.code, f"{self._name}: {fault.detail}")
        finally:
            self.discard()

    def discard(self) -> None:
        """Leave nothing on disk of an unfinished request."""
        self._chunks, self._held = [], 0
        if self._file is not None:
            self._file.discard()
            self._file = None

    def cut(self, fault: ImageFault) -> None:
        """Let the request end with ``fault``, unless the answer has already said how it ends."""
        self._verdict = self._verdict or fault

    @property
    def in_body(self) -> bool:
        """Whether the head of the answer is there."""
        return self._head is not None

    @property
    def is_connected(self) -> bool:
        """Whether the request could be sent: name resolved, connected, TLS agreed."""
        return float(self.handle.getinfo(pycurl.PRETRANSFER_TIME)) > 0

    def is_to_be_made_again(self, fault: ImageFault) -> bool:
        """Say whether it failed by our absence, or by what another answer had left on its connection.

        In the latter case the next try gets a connection of its own (``task.fresh``).
        """
        task, code = self.task, fault.reason.code
        task.fresh = code == "protocol" and not self.in_body and not self.handle.getinfo(pycurl.NUM_CONNECTS)
        is_ours = self.away > 0 and code in _BY_TIME and task.spent < self._settings.image_deadline
        return task.fresh or is_ours

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error

    # Callbacks. They run inside curl, so they never raise.

    def _on_header(self, line: bytes) -> int | None:
        try:
            self.received += len(line)
            self._header_bytes += len(line)
            # Over all answers of a request, so that neither interim answers nor trailers are endless.
            if self._header_bytes > MAX_HEADER_BYTES:
                raise ImageFault("protocol", "more headers than allowed")
            if self._head is not None:  # a trailer
                return None
            if line not in (b"\r\n", b"\n"):
                self._lines.append(line)
                return None
            head = parsed(self._lines)
            self._lines = []
            if head.status < 200:
                return None
            self._head = head
            return self._decide(head)
        except BaseException as error:  # noqa: BLE001  # pycurl would only print it; end() raises it
            self._fail(error)
            return _ABORT

    def _on_body(self, data: bytes) -> int | None:
        try:
            self.received += len(data)
            self._body_bytes += len(data)
            if self._verdict is not None:
                return None if self._body_bytes <= _READ_THROUGH else _ABORT
            if self._head is None or self._body is None:
                raise ImageFault("protocol", "a body without a head")
            self._hold_to_cap(self._body_bytes)
            for piece in self._body.decoded(data):
                self._take(piece)
            # The announced length may be that of the photo itself: what it promises beyond that never comes.
            self._is_whole = self._body.at_end and self._size == self._head.announced
        except BaseException as error:  # noqa: BLE001  # as above
            self._fail(error)
            return _ABORT
        return _ABORT if self._is_whole else None

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        self._hold_to_cap(self._size)
        self._chunks.append(piece)
        self._held += len(piece)
        if self._held >= _WRITE_AT:
            self._write_out()

    def _hold_to_cap(self, size: int) -> None:
        if size > self._settings.max_bytes:
            raise ImageFault("too_large", f"more than {self._settings.max_bytes} bytes")

    def _decide(self, head: Head) -> int | None:
        """Judge an answer by its head; whatever it says is final, however the body then ends.

        A 3xx that leads nowhere may bring a photo, as browsers show it.
        """
        status, most, announced = head.status, self._settings.max_bytes, head.announced
        if status in _REDIRECTS and head.location:
            self._verdict = Redirect(head.location)
        elif status == 304 and self._is_conditional:
            self._verdict = NotModified(self.task.wire.url)
        elif status == 304:
            raise ImageFault("protocol", "an answer (304) to a condition that was not set")
        elif not 200 <= status < 400:
            pause = retry_after(status, head.fields, self._settings.max_retry_after_hours * 3600)
            self._verdict = ImageFault(f"http_{status}", self._name, retry_after=pause)
        elif announced is not None and announced > most:
            raise ImageFault("too_large", f"{head.fields['content-length'][:20]} bytes announced")
        else:
            self._body = BodyDecoder(head.fields.get("content-encoding", ""), most)
        if self._verdict is not None and announced is not None and announced > _READ_THROUGH:
            return _ABORT
        return None

    # How it ended

    def _judged(self, code: int, words: str) -> ImageFault | None:
        if self._is_whole:
            return None
        if code == pycurl.E_OPERATION_TIMEDOUT:
            raise self._timed_out(words)
        if code and self._dialler.refused and not self._dialler.dialled:
            raise ImageFault("blocked_address", f"{', '.join(self._dialler.refused[:4])} may not be fetched from")
        if code:
            return curl_fault(code, words, self._name, in_body=self.in_body)
        if self._head is None:
            raise ImageFault("protocol", "the headers end early")
        if not self._size:
            raise ImageFault("not_an_image" if self._head.status < 300 else self._status, "an empty body")
        return None

    def _timed_out(self, words: str) -> ImageFault:
        if float(self.handle.getinfo(pycurl.TOTAL_TIME)) >= self._seconds:
            return ImageFault("too_slow", f"not complete after {self._settings.image_deadline:g} s")
        # A resolver that is silent is no fault of the host's.
        unresolved = not self._dialler.dialled and not self._dialler.refused and not self._head
        return ImageFault("dns" if unresolved else "timeout", words)

    def _whole(self) -> Fetched:
        self._write_out()
        head, file = self._head, self._file
        if head is None or file is None:
            raise RuntimeError("a body without a head")
        file.commit()
        self._file = None
        return Fetched(
            sha1=self._digest.hexdigest(),
            size=self._size,
            content_type=head.fields.get("content-type", "")[:100],
            final_url=self.task.wire.url,
            etag=head.validator("etag"),
            last_modified=head.validator("last-modified"),
        )

    def _write_out(self) -> None:
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks, self._held = [], 0
        self._digest.update(data)
        if self._file is None:
            self._look_at(data[:HEAD_BYTES])
            # Not synced: staging takes an original over only after verifying it.
            self._file = AtomicFile(self.task.job.target, sync=False)
        self._file.write(data)

    def _look_at(self, start: bytes) -> None:
        """Distinguish the page of a 3xx from a photo; of other answers the decoders do."""
        if self._head is not None and self._head.status >= 300:
            try:
                sniff(start)
            except ImageFault as fault:
                raise ImageFault(self._status, fault.detail) from None

    @property
    def _status(self) -> str:
        return f"http_{self._head.status}" if self._head else "protocol"

    @property
    def _name(self) -> str:
        return self.task.host
