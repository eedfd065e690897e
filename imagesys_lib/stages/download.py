"""Download: fetch the originals of one batch to staging.

A transient failure is tried again a few times inside the batch (a retry tomorrow is a day lost), later with a
retry time in the database. What an earlier, killed try had fetched is adopted, not fetched again.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import sqlalchemy as sa

from imagesys_lib import claims, hosts
from imagesys_lib.batch_work import GROUP, Crew, give_back, hold, images_in, own_name, store_faults
from imagesys_lib.claims import Claim
from imagesys_lib.context import Context
from imagesys_lib.db.engine import Row, Session, chunks, write
from imagesys_lib.db.schema import lis_images
from imagesys_lib.errors import BatchFailed, Stopped
from imagesys_lib.fetch import Fetched, Fetcher
from imagesys_lib.reasons import Fate, ImageFault
from imagesys_lib.states import State, move

log = logging.getLogger(__name__)

_OUR_GROUND = frozenset({"dns", "connect", "timeout"})
"""Reasons that, when most of a batch has them at once, speak of our own network."""

_FEWEST_TO_JUDGE = 20


@dataclass(frozen=True)
class Downloaded:
    """What became of a batch: images fetched, adopted from an earlier try, failed by reason, and given back."""

    fetched: int
    adopted: int
    failed: dict[str, int]
    given_back: int


@dataclass(frozen=True)
class _Outcome:
    image: Row
    fetched: Fetched | None = None
    fault: ImageFault | None = None
    wait: int = 0  # seconds before an image that was not attempted may be taken again


def host_of(url: str) -> str:
    """Return the host and port of a URL, the key under which a host is left alone."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""


def ground_gave_way(failed: Counter[str], attempted: int, percent: float) -> bool:
    """Say whether so much of a batch failed to connect that the fault must be ours."""
    ours = sum(count for reason, count in failed.items() if reason in _OUR_GROUND)
    return attempted >= _FEWEST_TO_JUDGE and ours * 100 > percent * attempted


def download(ctx: Context, batch_id: int, holder: str | None = None) -> Downloaded:
    """Fetch what the batch has not fetched yet.

    Raises BatchFailed when most of it failed to connect at once (no attempt is consumed), DiskFull before the
    staging disk is full, ClaimHeld or ClaimLost when another worker has the batch.
    """
    if not images_in(ctx, batch_id, State.RESERVED):
        log.info("%s batch %d: nothing left to download", ctx.country.upper(), batch_id)
        return Downloaded(0, 0, {}, 0)
    with hold(ctx, batch_id, holder or own_name(), "downloaded") as claim:
        return _Batch(ctx, claim).run()


class _Batch:
    def __init__(self, ctx: Context, claim: Claim) -> None:
        self.ctx, self.claim = ctx, claim
        self.settings = ctx.config.fetch
        self.deadline = time.monotonic() + ctx.config.batch.deadline_minutes * 60
        self.fetched = self.adopted = self.given_back = 0
        self.again: list[_Outcome] = []  # transient faults of the current round
        self.later: list[_Outcome] = []  # transient faults that another try now would only repeat
        self.quiet: dict[str, float] = {}  # hosts that asked to be left alone, until when (monotonic)

    def run(self) -> Downloaded:
        ctx, batch_id = self.ctx, self.claim.batch_id
        ctx.staging.require_space()
        images = images_in(ctx, batch_id, State.RESERVED)
        log.info("%s batch %d: doing a chunk of work (size %d)", ctx.country.upper(), batch_id, len(images))
        todo = self._without_paused_hosts(self._adopt(images))
        with Fetcher(self.settings, ctx.stop) as fetcher:
            self.fetcher = fetcher
            for round_number in range(1, self.settings.tries + 1):
                self.again = []
                Crew(ctx, self.claim, self.settings.in_flight, self._fetch, self._store).run(todo)
                if not self.again or round_number == self.settings.tries:
                    break
                todo = [outcome.image for outcome in self.again]
                log.info("%s batch %d: trying %d images again", ctx.country.upper(), batch_id, len(todo))
                self._pause(self.settings.pause_between_tries * 2 ** (round_number - 1))
        failed = Counter(o.fault.reason.code for o in self.again + self.later if o.fault)
        if ground_gave_way(failed, len(images), ctx.config.batch.failing_percent):
            raise BatchFailed(
                f"{sum(failed.values())} of {len(images)} images of batch {batch_id} failed at once ({dict(failed)}).",
                remedy="check this worker's network and resolver, then clear this task; no attempt was consumed.",
            )
        self._store_final(self.again + self.later)
        log.info(
            "%s batch %d: %d fetched, %d failed", ctx.country.upper(), batch_id, self.fetched, sum(failed.values())
        )
        return Downloaded(self.fetched, self.adopted, dict(failed), self.given_back)

    def _adopt(self, images: Sequence[Row]) -> list[Row]:
        """Take over what a killed try had fetched but not written to the database."""
        found = {image.image_id: self.ctx.staging.fetched(image.image_hash) for image in images}
        outcomes = [_Outcome(image, found[image.image_id]) for image in images if found[image.image_id]]
        if outcomes:
            for group in chunks(outcomes, GROUP):
                self._store(group)
            self.adopted, self.fetched = len(outcomes), 0
            log.info(
                "%s batch %d: %d adopted from staging", self.ctx.country.upper(), self.claim.batch_id, self.adopted
            )
        return [image for image in images if not found[image.image_id]]

    def _without_paused_hosts(self, images: list[Row]) -> list[Row]:
        waits = hosts.paused(self.ctx.shared, (host_of(image.image_url) for image in images))
        for host, seconds in waits.items():
            ids = [image.image_id for image in images if host_of(image.image_url) == host]
            self.given_back += give_back(self.ctx, self.claim, State.RESERVED, ids, seconds)
            log.info("%s asked to be left alone for %.0f s more: %d images wait", host, seconds, len(ids))
        return [image for image in images if host_of(image.image_url) not in waits]

    def _pause(self, seconds: float) -> None:
        """Wait between rounds, with the lease alive."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.ctx.check_stop()
            time.sleep(min(0.2, max(0.0, end - time.monotonic())))
        claims.renew(self.ctx.db, self.claim)

    def _fetch(self, image: Row) -> _Outcome:
        if self.ctx.stop.is_set():
            raise Stopped
        now = time.monotonic()
        host = host_of(image.image_url)
        if now > self.deadline or self.quiet.get(host, 0) > now:
            return _Outcome(image, wait=max(0, math.ceil(self.quiet.get(host, 0) - now)))
        staging = self.ctx.staging
        try:
            fetched = self.fetcher.fetch(image.image_url, staging.original(image.image_hash))
        except ImageFault as fault:
            if fault.retry_after:
                self.quiet[host] = now + fault.retry_after
                hosts.pause(self.ctx.shared, host, fault.retry_after, fault.reason.code)
            return _Outcome(image, fault=fault)
        staging.note_original(image.image_hash, fetched)
        return _Outcome(image, fetched)

    def _store(self, outcomes: list[_Outcome]) -> None:
        self.ctx.staging.require_space()
        done = [outcome for outcome in outcomes if outcome.fetched]
        final = [outcome for outcome in outcomes if outcome.fault and outcome.fault.reason.fate is not Fate.RETRY]
        unattempted = [outcome for outcome in outcomes if not outcome.fetched and not outcome.fault]
        transient = [o for o in outcomes if o.fault and o.fault.reason.fate is Fate.RETRY]
        self.again += [o for o in transient if not _only_later(o)]
        self.later += [o for o in transient if _only_later(o)]

        def work(session: Session) -> None:
            claims.guard(session, self.claim)
            if done:
                move(
                    session,
                    State.DOWNLOADED,
                    frm=(State.RESERVED,),
                    where=lis_images.c.image_id == sa.bindparam("b_id"),
                    values={key: sa.bindparam(f"b_{key}") for key in _KEPT},
                    rows=[{"b_id": outcome.image.image_id, **_kept(outcome.fetched)} for outcome in done],
                )
            store_faults(self.ctx, session, State.RESERVED, _faults(final), random.random)

        if done or final:
            write(self.ctx.db, work)
        for wait in {outcome.wait for outcome in unattempted}:
            ids = [outcome.image.image_id for outcome in unattempted if outcome.wait == wait]
            self.given_back += give_back(self.ctx, self.claim, State.RESERVED, ids, wait)
        self.fetched += len(done)

    def _store_final(self, outcomes: Sequence[_Outcome]) -> None:
        """Write what failed in every round."""

        def work(session: Session, group: list[_Outcome]) -> None:
            claims.guard(session, self.claim)
            store_faults(self.ctx, session, State.RESERVED, _faults(group), random.random)

        for group in chunks(outcomes, GROUP):
            write(self.ctx.db, lambda session, group=group: work(session, group))  # type: ignore[misc]


_KEPT = ("source_sha1", "source_bytes", "etag", "last_modified", "final_url")


def _kept(fetched: Fetched | None) -> dict[str, object]:
    if fetched is None:
        raise ValueError("nothing was fetched")
    values = (fetched.sha1, fetched.size, fetched.etag[:255], fetched.last_modified[:64], fetched.final_url)
    return {f"b_{key}": value for key, value in zip(_KEPT, values, strict=True)}


def _only_later(outcome: _Outcome) -> bool:
    """A host that drips costs a whole deadline a try, and one that names a time wants no sooner request."""
    fault = outcome.fault
    return fault is not None and (fault.reason.code == "too_slow" or fault.retry_after is not None)


def _faults(outcomes: Sequence[_Outcome]) -> list[tuple[Row, ImageFault]]:
    return [(outcome.image, outcome.fault) for outcome in outcomes if outcome.fault]
