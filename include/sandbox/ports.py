"""Is a port free, and if not, whose is it."""

from __future__ import annotations

import errno
import socket

import psutil

from .errors import PortInUseError, SandboxError


def check_port_is_free(address: str, port: int, service: str) -> None:
    """Raise PortInUseError, naming the holder where it can be known, unless we can listen there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do not hold a port
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUseError(address, port, service, describe_holder(address, port)) from error
            raise SandboxError(
                f"{service} cannot listen on {address}:{port}: {error.strerror}. "
                "Check that the loopback interface is up (ip addr show lo) and that the port is allowed."
            ) from error


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
