"""Curl's multi interface on epoll: moves the bytes of all transfers, in the calling thread.

pycurl offers `select`, which knows no descriptor above 1,023, and the socket interface, which this uses.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time

import pycurl

_EVENTS = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_CLOSING = 2.0  # seconds that closing may wait for name lookups that hang

Finished = tuple[pycurl.Curl, int, str]
"""A handle, curl's error code (0: none) and its words."""


class Multi:
    """The transfers under way and the connections kept. Made after any fork, and used by one thread."""

    def __init__(self, connections: int) -> None:
        self._epoll = select.epoll()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._timer: float | None = None
        self._error: BaseException | None = None

    def add(self, handle: pycurl.Curl) -> None:
        """Begin a transfer."""
        self._multi.add_handle(handle)

    def remove(self, handle: pycurl.Curl) -> None:
        """End a transfer, whether it has finished or not."""
        self._multi.remove_handle(handle)

    def run(self, timeout: float) -> list[Finished]:
        """Wait for bytes at most ``timeout`` seconds, move them, return what has finished."""
        if self._timer is not None:
            timeout = min(timeout, self._timer - time.monotonic())
        for descriptor, events in self._epoll.poll(max(0.0, timeout)):
            ready = pycurl.CSELECT_IN if events & ~select.EPOLLOUT else 0  # an error too is read
            ready |= pycurl.CSELECT_OUT if events & select.EPOLLOUT else 0
            self._multi.socket_action(descriptor, ready)
        if self._timer is not None and self._timer <= time.monotonic():
            self._timer = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return self._finished()

    def close(self) -> None:
        """Close all connections.

        Curl waits here for name lookups under way, as long as the system's resolver takes to give up. That goes on
        in a thread of its own once it takes too long.
        """
        closing = threading.Thread(target=self._multi.close, name="fetch-close", daemon=True)
        closing.start()
        closing.join(_CLOSING)
        self._epoll.close()

    def _finished(self) -> list[Finished]:
        finished: list[Finished] = []
        left = 1
        while left:
            left, good, bad = self._multi.info_read()
            finished += [(handle, 0, "") for handle in good]
            finished += bad
        return finished

    # Callbacks. What they raise pycurl would only print.

    def _on_socket(self, what: int, descriptor: int, _multi: pycurl.CurlMulti, _data: object) -> None:
        try:
            if what == pycurl.POLL_REMOVE:
                with contextlib.suppress(OSError, ValueError):  # closed before, or the whole epoll is
                    self._epoll.unregister(descriptor)
                return
            events = _EVENTS.get(what, 0)
            try:
                self._epoll.register(descriptor, events)
            except FileExistsError:
                self._epoll.modify(descriptor, events)
        except BaseException as error:  # noqa: BLE001  # kept for run()
            self._error = error

    def _on_timer(self, milliseconds: int) -> None:
        self._timer = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000
