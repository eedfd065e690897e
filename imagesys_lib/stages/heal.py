"""Heal: put right what earlier runs left behind (the original's Manager)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from imagesys_lib import changes
from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, NOW, Session, chunks, from_now, read, write
from imagesys_lib.db.schema import (
    lis_batches,
    lis_change_acks,
    lis_changes,
    lis_images,
    lis_incidents,
    lis_mails,
    lis_messages,
    lis_metrics,
    lis_node_checks,
    lis_runs,
)
from imagesys_lib.nodes import NodeFault
from imagesys_lib.runs import Run
from imagesys_lib.stages.let_go import let_go
from imagesys_lib.stages.sync import node_lock, settle
from imagesys_lib.states import UNFINISHED, Desired, State, move

log = logging.getLogger(__name__)

_ABANDONED_SECONDS = 2 * 86_400
_KEEP_SECONDS = 30 * 86_400
_STALE_STAGING_HOURS = 48
_POISON_AFTER = 5


@dataclass(frozen=True)
class Healed:
    """What was put right: batches and images released, images found to be poison, bad retry dates, staged files.

    ``let_go`` counts images that are no longer held for a node that is behind.
    """

    batches: int = 0
    images: int = 0
    poison: int = 0
    bad_retries: int = 0
    staged: int = 0
    pruned: int = 0
    let_go: int = 0


def heal(ctx: Context, run: Run | None = None) -> Healed:
    """Release stuck batches, correct bad retries, and sweep what nobody needs any more. Safe at any time."""
    batches = images = poison = 0
    for batch_id in check_stuck_jobs(ctx, run):
        released, poisoned = write(ctx.db, lambda session, b=batch_id: _release(session, b))  # type: ignore[misc]
        images, poison = images + released, poison + poisoned
        batches += 1 if released or poisoned else 0  # one of which every image had failed is closed without a word
    settle(ctx)
    given_up = let_go(ctx)
    _sweep_repairs(ctx)
    healed = Healed(batches, images, poison, check_bad_retry_jobs(ctx), _sweep_staging(ctx), _prune(ctx), given_up)
    log.info("%s: healed %s", ctx.country.upper(), healed)
    return healed


def check_stuck_jobs(ctx: Context, run: Run | None = None) -> list[int]:
    """Return batches with work left that nobody holds and whose run is over, or silent for two days."""
    b, r = lis_batches.c, lis_runs.c
    silent = from_now(-_ABANDONED_SECONDS)
    over = r.state.is_(None) | (r.state != "running") | (b.updated_at < silent)
    query = (
        sa.select(b.batch_id)
        .select_from(lis_batches.outerjoin(lis_runs, r.run_id == b.run_id))
        .where(
            b.state.not_in(["done", "released"]),
            b.lease_until.is_(None) | (b.lease_until < NOW),
            over,
            b.run_id != (run.run_id if run else ""),
        )
        .order_by(b.batch_id)
        .limit(CHUNK)
    )
    return [row.batch_id for row in read(ctx.db, query)]


def _release(session: Session, batch_id: int) -> tuple[int, int]:
    """Take a batch away from whoever may still be at it and queue its images; returns (images, poison)."""
    b, i = lis_batches.c, lis_images.c
    held = session.scalar(sa.select(b.lease_until > NOW).where(b.batch_id == batch_id).with_for_update())
    if held:
        return 0, 0
    session.execute(
        sa.update(lis_batches)
        .where(b.batch_id == batch_id)
        .values(fence=b.fence + 1, holder=None, lease_until=None, state="released", updated_at=NOW)
    )
    own = (i.batch_id == batch_id) & (i.desired != Desired.PRESENT.value)
    free = {"batch_id": None, "next_attempt_at": NOW, "releases": i.releases + 1}
    poison = {"reason": "poison", "detail": f"given up {_POISON_AFTER} times"}
    poisoned = move(
        session, State.QUARANTINED, frm=UNFINISHED, where=own & (i.releases + 1 >= _POISON_AFTER), values=poison
    )
    released = move(session, State.NEW, frm=UNFINISHED, where=own, values=free)
    # A forced remake that was given up: its old thumbnails are still good.
    released += move(session, State.LIVE, frm=UNFINISHED, where=i.batch_id == batch_id)
    return released, poisoned


def check_bad_retry_jobs(ctx: Context) -> int:
    """Bring retry dates that lie beyond any back-off to now. Returns how many."""
    i = lis_images.c
    beyond = from_now(round(ctx.config.retry.max_hours * 2 * 3600))
    bad = sa.select(i.image_id).where(i.state == State.FAILED.value, i.next_attempt_at > beyond).limit(CHUNK)
    ids = [row.image_id for row in read(ctx.db, bad)]
    if ids:
        statement = sa.update(lis_images).where(i.image_id.in_(ids), i.state == State.FAILED.value)
        write(ctx.db, lambda session: session.execute(statement.values(next_attempt_at=NOW)))
    return len(ids)


def _prune(ctx: Context) -> int:
    """Delete rows that only tell of long ago, at most 1,000 a table and run."""
    old = from_now(-_KEEP_SECONDS)
    pruned = 0
    c = lis_changes.c
    ids = [
        row.change_id
        for row in read(ctx.db, sa.select(c.change_id).where(c.settled_at < old).order_by(c.settled_at).limit(CHUNK))
    ]

    def work(session: Session) -> int:
        session.execute(sa.delete(lis_change_acks).where(lis_change_acks.c.change_id.in_(ids)))
        count: int = session.execute(sa.delete(lis_changes).where(c.change_id.in_(ids))).rowcount
        return count

    if ids:
        pruned += write(ctx.db, work)
    for table, column, key in (
        (lis_node_checks, lis_node_checks.c.checked_at, lis_node_checks.c.check_id),
        (lis_metrics, lis_metrics.c.measured_at, lis_metrics.c.run_id),
        (lis_mails, lis_mails.c.sent_at, lis_mails.c.mail_id),
        (lis_incidents, lis_incidents.c.closed_at, lis_incidents.c.incident_id),
        (lis_messages, lis_messages.c.noted_at, lis_messages.c.message_id),
    ):
        keys = [row[0] for row in read(ctx.db, sa.select(key).where(column < old).limit(CHUNK))]
        if keys:
            statement = sa.delete(table).where(key.in_(keys))
            pruned += write(ctx.db, lambda session, s=statement: session.execute(s).rowcount)  # type: ignore[misc]
    return pruned


def _sweep_repairs(ctx: Context) -> None:
    """Remove what killed repairs have left in staging, but for nodes that somebody is at right now."""
    for node in ctx.config.nodes:
        if any(ctx.staging.settings.root.glob(f"{ctx.staging.repair_folders(node)}*")):
            with suppress(NodeFault), node_lock(ctx, node, timeout=0):
                ctx.staging.sweep_repairs(node)


def _sweep_staging(ctx: Context) -> int:
    """Remove staged files, two days old or more, of images that no batch and no open change needs."""
    root = ctx.staging.settings.root
    before = time.time() - _STALE_STAGING_HOURS * 3600
    swept = 0
    for kind in ("originals", "out"):
        folder = root / kind / ctx.country
        for some in chunks(_files_older(folder, before)):
            hashes = {path: "".join(path.relative_to(folder).parts).split(".")[0][:40] for path in some}
            needed = _needed(ctx, kind, sorted(set(hashes.values())))
            for path, image_hash in hashes.items():
                if image_hash not in needed:
                    path.unlink(missing_ok=True)
                    swept += 1
    return swept


def _files_older(folder: Path, before: float) -> Iterator[Path]:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another run's worker may have finished with it
            if path.is_file() and path.stat().st_mtime < before:
                yield path


def _needed(ctx: Context, kind: str, hashes: list[str]) -> set[str]:
    i = lis_images.c
    query = sa.select(i.image_hash).where(i.image_hash.in_(hashes))
    if kind == "originals":
        query = query.where(i.state.in_([state.value for state in (*UNFINISHED, State.NEW)]))
    else:
        query = query.where(changes.is_open(i.change_id))
    return {row.image_hash for row in read(ctx.db, query)}
