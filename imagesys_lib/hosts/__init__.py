"""Politeness to photo hosts over all workers, countries and runs, kept in the shared schema.

A host is known by ``name`` or ``name:port``. Its places (requests in flight) are named locks of the database server,
which free themselves when a worker dies; its pauses, breaker and rate are a row of ``lis_hosts``.
"""

from imagesys_lib.hosts.gate import PATIENCE, SharedGate
from imagesys_lib.hosts.store import pause, paused

__all__ = ["PATIENCE", "SharedGate", "pause", "paused"]
