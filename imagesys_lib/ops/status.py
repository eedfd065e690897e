"""Status: the state of a country in a few figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from imagesys_lib.alerts import incidents, outbox
from imagesys_lib.context import Context
from imagesys_lib.db.engine import NOW, Row, read
from imagesys_lib.db.schema import lis_batches, lis_images, lis_live_images
from imagesys_lib.images.states import tally
from imagesys_lib.replication import node_records
from imagesys_lib.replication.node_records import NodeRecord
from imagesys_lib.runs import runs


@dataclass(frozen=True)
class Status:
    """One country now. ``reasons`` counts images by state and reason; times are UTC.

    ``mail_refused``: whom the newest mail was refused for, each with the server's words. ``waiting_runs``:
    a sentence for each run that waits for a date in the future.
    """

    country: str
    live: int
    states: dict[str, int]
    reasons: dict[str, dict[str, int]]
    batches_held: int
    last_run: dict[str, Any] | None
    nodes: dict[str, NodeRecord]
    staging_free_mb: int
    mail_refused: dict[str, str]
    waiting_runs: list[str]


def status(ctx: Context) -> Status:
    """Read a country's figures; nothing is changed and no node is asked."""
    i = lis_images.c
    query = sa.select(i.state, i.reason, sa.func.count().label("images")).group_by(i.state, i.reason)
    states, reasons = tally(read(ctx.db, query))
    held = sa.select(sa.func.count()).select_from(lis_batches).where(lis_batches.c.lease_until > NOW)
    last = runs.latest(ctx.db)
    return Status(
        country=ctx.country,
        live=int(read(ctx.db, sa.select(sa.func.count()).select_from(lis_live_images))[0][0]),
        states=states,
        reasons=reasons,
        batches_held=int(read(ctx.db, held)[0][0]),
        last_run=_run(last) if last else None,
        nodes={name: node_records.node_record(ctx.db, name) for name in ctx.config.nodes},
        staging_free_mb=ctx.staging.free_bytes() >> 20,
        mail_refused=outbox.refusals(ctx.db),
        waiting_runs=incidents.waits(ctx.db),
    )


def _run(row: Row) -> dict[str, Any]:
    times = {"started_at": str(row.started_at), "finished_at": str(row.finished_at) if row.finished_at else None}
    interval = f"{row.interval_start}/{row.interval_end}"
    return {"run_id": row.run_id, "kind": row.kind, "state": row.state, "interval": interval, **times}
