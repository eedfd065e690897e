"""Why a run is late: what the cause probably is, read from what the stages write anyway."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import sqlalchemy as sa

from imagesys_lib.config.hostnames import host_of
from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, Row, read
from imagesys_lib.db.schema import lis_batches, lis_images
from imagesys_lib.fetch.politeness import datasources, host_records
from imagesys_lib.fetch.politeness.circuit_breaker import Circuit
from imagesys_lib.images.states import State
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run
from imagesys_lib.stages.report import Summary

_MOST_OF = 0.5
"""A host (or data source) with this share of what is left to fetch is what the run waits for."""


@dataclass(frozen=True)
class Delay:
    """What is known of a run that is late. Times in seconds.

    ``host`` has ``host_images`` of ``looked_at`` images that are still to be fetched; ``host_pause`` is how long it
    may not be asked now. ``held`` batches are worked on, ``waiting`` ones have nobody.
    """

    begun: bool = True
    ingested: bool = True
    host: str = ""
    host_images: int = 0
    looked_at: int = 0
    host_pause: float = 0.0
    host_limit: int = 0
    held: int = 0
    waiting: int = 0
    sources: tuple[int, ...] = ()
    nodes: dict[str, str] = field(default_factory=dict)


def measured(ctx: Context, run: Run, summary: Summary) -> Delay:
    """Look the run up; ``summary`` is what it has done so far."""
    row = runs.load(ctx.db, run.run_id)
    if row is None:
        return Delay(begun=False)
    b = lis_batches.c
    batches = read(ctx.db, sa.select(b.seq, b.lease_until.is_not(None).label("held")).where(b.run_id == run.run_id))
    unfinished = [batch for batch in batches if batch.seq in summary.unfinished]
    left = _left_to_fetch(ctx, run)
    hosts = Counter(host_of(image.image_url) for image in left)
    host, images = hosts.most_common(1)[0] if hosts else ("", 0)
    circuit = host_records.circuits(ctx.shared, [host]).get(host, Circuit())
    open_sources = datasources.failing(ctx.db, {image.datasource_id for image in left})
    return Delay(
        ingested=row.ingested_at is not None,
        host=host,
        host_images=images,
        looked_at=len(left),
        host_pause=circuit.wait,
        host_limit=ctx.config.fetch.limits(host).per_host,
        held=sum(batch.held for batch in unfinished),
        waiting=sum(not batch.held for batch in unfinished),
        sources=tuple(sorted(open_sources)),
        nodes={name: node.fault or "" for name, node in summary.nodes.items() if node.backlog or node.fault},
    )


def _left_to_fetch(ctx: Context, run: Run) -> list[Row]:
    """Return images that are still to be fetched, of batches that are worked on rather than of others."""
    i, b = lis_images.c, lis_batches.c
    query = (
        sa.select(i.image_url, i.datasource_id, b.lease_until)
        .select_from(lis_batches.join(lis_images, i.batch_id == b.batch_id))
        .where(b.run_id == run.run_id, i.state == State.RESERVED.value)
    )
    held = list(read(ctx.db, query.where(b.lease_until.is_not(None)).limit(CHUNK)))
    return held or list(read(ctx.db, query.limit(CHUNK)))


def likely_cause(delay: Delay) -> str:  # noqa: PLR0911 - one answer a line
    """Return what probably holds the run up, in one sentence with where to look."""
    most = delay.host_images >= _MOST_OF * delay.looked_at > 0
    if not delay.begun:
        return "The run has not begun: no slot is free, or its preflight waits or fails. Look at its first task."
    if not delay.ingested:
        return "The ETL's rows are not all in: the ETL is slow or away. Look at the log of `ingest`."
    if most and delay.host_pause > 0:
        return (
            f"Host {delay.host} is left alone for {delay.host_pause:.0f} s more: it failed, or asked for patience. "
            "What it keeps waiting goes back by itself and is tried again in a later run."
        )
    if delay.sources:
        named = ", ".join(map(str, delay.sources))
        return f"Data source {named} fails and is left alone. Its images go back by themselves."
    if most and delay.held:
        return (
            f"Host {delay.host} is slow, and gets {delay.host_limit} requests at a time (`fetch.hosts` in the "
            "configuration allows it more)."
        )
    if delay.waiting:
        return (
            f"{delay.waiting} batches wait for a slot, {delay.held} are worked on: the pools imagesys_download and "
            "imagesys_thumbnail are full, or workers are missing."
        )
    if delay.nodes:
        named = "; ".join(f"{node}: {fault}" if fault else node for node, fault in delay.nodes.items())
        return f"A node is behind ({named}). Look at its `sync`."
    return "Nothing stands out. Look at what is running."
