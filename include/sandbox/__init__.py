"""Real services on loopback for demo, tests and benchmarks: MariaDB, three sshd nodes, a photo web site, an
SMTP sink.

    sandbox = Sandbox(SandboxSettings())
    sandbox.start(images=500)
    os.environ.update(sandbox.environment())

On the command line: `python -m include.sandbox start|stop|status|env`.
"""

from .errors import PortInUseError, SandboxError
from .manifest import ManifestEntry
from .sandbox import SERVICES, Sandbox, ServiceStatus
from .settings import SandboxSettings

__all__ = [
    "SERVICES",
    "ManifestEntry",
    "PortInUseError",
    "Sandbox",
    "SandboxError",
    "SandboxSettings",
    "ServiceStatus",
]
