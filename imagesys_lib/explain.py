"""Explain: everything known of an image or a listing, and so why it is not live or not on a node."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from imagesys_lib import changes
from imagesys_lib.context import Context
from imagesys_lib.db.engine import Row, read
from imagesys_lib.db.schema import lis_batches, lis_images, lis_listing_images, lis_live_images, lis_node_repairs
from imagesys_lib.errors import ImageSysError
from imagesys_lib.hashing import lis_hash_for_url, lis_path_for_hash
from imagesys_lib.nodes import NodeSession
from imagesys_lib.reasons import reason_for
from imagesys_lib.stages.check import stat_images
from imagesys_lib.states import Desired, State

_MOST_OF_A_LISTING = 50


@dataclass(frozen=True)
class Explanation:
    """One image in one country. ``facts`` are (name, text) in the order to show; ``verdict`` is one sentence."""

    country: str
    image_hash: str
    verdict: str
    facts: tuple[tuple[str, str], ...]


def hashes_for(ctx: Context, what: str) -> list[str]:
    """Return the images that a URL, a hash or a listing id speaks of in this country."""
    if re.fullmatch(r"[0-9a-f]{40}", what):
        candidates = [what]
    elif "://" in what:
        candidates = [lis_hash_for_url(what.strip())]
    else:
        t = lis_listing_images.c
        shown = sa.select(t.image_hash).join(lis_images, lis_images.c.image_hash == t.image_hash)
        query = shown.where(t.listing_id == what).order_by(t.position).limit(_MOST_OF_A_LISTING)
        return [row.image_hash for row in read(ctx.db, query)]
    known = read(ctx.db, sa.select(lis_images.c.image_hash).where(lis_images.c.image_hash.in_(candidates)))
    return [row.image_hash for row in known]


def explain(ctx: Context, image_hash: str, *, ask_nodes: bool = True) -> Explanation:
    """Gather what is known of one image; ``ask_nodes`` also looks at the files on each node."""
    image = read(ctx.db, sa.select(lis_images).where(lis_images.c.image_hash == image_hash))[0]
    live = read(ctx.db, sa.select(lis_live_images).where(lis_live_images.c.image_hash == image_hash))
    purged = image.state == State.PURGED.value
    facts = [
        ("URL", str(image.image_url)),
        ("hash", image_hash),
        ("path", lis_path_for_hash(image_hash)),
        ("state", _state(image)),
        ("live since", f"{live[0].insert_time} UTC" if live else "not live"),
        ("data source", str(image.datasource_id)),
        ("ETL version", f"{image.etl_version} UTC"),
        ("attempts", f"{image.attempts}" + ("" if purged else f", next from {image.next_attempt_at} UTC")),
        ("batch", _batch(ctx, image)),
        ("original", _original(image)),
        ("thumbnails", _thumbnails(image)),
        *_listings(ctx, image_hash),
        *(_nodes(ctx, image) if ask_nodes else ()),
    ]
    return Explanation(ctx.country, image_hash, _verdict(image, bool(live)), tuple(facts))


def _state(image: Row) -> str:
    text = str(image.state)
    if image.reason:
        text += f": {image.reason} ({reason_for(image.reason).help})"
    return f"{text} {image.detail}" if image.detail else text


def _verdict(image: Row, live: bool) -> str:
    if live:
        return "Live."
    sentences = {
        "new": "Not fetched yet: the next run takes it.",
        "reserved": "A batch is fetching it.",
        "downloaded": "Fetched; its thumbnails are to be made.",
        "thumbnailed": "Made; it goes live when a quorum of nodes holds it.",
        "failed": f"Not live: {image.reason}; tried again from {image.next_attempt_at} UTC.",
        "rejected": f"Not live: {image.reason}; waits for new ETL data or `imagesys retry`.",
        "quarantined": f"Not live: {image.reason}; set aside until somebody releases it.",
        "purged": _purged(image),
    }
    return sentences.get(str(image.state), f"State {image.state} without a live row: run `imagesys db-scan`.")


def _purged(image: Row) -> str:
    why = f" ({image.detail})" if image.detail else ""
    if image.desired == Desired.PRESENT.value:
        return (
            f"Off the site{why}; its files leave the nodes from {image.next_attempt_at} UTC, unless it is listed again."
        )
    return f"Purged{why}: comes back when a listing shows it again."


def _batch(ctx: Context, image: Row) -> str:
    if image.batch_id is None:
        return "none"
    rows = read(ctx.db, sa.select(lis_batches).where(lis_batches.c.batch_id == image.batch_id))
    if not rows:
        return f"{image.batch_id}, finished so long ago that nothing else is kept of it"
    held = f", held by {rows[0].holder} until {rows[0].lease_until} UTC" if rows[0].holder else ""
    return f"{image.batch_id}: number {rows[0].seq} of run {rows[0].run_id}, {rows[0].state}{held}"


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


def _listings(ctx: Context, image_hash: str) -> list[tuple[str, str]]:
    t = lis_listing_images.c
    rows = read(ctx.db, sa.select(lis_listing_images).where(t.image_hash == image_hash).limit(10))
    return [
        (
            "listing",
            f"{row.listing_id} (data source {row.datasource_id}), photo {row.position + 1}, seen {row.seen_at} UTC"
            + (f", gone since {row.missing_since} UTC" if row.missing_since else ""),
        )
        for row in rows
    ] or [("listing", "none shows it")]


def _nodes(ctx: Context, image: Row) -> list[tuple[str, str]]:
    marks = {
        row.node: row.reason
        for row in read(ctx.db, sa.select(lis_node_repairs).where(lis_node_repairs.c.image_hash == image.image_hash))
    }
    found = []
    for name in ctx.config.nodes:
        pending = changes.is_pending(ctx.db, name, image.change_id)
        text = "change not applied yet; " if pending else ""
        text += f"marked for repair ({marks[name]}); " if name in marks else ""
        found.append((name, text + _files(ctx, name, image.image_hash)))
    return found


def _files(ctx: Context, node_name: str, image_hash: str) -> str:
    try:
        with NodeSession(ctx.node(node_name)) as node:
            entries = stat_images(node, ctx.country, [image_hash])
    except ImageSysError as fault:
        return str(fault)
    return ", ".join(f"{entry.path} ({entry.size} bytes)" for entry in entries) or "no files"
