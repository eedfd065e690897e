"""Work on one batch: the lease and the writes that download and thumbnail share.

One thread hands out images, collects results, writes them in groups and renews the lease; others only work.
"""

from __future__ import annotations

import gc
import itertools
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection

from imagesys_lib.config import Retry
from imagesys_lib.context import Context
from imagesys_lib.db.bulk import Kinds, given
from imagesys_lib.db.engine import Row, chunks, from_now, read, write
from imagesys_lib.db.schema import lis_batches, lis_images
from imagesys_lib.errors import Stopped
from imagesys_lib.images.reasons import Fate, ImageFault
from imagesys_lib.images.states import NEVER, Desired, State, move
from imagesys_lib.runs import leases, runs
from imagesys_lib.runs.lease_renewal import LeaseRenewal
from imagesys_lib.runs.leases import Lease

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")

GROUP = 100
"""Results are written in groups of this many images, or after a second."""


def lis_worker() -> str:
    """Return the name of this worker: its host."""
    return socket.gethostname()


def holder_name() -> str:
    """Name this process as the holder of a lease taken by hand."""
    return f"{lis_worker()}:{os.getpid()}"


@contextmanager
def hold(ctx: Context, batch_id: int, holder: str, done_state: str) -> Iterator[Lease]:
    """Hold a batch while the block runs; give it back in every case, as ``done_state`` if the block ended well."""
    seconds = ctx.config.batch.lease_seconds
    gc.freeze()  # what is imported is nobody's garbage, and Airflow's takes 0.1 s to look through each time
    lease = leases.acquire_patiently(ctx.db, batch_id, holder, seconds, ctx.check_stop)
    runs.resume(ctx.db, batch_id)
    try:
        yield lease
    except BaseException:
        leases.release(ctx.db, lease)
        raise
    leases.release(ctx.db, lease, done_state)


def images_in(ctx: Context, batch_id: int, state: State) -> Sequence[Row]:
    """Return the images of a batch that are in one state, each with ``rechecks`` of the batch."""
    c = lis_images.c
    what = (c.image_id, c.image_hash, c.image_url, c.datasource_id, c.attempts, c.desired)
    known = (c.recipe, c.source_sha1, c.etag, c.last_modified)
    query = sa.select(*what, *known, lis_batches.c.rechecks).join(lis_batches, lis_batches.c.batch_id == c.batch_id)
    return read(ctx.db, query.where(c.batch_id == batch_id, c.state == state.value).order_by(c.image_id))


class Crew(Generic[Item, Result]):
    """Works through the images of a held batch with the help of others, threads or processes.

    ``submit`` hands a piece of work over and returns a future of its results: one for every image in it, never an
    image's own failure as an exception. ``store`` runs in the calling thread with groups of results. At most
    ``at_once`` pieces are under way, so memory does not grow with the batch. Raises Stopped soon after ``ctx.stop`` is
    set; whoever owns the helpers ends them.
    """

    def __init__(
        self,
        ctx: Context,
        lease: Lease,
        at_once: int,
        submit: Callable[[Item], Future[list[Result]]],
        store: Callable[[list[Result]], None],
    ) -> None:
        self._ctx, self._lease, self._submit, self._store = ctx, lease, submit, store
        self._at_once = at_once
        self._renewal = LeaseRenewal(ctx.db, lease)

    def run(self, pieces: Iterable[Item], images: int, until: float = math.inf) -> list[Item]:
        """Work through ``pieces``, ``images`` in all; begin none after ``until`` (monotonic). Returns what is left."""
        pending: set[Future[list[Result]]] = set()
        done: set[Future[list[Result]]] = set()
        results: list[Result] = []
        queue = iter(pieces)
        stored = time.monotonic()
        done_count = 0
        try:
            while True:
                self._ctx.check_stop()
                room = self._at_once - len(pending) if time.monotonic() < until else 0
                pending |= {self._submit(piece) for piece in itertools.islice(queue, room)}
                if not pending:
                    break
                done, pending = wait(pending, timeout=0.25, return_when=FIRST_COMPLETED)
                while done:
                    results += done.pop().result()
                now = time.monotonic()
                self._renewal.renew_if_due()
                if len(results) >= GROUP or (results and now - stored > 1):
                    done_count += self._flush(results)
                    stored = now
                    self._ctx.progress(done_count, images)
        except Stopped:
            # What is done is kept: to do it again would be once too many.
            for future in pending | done:
                if future.done() and not future.cancelled() and not future.exception():
                    results += future.result()
            self._flush(results)
            raise
        done_count += self._flush(results)
        self._ctx.progress(done_count, images)
        return list(queue)

    def _flush(self, results: list[Result]) -> int:
        count = len(results)
        for group in chunks(results, GROUP):
            self._store(group)
        results.clear()
        return count


def retry_delay_hours(attempts: int, settings: Retry, jitter: float) -> float:
    """Return when to try an image again after ``attempts`` failures: doubled each time, spread by ``jitter`` 0-1."""
    hours = min(settings.max_hours, settings.first_hours * 2.0 ** min(attempts - 1, 20))
    return hours * (0.75 + 0.5 * jitter)


_FAILED: Kinds = {"image_id": int, "reason": str, "detail": str, "attempts": int, "seconds": int}


def store_faults(
    ctx: Context,
    connection: Connection,
    frm: State,
    faults: Sequence[tuple[Row, ImageFault]],
    jitter: Callable[[], float],
) -> None:
    """Write failed images: each gets its reason and, if it may be tried again, its time.

    An image whose files lie on the nodes (a forced remake) stays live with what it had, until it is asked for again.
    """
    retry = ctx.config.retry
    rows: dict[State, list[dict[str, object]]] = {}
    for image, fault in faults:
        attempts = image.attempts + 1
        state = State(fault.reason.fate.value)
        if fault.reason.fate is Fate.RETRY and attempts >= retry.max_attempts:
            state = State.REJECTED
        if image.desired == Desired.PRESENT.value:
            state = State.LIVE
        seconds = retry_delay_hours(attempts, retry, jitter()) * 3600
        rows.setdefault(state, []).append(
            {
                "image_id": image.image_id,
                "reason": fault.reason.code,
                "detail": fault.detail or None,
                "attempts": attempts,
                "seconds": round(max(seconds, fault.retry_after or 0)),
            }
        )
    for state, failed in rows.items():
        of = given(failed, _FAILED)
        move(
            connection,
            state,
            frm=(frm,),
            where=lis_images.c.image_id == of.c.image_id,
            values={
                "reason": of.c.reason,
                "detail": of.c.detail,
                "attempts": of.c.attempts,
                "next_attempt_at": NEVER if state is State.LIVE else from_now(of.c.seconds),
            },
        )


def give_back(
    ctx: Context, lease: Lease, frm: State, image_ids: Sequence[int], wait_seconds: float = 0, *, in_vain: bool = False
) -> int:
    """Return images to ``new`` as unattempted: another batch will take them, ``wait_seconds`` from now.

    ``in_vain`` counts it, since a request was made for nothing: heal ends what comes back so time and again.
    """

    def work(connection: Connection, ids: list[int]) -> int:
        leases.guard(connection, lease)
        values: dict[str, object] = {"next_attempt_at": from_now(round(wait_seconds))}
        if in_vain:
            values["releases"] = lis_images.c.releases + 1
        return move(connection, State.NEW, frm=(frm,), where=lis_images.c.image_id.in_(ids), values=values)

    return sum(write(ctx.db, lambda s, ids=ids: work(s, ids)) for ids in chunks(image_ids))  # type: ignore[misc]
