"""Opens curl's sockets, and so sees every address before a packet goes there."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Callable

import pycurl

from imagesys_lib.config import Fetch
from imagesys_lib.fetch.addresses import is_refused


class _Socket(socket.socket):
    """pycurl duplicates what OPENSOCKETFUNCTION returns and leaves the original to us."""

    def __del__(self) -> None:
        self.close()


class Dialler:
    """The sockets of one request.

    ``refused`` are the addresses that were turned down; ``on_dial`` is called for each other, ``on_error`` with what
    pycurl would only print. With a proxy the address is the proxy's, which the configuration names: it is not judged,
    and what a name leads the proxy to cannot be seen from here, so the proxy has to keep it from our networks.
    """

    def __init__(self, settings: Fetch, on_dial: Callable[[], None], on_error: Callable[[BaseException], None]) -> None:
        self._settings = settings
        self._is_judged = settings.proxy is None
        self._on_dial, self._on_error = on_dial, on_error
        self.refused: list[str] = []
        self.dialled = False

    def attach(self, handle: pycurl.Curl) -> None:
        """Make the handle's next request open its sockets here."""
        handle.setopt(pycurl.OPENSOCKETFUNCTION, self._open)
        handle.setopt(pycurl.SOCKOPTFUNCTION, self._configure)

    def _open(self, _purpose: int, address: tuple[int, int, int, tuple[str, int]]) -> socket.socket | int:
        """Return a socket, or SOCKET_BAD, after which curl tries the host's next address."""
        try:
            family, kind, protocol, at = address
            is_internet = family in (socket.AF_INET, socket.AF_INET6)
            if not is_internet or (self._is_judged and self._is_refused(at[0])):
                self.refused.append(str(at[0]))
                return pycurl.SOCKET_BAD
            made = _Socket(family, kind, protocol)
            self.dialled = True
            self._on_dial()
        except BaseException as error:  # noqa: BLE001  # raised from poll
            self._on_error(error)
            return pycurl.SOCKET_BAD
        return made

    def _is_refused(self, address: str) -> bool:
        return is_refused(address, self._settings.allowed_addresses, self._settings.denied_addresses)

    def _configure(self, descriptor: int, _purpose: int) -> int:
        """Keep the duplicate from the programs that we start."""
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        except BaseException as error:  # noqa: BLE001  # raised from poll
            self._on_error(error)
            return pycurl.SOCKOPT_ERROR
        return pycurl.SOCKOPT_OK
