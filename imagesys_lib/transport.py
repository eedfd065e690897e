"""The guarded transport of :mod:`imagesys_lib.fetch`: sockets that keep a deadline, faults with reasons.

requests and urllib3 bound each wait, not their sum: a server that drips a byte a second, in its headers or
its body, holds them for ever. Here every connection and every byte asks one guard per image.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3 import exceptions as u3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from imagesys_lib.config import Fetch
from imagesys_lib.errors import Stopped
from imagesys_lib.reasons import ImageFault

CHUNK = 64 * 1024
POLL = 0.25  # seconds between looks at `stop` while something waits


class Guard:
    """One image's wall clock and the caller's wish to stop, asked wherever something may wait."""

    def __init__(self, settings: Fetch, stop: threading.Event) -> None:
        self.settings = settings
        self.stop = stop
        self.deadline = time.monotonic() + settings.image_deadline
        self.answer: http.client.HTTPResponse | None = None

    def remaining(self) -> float:
        """Return the seconds left (above 0). Raises Stopped, or ImageFault ``too_slow`` at the deadline."""
        if self.stop.is_set():
            raise Stopped
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise ImageFault("too_slow", f"not complete after {self.settings.image_deadline:g} s")
        return left


# urllib3 makes connections deep inside a request; the guard reaches them through the thread's context.
GUARD: ContextVar[Guard] = ContextVar("GUARD")


class _GuardedSocket(io.RawIOBase):
    """The one place where bytes arrive, headers and body alike, plain or TLS.

    A time-out per recv alone never cuts a server that drips a byte a second, so each wait is short and asks
    the guard. ``owner`` is http.client's own reader: it holds the socket open until closed.
    """

    def __init__(self, sock: socket.socket, owner: io.RawIOBase, guard: Guard) -> None:
        self._sock, self._owner, self._guard = sock, owner, guard

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        quiet_until = time.monotonic() + self._guard.settings.read_timeout
        while True:
            left = min(self._guard.remaining(), quiet_until - time.monotonic())
            if left <= 0:
                raise TimeoutError("no byte within the read time-out")
            self._sock.settimeout(min(left, POLL))
            try:
                return self._sock.recv_into(buffer)
            except TimeoutError:
                continue

    def close(self) -> None:
        self._owner.close()
        super().close()


class _GuardedAnswer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        owner: io.RawIOBase = self.fp.detach()
        guard = GUARD.get()
        guard.answer = self
        self.fp = io.BufferedReader(_GuardedSocket(sock, owner, guard), CHUNK)


class _GuardedConnection(HTTPConnection):
    response_class = _GuardedAnswer

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 itself does
        try:
            return super().getresponse()
        except u3.HTTPError:
            # urllib3 drops an answer whose headers it rejects without closing it: the socket would stay open.
            answer = GUARD.get().answer
            if answer is not None:
                answer.close()
            raise

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that answers; urllib3's own grants each address the whole time-out.

        Every connection of every hop is made here, so this is where an address can be refused.
        """
        guard = GUARD.get()
        try:
            found = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise u3.NameResolutionError(self.host, self, error) from error
        fault: OSError | None = None
        for family, kind, protocol, _name, address in found:
            wait = min(guard.remaining(), guard.settings.connect_timeout)
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(wait)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
            except OSError as error:
                sock.close()
                fault = error
            else:
                return sock
        if isinstance(fault, TimeoutError):
            guard.remaining()
            raise u3.ConnectTimeoutError(self, "no connection within the time-out") from fault
        raise u3.NewConnectionError(self, str(fault)) from fault


class _GuardedTLSConnection(_GuardedConnection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _GuardedConnection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _GuardedTLSConnection


class GuardedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        manager: urllib3.PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}


# First match wins, over the whole chain of causes.
_CODES: tuple[tuple[str, tuple[type[BaseException], ...]], ...] = (
    ("dns", (socket.gaierror,)),
    ("timeout", (TimeoutError, u3.ReadTimeoutError)),
    ("tls", (ssl.SSLError, u3.SSLError)),
    ("truncated", (u3.IncompleteRead, http.client.IncompleteRead)),
    ("connect", (ConnectionError, u3.NewConnectionError)),
    ("protocol", (http.client.HTTPException, u3.DecodeError, u3.InvalidHeader, u3.ProtocolError)),
    ("bad_url", (ValueError,)),
    ("connect", (OSError,)),
)


def fault_of(error: BaseException, host: str, *, in_body: bool = False) -> ImageFault:
    """Return what a network error means for the image; ``in_body`` once an answer had begun."""
    # requests' exceptions are OSErrors too, but only wrap what happened.
    chain = [cause for cause in _causes(error) if not _only_wraps(cause)]
    for code, kinds in _CODES:
        found = [cause for cause in chain if isinstance(cause, kinds)]
        if found:
            broken_off = in_body and code == "connect"
            return ImageFault("truncated" if broken_off else code, f"{host}: {_words(found[-1])}")
    return ImageFault("protocol", f"{host}: {type(error).__name__}")


def _only_wraps(error: BaseException) -> bool:
    return isinstance(error, requests.RequestException) and not isinstance(error, ValueError)


def _causes(error: BaseException) -> Iterator[BaseException]:
    queue, seen = [error], set[int]()
    while queue:
        cause = queue.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        linked = (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
        queue += [item for item in linked if isinstance(item, BaseException)]


def _words(error: BaseException) -> str:
    """Say what happened without the error's own text, which may repeat the URL."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "TLS failed")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
