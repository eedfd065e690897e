"""Real services on loopback for demo, tests and benchmarks: MariaDB, three sshd nodes, a photo web site, an
SMTP sink.

    sandbox = Sandbox(SandboxSettings())
    sandbox.start(images=500)
    os.environ.update(sandbox.environment())

On the command line: `python -m include.sandbox start|stop|status|env`.
"""

from include.sandbox.errors import PortInUseError, SandboxError
from include.sandbox.feed.manifest import ManifestEntry
from include.sandbox.sandbox import EXAMPLE_SERVICES, SERVICES, Sandbox, ServiceStatus
from include.sandbox.settings import SandboxSettings

__all__ = [
    "EXAMPLE_SERVICES",
    "SERVICES",
    "ManifestEntry",
    "PortInUseError",
    "Sandbox",
    "SandboxError",
    "SandboxSettings",
    "ServiceStatus",
]
