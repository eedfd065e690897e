"""When the lease on a batch is renewed while its worker is at work: each time a third of it has passed."""

from __future__ import annotations

import time

from sqlalchemy import Engine

from imagesys_lib.runs.leases import Lease, renew


class LeaseRenewal:
    """Renews one lease for a worker that asks often enough."""

    def __init__(self, engine: Engine, lease: Lease) -> None:
        self._engine, self._lease = engine, lease
        self._renewed = time.monotonic()

    def renew_if_due(self) -> None:
        """Renew the lease if a third of it has passed. Raises LeaseLost if the batch was taken over."""
        if time.monotonic() - self._renewed > self._lease.seconds / 3:
            renew(self._engine, self._lease)
            self._renewed = time.monotonic()
