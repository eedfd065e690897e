"""Gather what the database, and each node itself, say of images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from imagesys_lib.config.hostnames import host_of
from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, NOW, Row, read
from imagesys_lib.db.schema import (
    lis_batches,
    lis_changes,
    lis_images,
    lis_listing_images,
    lis_live_images,
    lis_node_repairs,
    lis_runs,
)
from imagesys_lib.errors import EnvironmentFault, ImageSysError
from imagesys_lib.fetch.politeness import datasources, host_records
from imagesys_lib.fetch.politeness.circuit_breaker import Position
from imagesys_lib.images.hash_and_path import lis_hash_for_url, lis_path_for_hash
from imagesys_lib.images.reasons import reason_for
from imagesys_lib.images.states import Desired, State
from imagesys_lib.nodes import NodeSession
from imagesys_lib.ops.explain.verdicts import Closed, ImageFacts, NodeVerdict, OnNode, Work, judge_image, judge_node
from imagesys_lib.replication import change_log, node_records
from imagesys_lib.stages.check import stat_images

_MOST_OF_A_LISTING = CHUNK
_MOST_LISTINGS = 5


@dataclass(frozen=True)
class Explanation:
    """One image in one country. ``facts`` are (name, text) in the order to show; ``verdict`` is one sentence.

    ``nodes`` has the verdict on each node that was looked at.
    """

    country: str
    image_hash: str
    verdict: str
    facts: tuple[tuple[str, str], ...]
    nodes: Mapping[str, NodeVerdict]


_NodeFiles = Mapping[str, int] | str
"""The sizes of the files that a node has of some images, by path below its root; or why the node could not be asked."""


def hashes_for(ctx: Context, what: str) -> list[str]:
    """Return the images that a URL, a hash or a listing id speaks of in this country."""
    image_hash = what if re.fullmatch(r"[0-9a-f]{40}", what) else lis_hash_for_url(what.strip())
    known = read(ctx.db, sa.select(lis_images.c.image_hash).where(lis_images.c.image_hash == image_hash))
    if known:
        return [image_hash]
    t = lis_listing_images.c
    shown = sa.select(t.image_hash).join(lis_images, lis_images.c.image_hash == t.image_hash)
    query = shown.where(t.listing_id == what).order_by(t.position).limit(_MOST_OF_A_LISTING)
    return list(dict.fromkeys(row.image_hash for row in read(ctx.db, query)))


def explain(ctx: Context, hashes: Sequence[str], *, ask_nodes: bool = True) -> list[Explanation]:
    """Gather what is known of these images; ``ask_nodes`` also looks at the files on each node, over one connection."""
    asked = ctx.config.nodes if ask_nodes and hashes else ()
    there = {name: _files(ctx, name, hashes) for name in asked}
    faults = {name: node_records.sync_fault(ctx.db, name) for name in asked}
    return [_explain(ctx, image_hash, there, faults) for image_hash in hashes]


def _explain(ctx: Context, image_hash: str, there: Mapping[str, _NodeFiles], faults: Mapping[str, str]) -> Explanation:
    due = (lis_images.c.next_attempt_at <= NOW).label("due")
    image = read(ctx.db, sa.select(lis_images, due).where(lis_images.c.image_hash == image_hash))[0]
    live = read(ctx.db, sa.select(lis_live_images).where(lis_live_images.c.image_hash == image_hash))
    work = _work(ctx, image)
    closed = _closed(ctx, image)
    on_nodes = [_on_node(ctx, image, name, files, faults[name]) for name, files in there.items()]
    nodes = {on.node: judge_node(on) for on in on_nodes}
    untimed = image.state in (State.PURGED.value, State.LIVE.value)
    facts = [
        ("URL", str(image.image_url)),
        ("hash", image_hash),
        ("path", lis_path_for_hash(image_hash)),
        ("state", _state(image)),
        ("live since", f"{live[0].insert_time} UTC" if live else "not live"),
        ("data source", str(image.datasource_id)),
        ("ETL version", f"{image.etl_version} UTC"),
        ("attempts", f"{image.attempts}" + ("" if untimed else f", next from {image.next_attempt_at} UTC")),
        ("batch", _batch(image, work)),
        ("original", _original(image)),
        ("thumbnails", _thumbnails(image)),
        ("class", _class(image)),
        *(("left alone", str(one)) for one in closed),
        *_listings(ctx, image_hash),
        *((on.node, f"{nodes[on.node].text}{_listed(on.files)}") for on in on_nodes),
    ]
    facts_of_image = ImageFacts(
        state=State(image.state),
        live=bool(live),
        desired=Desired(image.desired),
        reason=image.reason,
        detail=image.detail,
        next_attempt_at=str(image.next_attempt_at),
        due=bool(image.due),
        work=work[0] if work else None,
        nodes=_holders(ctx, image),
        quorum=ctx.config.quorum,
        closed=closed,
    )
    return Explanation(ctx.country, image_hash, judge_image(facts_of_image), tuple(facts), nodes)


def _state(image: Row) -> str:
    text = str(image.state)
    if image.reason:
        text += f": {image.reason} ({reason_for(image.reason).help})"
    return f"{text} {image.detail}" if image.detail else text


def _class(image: Row) -> str:
    if image.image_class is None:
        return "none yet"
    if not image.human_classified:
        return f"{image.image_class}, as the system sees it"
    return f"{image.image_class}, by a person's word; the system sees {image.system_class or 'none yet'}"


def _work(ctx: Context, image: Row) -> tuple[Work, Row] | None:
    """Return the image's batch, if it is there, as judged and as stored."""
    b, r = lis_batches.c, lis_runs.c
    query = (
        sa.select(lis_batches, r.state.label("run_state"), (b.lease_until > NOW).label("held"))
        .select_from(lis_batches.outerjoin(lis_runs, r.run_id == b.run_id))
        .where(b.batch_id == image.batch_id)
    )
    rows = read(ctx.db, query) if image.batch_id is not None else ()
    if not rows:
        return None
    row = rows[0]
    holder, until = (row.holder, str(row.lease_until)) if row.held else (None, None)
    return Work(row.batch_id, row.run_id, row.run_state, holder, until), row


def _batch(image: Row, work: tuple[Work, Row] | None) -> str:
    if image.batch_id is None:
        return "none"
    if work is None:
        return f"{image.batch_id}, which is no more"
    batch, row = work
    held = f", held by {batch.holder} until {batch.until} UTC" if batch.holder else ""
    return f"{batch.batch_id}: number {row.seq} of run {batch.run_id} ({batch.run_state or 'gone'}), {row.state}{held}"


def _closed(ctx: Context, image: Row) -> tuple[Closed, ...]:
    """Return what is left alone now of the image's host and its data source."""
    found = []
    source = datasources.failing(ctx.db, [image.datasource_id]).get(image.datasource_id)
    if source and source.wait > 0:
        found.append(Closed(f"data source {image.datasource_id}", source.wait))
    host = host_of(image.image_url)
    try:
        known = host_records.circuits(ctx.shared, [host]).get(host)
    except EnvironmentFault:
        known = None  # the shared schema is away: all else can still be shown
    if known and known.wait > 0:
        found.append(Closed(f"host {host}", known.wait, known.position is Position.OPEN))
    return tuple(found)


def _holders(ctx: Context, image: Row) -> int:
    holding = node_records.holders(ctx.config.nodes)
    return int(
        read(ctx.db, sa.select(holding).select_from(lis_images).where(lis_images.c.image_id == image.image_id))[0][0]
    )


def _original(image: Row) -> str:
    if image.source_bytes is None:
        return "never fetched"
    via = f", from {image.final_url}" if image.final_url and image.final_url != image.image_url else ""
    return f"{image.source_bytes} bytes, SHA-1 {image.source_sha1}{via}"


def _thumbnails(image: Row) -> str:
    thumbs: Sequence[dict[str, Any]] = image.thumbs or ()
    shown = (
        f"{t['n']}{'.' + t['format'] if 'format' in t else ''}: {t['width']}x{t['height']}, {t['bytes']} bytes"
        for t in thumbs
    )
    return ", ".join(shown) or "none"


def _listings(ctx: Context, image_hash: str) -> Iterator[tuple[str, str]]:
    t = lis_listing_images.c
    query = sa.select(lis_listing_images).where(t.image_hash == image_hash)
    rows = read(ctx.db, query.order_by(t.missing_since.is_not(None), t.listing_id).limit(_MOST_LISTINGS + 1))
    for row in rows[:_MOST_LISTINGS]:
        gone = f", gone since {row.missing_since} UTC" if row.missing_since else ""
        place = f"{row.listing_id} (data source {row.datasource_id}), photo {row.position + 1}"
        yield "listing", f"{place}, seen {row.seen_at} UTC{gone}"
    if len(rows) > _MOST_LISTINGS or not rows:
        yield "listing", "and others" if rows else "none shows it"


# Nodes


def _on_node(ctx: Context, image: Row, name: str, there: _NodeFiles, fault: str) -> OnNode:
    c, mark = lis_changes.c, lis_node_repairs.c
    waits = read(ctx.db, sa.select(c.created_at).where(c.change_id == image.change_id, change_log.open_for(name)))
    query = sa.select(mark.reason, mark.since).where(mark.node == name, mark.image_hash == image.image_hash)
    marks = read(ctx.db, query)
    desired = Desired(image.desired)
    stem = f"{ctx.country}/{lis_path_for_hash(image.image_hash)}."
    return OnNode(
        node=name,
        desired=desired,
        wanted={t["path"]: t["bytes"] for t in image.thumbs or ()} if desired is Desired.PRESENT else {},
        waits_since=str(waits[0].created_at) if waits else None,
        sync_fault=fault,
        mark=marks[0].reason if marks else None,
        marked_since=str(marks[0].since) if marks else None,
        files=None if isinstance(there, str) else {p: size for p, size in there.items() if p.startswith(stem)},
        unseen=there if isinstance(there, str) else "",
    )


def _files(ctx: Context, node_name: str, hashes: Sequence[str]) -> _NodeFiles:
    try:
        with NodeSession(ctx.node(node_name)) as node:
            entries = stat_images(node, ctx.country, hashes)
    except ImageSysError as fault:
        return str(fault)
    return {f"{ctx.country}/{entry.path}": entry.size for entry in entries}


def _listed(files: Mapping[str, int] | None) -> str:
    return f" ({', '.join(f'{path} of {size} bytes' for path, size in files.items())})" if files else ""
