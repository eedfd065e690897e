"""Heal: put right what earlier runs left behind (the original's Manager)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, NOW, Row, from_now, read, write
from imagesys_lib.db.schema import lis_batches, lis_images, lis_runs
from imagesys_lib.images.states import NEVER, UNFINISHED, Desired, State, move
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run
from imagesys_lib.stages.shared.staged_files import drop_held, sweep

log = logging.getLogger(__name__)

_ABANDONED_SECONDS = 2 * 86_400
_POISON_AFTER = 5

HEAL_FIGURES = "heal."
"""How the names of what was healed, among the figures of its run, begin."""


@dataclass(frozen=True)
class Healed:
    """What was put right: batches and images released, images found to be poison, bad retries, staged files.

    ``unstaged`` counts images whose staged files went while a node is behind with them, ``lost_runs`` those of the
    batches whose run no longer exists or never came to its end, ``orphans`` images whose batch no longer exists,
    ``endless`` images that were fetched again and again without an end.
    """

    batches: int = 0
    images: int = 0
    poison: int = 0
    bad_retries: int = 0
    staged: int = 0
    unstaged: int = 0
    lost_runs: int = 0
    orphans: int = 0
    endless: int = 0


@dataclass(frozen=True)
class Stuck:
    """A batch with work left that nobody will do. ``run_is_lost``: its run is gone, or died without an end."""

    batch_id: int
    run_is_lost: bool


@dataclass
class _Books:
    """Counts what is put right, also among the figures of the run: at once, so that a killed heal loses none of it.

    In a dry run nothing is written, and what would be done is counted.
    """

    ctx: Context
    run: Run | None
    dry_run: bool
    counts: Counter[str] = field(default_factory=Counter)

    def do(self, work: Callable[[Connection], Mapping[str, int]]) -> Mapping[str, int]:
        """Run ``work`` in a transaction, which also keeps the figures that it returns by name."""

        def both(connection: Connection) -> Mapping[str, int]:
            done = work(connection)
            for name, number in done.items():
                if number and self.run is not None:
                    runs.add_figure(connection, self.run.run_id, HEAL_FIGURES + name, number)
            return done

        done = write(self.ctx.db, both)
        self.counts.update(done)
        return done

    def note(self, name: str, number: int) -> None:
        """Count what was done by other code, or in a dry run would be."""
        self.counts[name] += number
        if self.run is not None and not self.dry_run:
            runs.add_figures(self.ctx.db, self.run.run_id, {HEAL_FIGURES + name: number})


def heal(ctx: Context, run: Run | None = None, *, dry_run: bool = False) -> Healed:
    """Release stuck batches, correct bad retries, and sweep what nobody needs any more. Safe at any time.

    A dry run writes and deletes nothing and returns what would be done.
    """
    books = _Books(ctx, run, dry_run)
    for stuck in check_stuck_jobs(ctx, run):
        ctx.give_way()
        _release(books, stuck)
    drop_held(ctx, books.note, dry_run=dry_run)
    check_bad_retry_jobs(books)
    sweep(ctx, books.note, dry_run=dry_run)
    check_orphans(books)
    check_endless(books)
    healed = Healed(**books.counts)
    log.info("%s: %s %s", ctx.country.upper(), "would heal" if dry_run else "healed", healed)
    return healed


def check_stuck_jobs(ctx: Context, run: Run | None = None) -> list[Stuck]:
    """Return batches with work left that nobody holds and whose run is over, or silent for two days.

    A batch that is done has work left where its thumbnails were made while it was downloaded in part.
    """
    b, r, i = lis_batches.c, lis_runs.c, lis_images.c
    # Those that are done are many, and are found by what is left of them.
    open_ones = _stuck(lis_batches, run).where(b.state.in_(["planned", "downloaded"]))
    in_part = (
        _stuck(lis_images.join(lis_batches, b.batch_id == i.batch_id), run)
        .where(b.state == "done", i.state.in_([state.value for state in UNFINISHED]))
        .group_by(b.batch_id, r.run_id, r.state)
    )
    rows = [row for query in (open_ones, in_part) for row in read(ctx.db, query.limit(CHUNK))]
    return sorted((Stuck(row.batch_id, bool(row.lost)) for row in rows), key=lambda stuck: stuck.batch_id)


def _stuck(batches: sa.FromClause, run: Run | None) -> sa.Select[Any]:
    """Return the query for batches that nobody holds, of runs that will not go on."""
    b, r = lis_batches.c, lis_runs.c
    over = r.state.is_(None) | (r.state != "running") | (b.updated_at < from_now(-_ABANDONED_SECONDS))
    # One that is running and over all the same was killed for good, or deleted in Airflow.
    lost = (r.state.is_(None) | (r.state == "running")).label("lost")
    return (
        sa.select(b.batch_id, lost)
        .select_from(batches.outerjoin(lis_runs, r.run_id == b.run_id))
        .where(b.lease_until.is_(None) | (b.lease_until < NOW), over, b.run_id != (run.run_id if run else ""))
    )


def _release(books: _Books, stuck: Stuck) -> None:
    """Take a batch away from whoever may still be at it and queue its images."""
    if books.dry_run:
        _would_release(books, stuck)
        return
    while "batches" not in books.do(lambda connection: _release_some(connection, stuck)):
        books.ctx.give_way()


def _release_some(connection: Connection, stuck: Stuck) -> Mapping[str, int]:
    """Queue up to 1,000 images of a batch, and close it with the last of them (``batches`` is 1 then).

    Its holder is forgotten only then: a heal that is killed before it finds the same evidence again.
    """
    b, i = lis_batches.c, lis_images.c
    this_batch = b.batch_id == stuck.batch_id
    held = (b.lease_until > NOW).label("held")
    query = sa.select(b.state, b.holder, b.rechecks, held).where(this_batch)
    batch = connection.execute(query.with_for_update()).one_or_none()
    if batch is None or batch.held:
        return {"batches": 0}
    left = (i.batch_id == stuck.batch_id) & i.state.in_([state.value for state in UNFINISHED])
    query = sa.select(i.image_id, i.state, i.releases).where(left).limit(CHUNK + 1)
    rows = connection.execute(query).all()
    suspect = _died_at(batch)
    fates: dict[str, list[int]] = {}
    for row in rows[:CHUNK]:
        asked = batch.rechecks and row.state == State.RESERVED.value
        fates.setdefault("asked" if asked else _fate(row, suspect), []).append(row.image_id)
    moved = {name: _move(connection, name, ids) for name, ids in fates.items()}
    done = {"poison": moved.pop("poison", 0), "images": sum(moved.values())}
    more = len(rows) > CHUNK
    closed: dict[str, object] = {} if more else {"holder": None, "state": "released"}
    connection.execute(
        sa.update(lis_batches).where(this_batch).values(fence=b.fence + 1, lease_until=None, updated_at=NOW, **closed)
    )
    found = int(bool(rows))  # one of which every image had failed is closed without a word
    return done if more else {**done, "batches": found, "lost_runs": found * stuck.run_is_lost}


def _died_at(batch: Row) -> State | None:
    """Return the state of those images that a batch's worker was at when it died; None if it gave the batch back.

    Whatever ends in an error, an outage above all, gives its lease back: no image is to blame for it.
    """
    if batch.holder is None:
        return None
    return State.DOWNLOADED if batch.state == "downloaded" else State.RESERVED


def _fate(image: Any, suspect: State | None) -> str:
    """Return what becomes of an unfinished image: ``free``, or of a suspect one ``vain`` or ``poison``."""
    if suspect is None or image.state != suspect.value:
        return "free"
    return "poison" if image.releases + 1 >= _POISON_AFTER else "vain"


def _move(connection: Connection, fate: str, ids: list[int]) -> int:
    where, made = lis_images.c.image_id.in_(ids), lis_images.c.desired == Desired.PRESENT.value
    if fate == "asked":  # live all the while; another day asks again
        return move(connection, State.LIVE, frm=UNFINISHED, where=where, values={"checked_at": NOW})
    if fate == "poison":
        poison = {"reason": "poison", "detail": f"its worker died {_POISON_AFTER} times"}
        # A forced remake stays live with what it had.
        live = {**poison, "next_attempt_at": NEVER}
        kept = move(connection, State.LIVE, frm=UNFINISHED, where=where & made, values=live)
        return kept + move(connection, State.QUARANTINED, frm=UNFINISHED, where=where, values=poison)
    free: dict[str, object] = {"next_attempt_at": NOW}
    if fate == "vain":
        free["releases"] = lis_images.c.releases + 1
    return move(connection, State.NEW, frm=UNFINISHED, where=where, values=free)


def _would_release(books: _Books, stuck: Stuck) -> None:
    b, i = lis_batches.c, lis_images.c
    batches = read(books.ctx.db, sa.select(b.state, b.holder).where(b.batch_id == stuck.batch_id))
    suspect = _died_at(batches[0]) if batches else None
    left = (i.batch_id == stuck.batch_id) & i.state.in_([state.value for state in UNFINISHED])
    kinds = (i.state, i.releases)
    rows = read(books.ctx.db, sa.select(*kinds, sa.func.count().label("images")).where(left).group_by(*kinds))
    for row in rows:
        books.note("poison" if _fate(row, suspect) == "poison" else "images", row.images)
    books.note("batches", int(bool(rows)))
    books.note("lost_runs", int(bool(rows)) * stuck.run_is_lost)


def check_bad_retry_jobs(books: _Books) -> None:
    """Bring retry dates beyond any pause to now, and reject what is due and has had its attempts already."""
    config, i = books.ctx.config, lis_images.c
    waiting = (State.NEW, State.FAILED)
    pause = max(config.retry.max_hours * 2, config.fetch.max_retry_after_hours, config.fetch.breaker.max_seconds / 3600)
    late = i.state.in_([state.value for state in waiting]) & (i.next_attempt_at > from_now(round(pause * 3600)))
    # Those whose turn has come: all that have failed and only wait are too many to be looked at every day.
    due = (i.next_attempt_at <= NOW) | late
    spent = (i.state == State.FAILED.value) & (i.attempts >= config.retry.max_attempts) & due

    def bring_forward(connection: Connection, ids: list[int]) -> int:
        statement = sa.update(lis_images).where(i.image_id.in_(ids), late)
        return connection.execute(statement.values(next_attempt_at=NOW)).rowcount

    def reject(connection: Connection, ids: list[int]) -> int:
        return move(connection, State.REJECTED, frm=(State.FAILED,), where=i.image_id.in_(ids) & spent)

    _put_right(books, "bad_retries", spent, reject)
    # In a dry run those that are spent are still there.
    _put_right(books, "bad_retries", late & ~spent if books.dry_run else late, bring_forward)


def check_orphans(books: _Books) -> None:
    """Queue images whose batch no longer exists: no task can work on them."""
    b, i = lis_batches.c, lis_images.c
    batch = sa.select(b.batch_id).where(b.batch_id == i.batch_id)
    orphan = i.state.in_([state.value for state in UNFINISHED]) & ~batch.exists()

    def free(connection: Connection, ids: list[int]) -> int:
        values = {"batch_id": None, "next_attempt_at": NOW}
        return move(connection, State.NEW, frm=UNFINISHED, where=i.image_id.in_(ids), values=values)

    _put_right(books, "orphans", orphan, free)


def check_endless(books: _Books) -> None:
    """Set images aside that are fetched time and again and never end.

    What counts is what may be the image's own doing: a worker that died at it, or an original that was lost.
    """
    i = lis_images.c
    # A forced remake keeps its place on the site, and so its state.
    endless = (i.state == State.NEW.value) & (i.releases >= _POISON_AFTER) & (i.desired != Desired.PRESENT.value)
    poison = {"reason": "poison", "detail": f"fetched in vain {_POISON_AFTER} times"}

    def set_aside(connection: Connection, ids: list[int]) -> int:
        return move(connection, State.QUARANTINED, frm=(State.NEW,), where=i.image_id.in_(ids) & endless, values=poison)

    _put_right(books, "endless", endless, set_aside)


def _put_right(
    books: _Books, name: str, bad: sa.ColumnElement[bool], work: Callable[[Connection, list[int]], int]
) -> None:
    """Do ``work`` with all images that are ``bad``, at most 1,000 at once; none of them is bad any more then."""
    db, i = books.ctx.db, lis_images.c
    if books.dry_run:
        books.note(name, int(read(db, sa.select(sa.func.count()).select_from(lis_images).where(bad))[0][0]))
        return
    while ids := [row.image_id for row in read(db, sa.select(i.image_id).where(bad).limit(CHUNK))]:
        books.ctx.give_way()
        books.do(lambda connection, ids=ids: {name: work(connection, ids)})  # type: ignore[misc]
