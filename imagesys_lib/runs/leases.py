"""Leases: who works on a batch.

A lease runs out at a time of the database's clock and has a token (``fence``) that grows with each. It starts with the
work and is renewed while it goes on; every write checks the token in its own transaction, so that a worker that
was given up for dead and lives on (a zombie) cannot write any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from imagesys_lib.db.engine import NOW, from_now, write
from imagesys_lib.db.schema import lis_batches
from imagesys_lib.errors import LeaseHeld, LeaseLost, UsageError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lease:
    """The right of this worker to a batch; each renewal lasts ``seconds``."""

    batch_id: int
    fence: int
    holder: str
    seconds: int


def acquire(engine: Engine, batch_id: int, holder: str, seconds: int) -> Lease:
    """Take a batch that nobody holds, whose lease has run out, or that an earlier try of ``holder`` held.

    The last case is a retry: Airflow starts one only when it holds the former try for dead. Raises LeaseHeld if
    another holder's lease is running.
    """

    def work(connection: Connection) -> Lease:
        row = connection.execute(
            sa.select(
                lis_batches.c.fence,
                lis_batches.c.holder,
                lis_batches.c.lease_until,
                (lis_batches.c.lease_until > NOW).label("running"),
            )
            .where(lis_batches.c.batch_id == batch_id)
            .with_for_update()
        ).one_or_none()
        if row is None:
            raise UsageError(f"There is no batch {batch_id}.")
        if row.running and row.holder != holder:
            raise LeaseHeld(
                f"Batch {batch_id} is held by {row.holder} until {row.lease_until} UTC.",
                remedy="wait for its lease to run out, or clear that task.",
            )
        connection.execute(
            sa.update(lis_batches)
            .where(lis_batches.c.batch_id == batch_id)
            .values(fence=row.fence + 1, holder=holder, lease_until=from_now(seconds), updated_at=NOW)
        )
        return Lease(batch_id, row.fence + 1, holder, seconds)

    return write(engine, work)


def acquire_patiently(
    engine: Engine, batch_id: int, holder: str, seconds: int, check_stop: Callable[[], None] = lambda: None
) -> Lease:
    """Like :func:`acquire`, but wait for another holder's lease to run out, at most two leases.

    ``check_stop`` is called while it waits, and may raise.
    """
    give_up = time.monotonic() + 2 * seconds
    while True:
        try:
            return acquire(engine, batch_id, holder, seconds)
        except LeaseHeld as held:
            if time.monotonic() > give_up:
                raise
            log.info("%s Waiting.", held.message)
            check_stop()
            time.sleep(min(1.0, seconds / 10))


def renew(engine: Engine, lease: Lease) -> None:
    """Extend the lease. Raises LeaseLost if the batch was taken over."""

    def work(connection: Connection) -> None:
        guard(connection, lease)
        connection.execute(
            sa.update(lis_batches)
            .where(lis_batches.c.batch_id == lease.batch_id)
            .values(lease_until=from_now(lease.seconds), updated_at=NOW)
        )

    write(engine, work)


def guard(connection: Connection, lease: Lease) -> None:
    """Lock the batch for this transaction and refuse to go on if the lease is not ours any more."""
    fence = connection.scalar(
        sa.select(lis_batches.c.fence).where(lis_batches.c.batch_id == lease.batch_id).with_for_update()
    )
    if fence != lease.fence:
        raise LeaseLost(
            f"Batch {lease.batch_id} was taken over (token {lease.fence}, now {fence}); this write is refused.",
            remedy="none: the other worker finishes it.",
        )


def release(engine: Engine, lease: Lease, state: str | None = None) -> None:
    """Give the batch back, with its new state if the work is done. A lost lease is left alone."""

    def work(connection: Connection) -> None:
        values = {"lease_until": None, "holder": None, "updated_at": NOW, **({"state": state} if state else {})}
        connection.execute(
            sa.update(lis_batches)
            .where(lis_batches.c.batch_id == lease.batch_id, lis_batches.c.fence == lease.fence)
            .values(values)
        )

    write(engine, work)
