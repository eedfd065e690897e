"""Blocks of ports for test sessions; is a port free, and if not, whose is it."""

from __future__ import annotations

import atexit
import errno
import socket

import psutil

from include.sandbox.errors import PortInUseError, SandboxError

BLOCK = 20
"""Ports of one block: a sandbox uses ten, its tests a few of the others."""

_FIRST, _END = 20_000, 32_000  # below 32768, where Linux begins to give ports to outgoing connections


def take_block() -> int:
    """Take a block of free ports for the rest of this process, and return its first one.

    The lock is a socket's name in the abstract namespace (unix(7)). The kernel keeps it per network namespace, as it
    keeps ports, and drops it with the process, however that ends. Raises SandboxError when no block is left.
    """
    for base in range(_FIRST, _END, BLOCK):
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            holder.bind(f"\0imagesys-ports-{base}")
            for port in range(base, base + BLOCK):
                _listen_once("127.0.0.1", port)
        except OSError:
            holder.close()
            continue
        atexit.register(holder.close)  # held until then
        return base
    raise SandboxError(f"no {BLOCK} free ports in a row from {_FIRST} to {_END}: end what listens there (ss -ltnp)")


def check_port_is_free(address: str, port: int, service: str) -> None:
    """Raise PortInUseError, naming the holder where it can be known, unless we can listen there."""
    try:
        _listen_once(address, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(address, port, service, describe_holder(address, port)) from error
        raise SandboxError(
            f"{service} cannot listen on {address}:{port}: {error.strerror}. "
            "Check that the loopback interface is up (ip addr show lo) and that the port is allowed."
        ) from error


def _listen_once(address: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do not hold a port
        probe.bind((address, port))
        probe.listen(1)


def describe_holder(address: str, port: int) -> str:
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return "an unknown process (only root may look)"
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or connection.laddr.port != port:
            continue
        # 0.0.0.0 and :: hold the port of every address
        if connection.laddr.ip not in (address, "0.0.0.0", "::", f"::ffff:{address}"):  # noqa: S104
            continue
        if connection.pid is None:
            return "a process of another user"
        try:
            command = " ".join(psutil.Process(connection.pid).cmdline())
        except psutil.Error:
            command = "?"
        return f"process {connection.pid} ({command[:120] or '?'})"
    return "an unknown process"
