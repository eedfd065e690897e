"""The sandbox's errors: each says what failed, where, and what to do about it."""

from __future__ import annotations


class SandboxError(RuntimeError):
    """Something in the machine or the sandbox stands in the way; the text names the place and the remedy."""


class PortInUseError(SandboxError):
    """A port of the sandbox belongs to a process that the sandbox did not start."""

    def __init__(self, address: str, port: int, service: str, holder: str) -> None:
        self.port = port
        super().__init__(
            f"{service} cannot listen on {address}:{port}: the port is in use by {holder}. "
            "End that process, or run it again: tests take a free block of ports each time, the demo's ports are moved "
            f"by DEMO_PORT_BASE=<number>, say {port // 100 * 100 + 1000}."
        )
