"""Why a run is late: where its time went, which host holds it up, and what the cause probably is.

Everything is read from what the stages write anyway; a run is not slowed down by being watched.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from imagesys_lib import runs
from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, NOW, Row, read
from imagesys_lib.db.schema import lis_batches, lis_images, lis_node_checks, lis_nodes
from imagesys_lib.fetch import host_of
from imagesys_lib.hosts import datasources, store
from imagesys_lib.hosts.circuit_breaker import Circuit
from imagesys_lib.node_records import SCRUB
from imagesys_lib.runs import Kind, Run
from imagesys_lib.stages.report import Summary
from imagesys_lib.states import State

_MOST_OF = 0.5
"""A host (or data source) with this share of what is left to fetch is what the run waits for."""


@dataclass(frozen=True)
class Delay:
    """What is known of a run that is late. Times in seconds; ``stages`` are in the order of the run.

    ``host`` has ``host_images`` of ``looked_at`` images that are still to be fetched; ``host_pause`` is how long it
    may not be asked now. ``held`` batches are worked on, ``waiting`` ones have nobody.
    """

    begun: bool = True
    ingested: bool = True
    stages: dict[str, float] = field(default_factory=dict)
    host: str = ""
    host_images: int = 0
    looked_at: int = 0
    host_pause: float = 0.0
    host_limit: int = 0
    held: int = 0
    waiting: int = 0
    sources: tuple[int, ...] = ()
    nodes: dict[str, str] = field(default_factory=dict)


def look(ctx: Context, run: Run, summary: Summary) -> Delay:
    """Look the run up; ``summary`` is what it has done so far."""
    row = runs.load(ctx.db, run.run_id)
    if row is None:
        return Delay(begun=False)
    b = lis_batches.c
    held = b.lease_until.is_not(None).label("held")
    query = sa.select(b.seq, b.created_at, b.updated_at, b.downloaded_at, held)
    batches = read(ctx.db, query.where(b.run_id == run.run_id).order_by(b.seq))
    unfinished = [batch for batch in batches if batch.seq in summary.unfinished]
    now = read(ctx.db, sa.select(NOW))[0][0]
    left = _left_to_fetch(ctx, run)
    hosts = Counter(host_of(image.image_url) for image in left)
    host, images = hosts.most_common(1)[0] if hosts else ("", 0)
    circuit = store.circuits(ctx.shared, [host]).get(host, Circuit())
    open_sources = datasources.failing(ctx.db, {image.datasource_id for image in left})
    return Delay(
        ingested=row.ingested_at is not None,
        stages=stage_seconds(run.kind, row, batches, summary.unfinished, _marks(ctx, run), now=now),
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


@dataclass(frozen=True)
class Marks:
    """Instants that a run leaves beside its row and its batches.

    ``ended`` has those of its stages, ``synced`` when each node was synced last, and ``checked`` when each was checked
    in this run, None if it was not.
    """

    ended: Mapping[str, dt.datetime] = field(default_factory=dict)
    synced: tuple[dt.datetime | None, ...] = ()
    checked: tuple[dt.datetime | None, ...] = ()


def _marks(ctx: Context, run: Run) -> Marks:
    nodes, n, k = ctx.config.nodes, lis_nodes.c, lis_node_checks.c
    rows = read(ctx.db, sa.select(n.node, n.updated_at, n.fault).where(n.node.in_(nodes)))
    synced = {row.node: row.updated_at for row in rows}
    query = sa.select(sa.func.max(k.checked_at)).where(k.run_id == run.run_id, k.kind != SCRUB)
    sound = [row.node for row in rows if row.fault is None]  # nobody checks the others
    checked = tuple(read(ctx.db, query.where(k.node == name))[0][0] for name in sound)
    return Marks(runs.stages_ended(ctx.db, run), tuple(map(synced.get, nodes)), checked)


def stage_seconds(
    kind: Kind, row: Row, batches: Sequence[Row], unfinished: Collection[int], marks: Marks, *, now: dt.datetime
) -> dict[str, float]:
    """Return how long each stage of a run has taken up to now, from the instants that it leaves.

    Batches flow by themselves: downloading lasts until the last of them is downloaded, thumbnails what is over that.
    """
    ends: dict[str, dt.datetime | None] = {"heal": marks.ended.get("heal"), "ingest": row.ingested_at}
    ends["plan"] = min((batch.created_at for batch in batches), default=None)
    if batches:
        ends["download"] = _last([_downloaded(batch, batch.seq in unfinished) for batch in batches])
        ends["thumbnail"] = _last([None if batch.seq in unfinished else batch.updated_at for batch in batches])
    published = marks.ended.get("publish")
    if not unfinished:
        made = max(end for end in (row.started_at, *ends.values()) if end)
        synced = _last([at if at and at >= made else None for at in marks.synced])
        # What comes after the purge syncs once more.
        ends["sync"] = min(synced, published) if synced and published else synced
        ends["publish"] = published
        if kind is not Kind.BACKFILL:
            ends |= {"purge": marks.ended.get("purge"), "check": _last(marks.checked), "repair": None}
    return _spans(row.started_at, ends, now)


def _last(instants: Sequence[dt.datetime | None]) -> dt.datetime | None:
    """Return the last of some instants, None if any is still to come (or there is none)."""
    known = [at for at in instants if at is not None]
    return max(known) if known and len(known) == len(instants) else None


def _downloaded(batch: Row, is_unfinished: bool) -> dt.datetime | None:
    """Return when a batch was downloaded, None if it is not yet; older ones have no such instant."""
    if batch.downloaded_at is not None or not is_unfinished:
        at: dt.datetime = batch.downloaded_at or batch.updated_at
        return at
    return None


def _spans(began: dt.datetime, ends: Mapping[str, dt.datetime | None], now: dt.datetime) -> dict[str, float]:
    """Return the seconds of each stage up to the first that goes on; one without an instant ends with the next."""
    taken = {}
    known = list(ends.values())
    for number, stage in enumerate(ends):
        ended = next((end for end in known[number:] if end is not None), now)
        taken[stage] = max((ended - began).total_seconds(), 0.0)
        began = max(began, ended)
        if not any(known[number:]):
            break
    return taken


def slowest(delay: Delay) -> tuple[str, ...]:
    """Return the lines about the slowest stage and the slowest host."""
    lines = []
    if delay.stages:
        stage, seconds = max(delay.stages.items(), key=lambda item: item[1])
        lines.append(f"Slowest stage: {stage}, {seconds / 60:.0f} minutes so far")
    if delay.host:
        lines.append(f"Slowest host: {delay.host}, with {delay.host_images} of {delay.looked_at} images to be fetched")
    return tuple(lines)


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
