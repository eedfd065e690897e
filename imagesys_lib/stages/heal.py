"""Heal: put right what earlier runs left behind (the original's Manager)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import sqlalchemy as sa

from imagesys_lib import changes, runs
from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, NOW, Session, chunks, from_now, read, write
from imagesys_lib.db.schema import lis_batches, lis_images, lis_runs
from imagesys_lib.nodes import NodeFault
from imagesys_lib.runs import Run
from imagesys_lib.stages.let_go import let_go
from imagesys_lib.stages.sync import node_lock, settle
from imagesys_lib.states import UNFINISHED, Desired, State, move, work_left

log = logging.getLogger(__name__)

_ABANDONED_SECONDS = 2 * 86_400
_SOON_SECONDS = 2 * 86_400
_STALE_STAGING_HOURS = 48
_POISON_AFTER = 5

FIGURES = "heal."
"""How the names of what was healed, among the figures of its run, begin."""


@dataclass(frozen=True)
class Healed:
    """What was put right: batches and images released, images found to be poison, bad retries, staged files.

    ``let_go`` counts images that are no longer held for a node that is behind, ``lost_runs`` those of the batches whose
    run no longer exists, ``orphans`` images whose batch no longer exists, ``endless`` images that were fetched again
    and again without an end.
    """

    batches: int = 0
    images: int = 0
    poison: int = 0
    bad_retries: int = 0
    staged: int = 0
    let_go: int = 0
    lost_runs: int = 0
    orphans: int = 0
    endless: int = 0


def heal(ctx: Context, run: Run | None = None) -> Healed:
    """Release stuck batches, correct bad retries, and sweep what nobody needs any more. Safe at any time."""
    batches = images = poison = lost_runs = 0
    for batch_id, run_is_lost in check_stuck_jobs(ctx, run):
        released, poisoned = write(ctx.db, lambda session, b=batch_id: _release(session, b))  # type: ignore[misc]
        images, poison = images + released, poison + poisoned
        found = bool(released or poisoned)  # one of which every image had failed is closed without a word
        batches, lost_runs = batches + found, lost_runs + (found and run_is_lost)
    settle(ctx)
    given_up = let_go(ctx)
    _sweep_repairs(ctx)
    healed = Healed(
        batches,
        images,
        poison,
        check_bad_retry_jobs(ctx),
        _sweep_staging(ctx),
        given_up,
        lost_runs,
        check_orphans(ctx),
        check_endless(ctx),
    )
    if run is not None:
        runs.add_figures(ctx.db, run.run_id, {FIGURES + name: count for name, count in asdict(healed).items()})
    log.info("%s: healed %s", ctx.country.upper(), healed)
    return healed


def check_stuck_jobs(ctx: Context, run: Run | None = None) -> list[tuple[int, bool]]:
    """Return batches with work left that nobody holds and whose run is over, or silent for two days.

    With each goes whether its run no longer exists. A batch that is done has work left where its thumbnails were made
    while it was downloaded in part.
    """
    b, r = lis_batches.c, lis_runs.c
    silent = from_now(-_ABANDONED_SECONDS)
    over = r.state.is_(None) | (r.state != "running") | (b.updated_at < silent)
    query = (
        sa.select(b.batch_id, r.run_id.is_(None).label("run_is_lost"))
        .select_from(lis_batches.outerjoin(lis_runs, r.run_id == b.run_id))
        .where(
            b.state.not_in(["done", "released"]) | ((b.state == "done") & work_left(b.batch_id)),
            b.lease_until.is_(None) | (b.lease_until < NOW),
            over,
            b.run_id != (run.run_id if run else ""),
        )
        .order_by(b.batch_id)
        .limit(CHUNK)
    )
    return [(row.batch_id, bool(row.run_is_lost)) for row in read(ctx.db, query)]


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
    """Bring retry dates beyond any pause to now, and reject what has had its attempts already. Returns how many."""
    retry, i = ctx.config.retry, lis_images.c
    waiting = (State.NEW, State.FAILED)
    pause = max(
        retry.max_hours * 2, ctx.config.fetch.max_retry_after_hours, ctx.config.fetch.breaker.max_seconds / 3600
    )
    late = i.state.in_([state.value for state in waiting]) & (i.next_attempt_at > from_now(round(pause * 3600)))
    # Those whose turn comes soon: all that have failed and only wait are too many to be looked at every day.
    soon = (i.next_attempt_at < from_now(_SOON_SECONDS)) | late
    spent = (i.state == State.FAILED.value) & (i.attempts >= retry.max_attempts) & soon

    def bring_forward(session: Session, ids: list[int]) -> int:
        statement = sa.update(lis_images).where(i.image_id.in_(ids), late)
        return session.execute(statement.values(next_attempt_at=NOW)).rowcount

    def reject(session: Session, ids: list[int]) -> int:
        return move(session, State.REJECTED, frm=(State.FAILED,), where=i.image_id.in_(ids) & spent)

    return _put_right(ctx, spent, reject) + _put_right(ctx, late, bring_forward)


def check_orphans(ctx: Context) -> int:
    """Queue images whose batch no longer exists: no task can work on them. Returns how many."""
    b, i = lis_batches.c, lis_images.c
    batch = sa.select(b.batch_id).where(b.batch_id == i.batch_id)
    orphan = i.state.in_([state.value for state in UNFINISHED]) & ~batch.exists()

    def free(session: Session, ids: list[int]) -> int:
        where, made = i.image_id.in_(ids), i.desired == Desired.PRESENT.value
        freed = move(session, State.LIVE, frm=UNFINISHED, where=where & made)  # a forced remake
        values = {"batch_id": None, "next_attempt_at": NOW}
        return freed + move(session, State.NEW, frm=UNFINISHED, where=where, values=values)

    return _put_right(ctx, orphan, free)


def check_endless(ctx: Context) -> int:
    """Set images aside that are fetched time and again and never end. Returns how many.

    What counts is what cost a request each time: a batch that was given up, or an original that was lost.
    """
    i = lis_images.c
    # A forced remake keeps its place on the site, and so its state.
    endless = (i.state == State.NEW.value) & (i.releases >= _POISON_AFTER) & (i.desired != Desired.PRESENT.value)
    poison = {"reason": "poison", "detail": f"fetched in vain {_POISON_AFTER} times"}

    def set_aside(session: Session, ids: list[int]) -> int:
        return move(session, State.QUARANTINED, frm=(State.NEW,), where=i.image_id.in_(ids) & endless, values=poison)

    return _put_right(ctx, endless, set_aside)


def _put_right(ctx: Context, bad: sa.ColumnElement[bool], work: Callable[[Session, list[int]], int]) -> int:
    """Do ``work`` with all images that are ``bad``, at most 1,000 at once; none of them is bad any more then."""
    done = 0
    while ids := [row.image_id for row in read(ctx.db, sa.select(lis_images.c.image_id).where(bad).limit(CHUNK))]:
        ctx.check_stop()
        done += write(ctx.db, lambda session, ids=ids: work(session, ids))  # type: ignore[misc]
    return done


def _sweep_repairs(ctx: Context) -> None:
    """Remove what killed repairs have left in staging, but for nodes that somebody is at right now."""
    for node in ctx.config.nodes:
        if ctx.staging.repairs_left(node):
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
