"""Plan: reserve what is due and cut it into batches.

Planned again, a run gets its existing batches back in the same order, then new ones: a shorter list would make
Airflow mark failed batches as removed and the run as green.
"""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from imagesys_lib.config import Batching
from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, NOW, chunks, read, write
from imagesys_lib.db.locks import named_lock
from imagesys_lib.db.schema import lis_batches, lis_images, lis_listing_images
from imagesys_lib.images.states import State, move
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind, naive_utc
from imagesys_lib.stages import recheck

log = logging.getLogger(__name__)

_LOCK_SECONDS = 600.0
_LIVE = lis_images.c.state == State.LIVE.value
_PATIENCE, _PAUSE = 50, 0.2  # tries at rows that somebody else has locked, and the seconds in between


@dataclass(frozen=True)
class Batch:
    """One batch as a task gets it: its id, its place in the run (from 0) and its size in images."""

    batch_id: int
    seq: int
    size: int


def batch_size(due: int, existing: int, settings: Batching) -> int:
    """Return how many images a batch holds: the configured size, raised so that the run's batches stay few.

    Airflow maps at most ``max_map_length`` (1,024) instances and fails the task that asks for more.
    """
    room = max(1, settings.max_batches - existing)
    return max(settings.size, math.ceil(due / room))


def plan(ctx: Context, run: Run) -> list[Batch]:
    """Return the run's batches in order, after reserving what is due now."""
    # One planner a country at a time: while it looks for its rows, a planner holds locks on rows that it will not take,
    # and another one, which skips what is locked, would leave rows of its own behind.
    lock = named_lock(
        ctx.db, f"imagesys.{ctx.country}.plan", timeout=_LOCK_SECONDS, on_wait=lambda _seconds: ctx.check_stop()
    )
    with lock:
        _reserve_due(ctx, run)
        if run.kind is RunKind.SCHEDULED:
            _reserve_rechecks(ctx, run)
    planned = batches_of(ctx, run)
    if not planned:
        log.info("%s: no rows gained, no work to do", ctx.country.upper())
    return planned


def _reserve_due(ctx: Context, run: Run) -> None:
    """Make batches until nothing is due. Rows that another writer holds for a moment are waited for."""
    existing, most = batches_of(ctx, run), ctx.config.batch.max_batches
    due = _due(ctx, run, frozenset(batch.batch_id for batch in existing))
    images = _count_due(ctx, due)
    size = batch_size(images, len(existing), ctx.config.batch)
    log.info("%s: %d images due, %d batches exist, batch size %d", ctx.country.upper(), images, len(existing), size)
    if images:
        runs.go_on(ctx.db, run.run_id)  # or a `heal` would take its new batches for those of a run that is over
    seq = existing[-1].seq + 1 if existing else 0
    patience = _PATIENCE
    while images and seq < most and patience:
        if _make_batch(ctx, due, seq, size):
            seq += 1
            ctx.progress(min(images, seq * size), images)
        elif not _count_due(ctx, due):
            return
        else:
            patience -= 1
            time.sleep(_PAUSE)
    if seq >= most and (left := _count_due(ctx, due)):
        log.warning(
            "%s: %d images are due, and this run has as many batches as it may (batch.max_batches %d). Remedy: none "
            "for new images, the next run takes them; to make a day again, `imagesys run %s --interval DAY --force`.",
            *(ctx.country.upper(), left, most, ctx.country),
        )


def _reserve_rechecks(ctx: Context, run: Run) -> None:
    """Make batches of live images whose hosts are asked again, up to the day's budget. Planned again, it is kept."""
    b, settings = lis_batches.c, ctx.config.batch
    existing = read(ctx.db, sa.select(b.seq, b.size, b.rechecks).where(b.run_id == run.run_id))
    left = recheck.budget(ctx) - sum(row.size for row in existing if row.rechecks)
    room = settings.max_batches - len(existing)
    if left <= 0 or room <= 0:
        return
    size = batch_size(left, len(existing), settings)
    images = list(itertools.islice(recheck.chosen(ctx, run), left))
    log.info("%s: %d live images are asked for again", ctx.country.upper(), len(images))
    if images:
        runs.go_on(ctx.db, run.run_id)
    seq = max((row.seq + 1 for row in existing), default=0)
    for batch in chunks(images, size):
        seq += bool(_make_recheck_batch(ctx, run, seq, batch))


def _make_recheck_batch(ctx: Context, run: Run, seq: int, images: Sequence[int]) -> int | None:
    """Reserve these images, at most 1,000 in a transaction; return the batch, None if they are live no more."""
    batch_id: int | None = None
    for some in chunks(images):
        ctx.give_way()
        due = _Due(run.run_id, lis_images.c.image_id.in_(some) & _LIVE, (State.LIVE,), frozenset(), rechecks=True)
        batch_id, _ = write(
            ctx.db,
            lambda connection, known=batch_id, due=due: _reserve(connection, due, seq, known, CHUNK),  # type: ignore[misc]
        )
    return batch_id


def batches_of(ctx: Context, run: Run) -> list[Batch]:
    """Return the batches that a run has, in order."""
    c = lis_batches.c
    rows = read(ctx.db, sa.select(c.batch_id, c.seq, c.size).where(c.run_id == run.run_id).order_by(c.seq))
    return [Batch(row.batch_id, row.seq, row.size) for row in rows]


@dataclass(frozen=True)
class _Due:
    """Which images a run may reserve, the states they are in, and the batches that the run had before.

    ``rechecks``: they are to be asked for again.
    """

    run_id: str
    where: sa.ColumnElement[bool]
    states: tuple[State, ...]
    earlier: frozenset[int]
    rechecks: bool = False


def _due(ctx: Context, run: Run, earlier: frozenset[int]) -> _Due:
    i, listing, b = lis_images.c, lis_listing_images.c, lis_batches.c
    states: tuple[State, ...] = (State.NEW, State.FAILED)
    where: list[sa.ColumnElement[bool]] = []
    if run.kind is RunKind.BACKFILL or run.force:
        start, end = naive_utc(run.interval.start), naive_utc(run.interval.end)
        own_rows = sa.select(listing.image_hash).where(listing.etl_time >= start, listing.etl_time < end)
        where.append(i.image_hash.in_(own_rows))
    if run.force:
        batches_of_run = sa.select(b.batch_id).where(b.run_id == run.run_id)
        if since := _forced_at(ctx, run):
            # What it had made before it was forced is made again.
            batches_of_run = batches_of_run.where(b.created_at >= since)
        # Once a request, not once a `plan`; what was given back or starts anew keeps its batch until it is taken.
        where.append(i.batch_id.is_(None) | i.batch_id.not_in(batches_of_run) | (i.state == State.NEW.value))
        states = (*states, State.LIVE)
    else:
        where.append(i.next_attempt_at <= NOW)
    return _Due(run.run_id, sa.and_(*where, i.state.in_([state.value for state in states])), states, earlier)


def _forced_at(ctx: Context, run: Run) -> dt.datetime | None:
    """Return since when this run makes live images again; None if its beginning was never recorded."""
    row = runs.load(ctx.db, run.run_id)
    return row.forced_at if row is not None else None


def _count_due(ctx: Context, due: _Due) -> int:
    return int(read(ctx.db, sa.select(sa.func.count()).select_from(lis_images).where(due.where))[0][0])


def _make_batch(ctx: Context, due: _Due, seq: int, size: int) -> int:
    """Reserve up to ``size`` images, at most 1,000 in a transaction; the first one makes the batch."""
    reserved = 0
    batch_id: int | None = None
    while reserved < size:
        ctx.give_way()
        limit = min(CHUNK, size - reserved)
        batch_id, gained = write(
            ctx.db,
            lambda connection, known=batch_id, limit=limit: _reserve(connection, due, seq, known, limit),  # type: ignore[misc]
        )
        reserved += gained
        if gained < limit:
            break
    return reserved


def _reserve(connection: Connection, due: _Due, seq: int, batch_id: int | None, limit: int) -> tuple[int | None, int]:
    b, i = lis_batches.c, lis_images.c
    due_images = sa.select(i.image_id, i.batch_id).where(due.where).limit(limit)
    rows = connection.execute(due_images.with_for_update(of=lis_images, skip_locked=True)).all()
    ids = [row.image_id for row in rows]
    if not ids:
        return batch_id, 0
    # Counted once in a run: what it takes again leaves the batch that had it.
    for earlier, images in Counter(row.batch_id for row in rows if row.batch_id in due.earlier).items():
        connection.execute(sa.update(lis_batches).where(b.batch_id == earlier).values(size=b.size - images))
    if batch_id is None:
        row = {
            "run_id": due.run_id,
            "seq": seq,
            "size": 0,
            "state": "planned",
            "rechecks": due.rechecks,
            "created_at": NOW,
            "updated_at": NOW,
        }
        batch_id = int(connection.execute(sa.insert(lis_batches).values(row)).lastrowid)
    moved = move(connection, State.RESERVED, frm=due.states, where=i.image_id.in_(ids), values={"batch_id": batch_id})
    connection.execute(sa.update(lis_batches).where(b.batch_id == batch_id).values(size=b.size + moved))
    if due.rechecks:
        runs.add_figure(connection, due.run_id, f"{recheck.RECHECK_FIGURES}asked", moved)
    return batch_id, moved
