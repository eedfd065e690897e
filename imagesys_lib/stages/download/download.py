"""Download: fetch the originals of one batch to staging.

A transient failure is tried again a few times inside the batch (a retry tomorrow is a day lost), later with a
retry time in the database. What an earlier, killed try had fetched is adopted, not fetched again. What the batch may
not or cannot ask for in its time goes back as unattempted.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence

import sqlalchemy as sa

from imagesys_lib.config.hostnames import host_of
from imagesys_lib.context import Context
from imagesys_lib.db.engine import Row, chunks, is_of_a_value, read, seconds_until, write
from imagesys_lib.db.schema import lis_batches
from imagesys_lib.errors import BatchFailed, Stopped
from imagesys_lib.fetch.http.faults import contained
from imagesys_lib.fetch.http.fetcher import Fetcher
from imagesys_lib.fetch.http.jobs import Fetched, FetchJob, NotModified, Outcome, Unattempted
from imagesys_lib.fetch.politeness import datasources
from imagesys_lib.fetch.politeness.circuit_breaker import HALF_OPEN_IMAGES
from imagesys_lib.fetch.politeness.datasources import Tally
from imagesys_lib.fetch.politeness.host_limits import SharedLimiter
from imagesys_lib.fetch.politeness.outage import SILENCE
from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.images.states import Desired, State
from imagesys_lib.runs.lease_renewal import LeaseRenewal
from imagesys_lib.runs.leases import Lease
from imagesys_lib.stages import recheck
from imagesys_lib.stages.download.results import Downloaded, ImageResults, flag_targets, write_results
from imagesys_lib.stages.download.retries import tries_again, with_meaning
from imagesys_lib.stages.shared.batch import GROUP, give_back, hold, holder_name, images_in

log = logging.getLogger(__name__)

_POLL = 0.25  # seconds
_LOOK_AGAIN = 5.0  # seconds our own network, found to be out, is given before it is looked at again
_TRIES = {"truncated": 2}  # within a batch: a file that is cut once more is cut at its source


def download(ctx: Context, batch_id: int, holder: str | None = None) -> Downloaded:
    """Fetch what the batch has not fetched yet.

    Raises BatchFailed when nothing at all can be reached for ``fetch.network_patience`` seconds (no attempt is
    consumed), DiskFull before the staging disk is full, LeaseHeld or LeaseLost when another worker has the batch.
    """
    if not images_in(ctx, batch_id, State.RESERVED):
        log.info("%s batch %d: nothing left to download", ctx.country.upper(), batch_id)
        return Downloaded(0, 0, {}, 0)
    with hold(ctx, batch_id, holder or holder_name(), "downloaded") as lease:
        return _Batch(ctx, lease).run()


class _Batch:
    def __init__(self, ctx: Context, lease: Lease) -> None:
        self.ctx, self.lease = ctx, lease
        self.settings = ctx.config.fetch
        self.label = f"{ctx.country.upper()} batch {lease.batch_id}"
        self.began = self.stored = time.monotonic()
        self.deadline = self.began + ctx.config.batch.deadline_minutes * 60
        self.renewal = LeaseRenewal(ctx.db, lease)
        self.images: dict[int, Row] = {}
        self.tries: Counter[int] = Counter()
        self.silent: dict[int, ImageFault] = {}  # no answer, and not known yet whose fault that is
        self.last: dict[int, ImageFault] = {}  # what is being tried again
        self.results: ImageResults = []
        self.waits: dict[int, list[int]] = defaultdict(list)  # seconds: images that go back unattempted
        self.fetched = self.adopted = self.unchanged = self.given_back = 0
        self.failed: Counter[str] = Counter()
        self.tallies: dict[int, Tally] = defaultdict(Tally)
        self.targets: Counter[str] = Counter()  # where redirects ended

    def run(self) -> Downloaded:
        ctx = self.ctx
        ctx.staging.require_space()
        images = images_in(ctx, self.lease.batch_id, State.RESERVED)
        log.info("%s: doing a chunk of work (size %d)", self.label, len(images))
        self.images = {image.image_id: image for image in images}
        todo = self._without_bad_sources(self._adopt(images))
        with (
            SharedLimiter(ctx.shared, self.settings, self.lease.seconds, ctx.stop) as self.limiter,
            Fetcher(self.settings, self.limiter, ctx.stop) as self.fetcher,
        ):
            self.limiter.prepare({host_of(image.image_url) for image in todo})
            for image in todo:
                self.fetcher.add(self._job(image))
            try:
                self._loop()
            except (Stopped, BatchFailed):
                self._flush()  # what is done is kept: a second request for the same photo would be one too many
                raise
            self._flush()
            self.limiter.write_back()
        datasources.note_results(ctx.db, ctx.country, self.tallies, self.settings.breaker, closes=False)
        flag_targets(ctx, self.lease, self.label, self.targets)
        done = Downloaded(self.fetched, self.adopted, dict(self.failed), self.given_back, self.unchanged)
        log.info("%s: %d fetched, %d failed, %s", self.label, self.fetched, sum(self.failed.values()), done)
        return done

    def _loop(self) -> None:
        while self.fetcher.busy or self.silent:
            if time.monotonic() > self.deadline:
                for job in self.fetcher.drain():
                    self._unattempted(job.key, 0)
            for outcome in self.fetcher.poll(_POLL):
                try:
                    self._take(outcome)
                except Exception as error:  # noqa: BLE001  # one image's, or our own: then it goes on
                    fault = contained(error, "protocol", outcome.host)
                    self._end(self.images[outcome.job.key], fault)
            self.limiter.refresh()
            self._judge_silence()
            self.renewal.renew_if_due()
            if len(self.results) >= GROUP or time.monotonic() - self.stored > 1:
                self._flush()

    def _take(self, outcome: Outcome) -> None:
        image, result = self.images[outcome.job.key], outcome.result
        if isinstance(result, Unattempted):
            self._unattempted(image.image_id, result.wait)
        elif not isinstance(result, ImageFault):
            if isinstance(result, Fetched):
                self.ctx.staging.note_original(image.image_hash, result)
                if outcome.hops:
                    self.targets[result.final_url] += 1
            self._end(image, result)
        elif result.reason.code in SILENCE:
            self.tries[image.image_id] += 1
            self.silent[image.image_id] = result
        else:
            self.tries[image.image_id] += 1
            self._fault(image, result)

    def _fault(self, image: Row, fault: ImageFault) -> None:
        if fault.reason.code.startswith("http_"):
            status = int(fault.reason.code.removeprefix("http_"))
            fault = with_meaning(fault, self.ctx.config.status_meaning(image.datasource_id, status))
        tried = self.tries[image.image_id]
        most = min(_TRIES.get(fault.reason.code, self.settings.tries), self.settings.tries)
        if tries_again(fault) and tried < most and time.monotonic() < self.deadline:
            self.last[image.image_id] = fault
            pause = self.settings.pause_between_tries * 2 ** (tried - 1) * random.uniform(0.75, 1.25)
            self.fetcher.add(self._job(image), after=max(pause, fault.retry_after or 0))
        else:
            self._end(image, fault)

    def _unattempted(self, image_id: int, wait: float) -> None:
        """Give an image back; one that had failed before in this batch ends with that."""
        if image_id in self.last:
            self._end(self.images[image_id], self.last[image_id])
        elif self.images[image_id].rechecks:
            self.results.append((self.images[image_id], Unattempted(wait)))
        else:
            self.waits[round(wait)].append(image_id)

    def _end(self, image: Row, result: Fetched | NotModified | ImageFault) -> None:
        tally, failed = self.tallies[image.datasource_id], isinstance(result, ImageFault)
        self.tallies[image.datasource_id] = Tally(tally.attempts + 1, tally.failures + failed)
        self.results.append((image, result))

    # Our own network

    def _judge_silence(self) -> None:
        """Find out whose fault a silence is: a host's, and then it counts, or our own, and then the batch waits."""
        network, all_ended = self.limiter.network, not self.fetcher.busy
        if not self.silent:
            return
        if (network.is_in_question or all_ended) and not network.works():
            self._wait_out_outage()
            self.limiter.forgive()
            for image_id in self.silent:
                self.tries[image_id] -= 1
                self.fetcher.add(self._job(self.images[image_id]))
            self.silent.clear()
        elif all_ended or not network.is_doubtful:
            silent, self.silent = self.silent, {}
            for image_id, fault in silent.items():
                self._fault(self.images[image_id], fault)

    def _wait_out_outage(self) -> None:
        patience = min(self.settings.network_patience, self.deadline - time.monotonic())
        until = time.monotonic() + patience
        text = "%s: no host can be reached, our own network is at fault: pausing, %.0f s at most"
        log.warning(text, self.label, patience)
        while not self.limiter.network.works():
            if time.monotonic() >= until:
                counts = dict(Counter(fault.reason.code for fault in self.silent.values()))
                raise BatchFailed(
                    f"Batch {self.lease.batch_id} reaches no host at all ({counts}), nor any that answered lately.",
                    remedy="check this worker's network and resolver, then clear this task; no attempt was consumed.",
                )
            self.ctx.stop.wait(min(_LOOK_AGAIN, patience))
            self.ctx.check_stop()
            self.limiter.refresh()
            self.renewal.renew_if_due()

    # The database and the staging disk

    def _job(self, image: Row) -> FetchJob:
        """Return what to fetch; only if it has changed, where the thumbnails there are would come out the same."""
        target = self.ctx.staging.original(image.image_hash)
        same = recheck.is_current(self.ctx.config, image)
        known = {"etag": image.etag or "", "last_modified": image.last_modified or ""} if same else {}
        return FetchJob(image.image_id, image.image_url, target, **known)

    def _adopt(self, images: Sequence[Row]) -> list[Row]:
        """Take over what a killed try had fetched but not written to the database.

        Of an image that is to be made again only since its batch was planned: what another batch left is no news.
        """
        within, staging = self._planned_ago(), self.ctx.staging
        found = {
            image.image_id: staging.fetched(image.image_hash, within if _is_made(image) else math.inf)
            for image in images
        }
        self.results = [(image, fetched) for image in images if (fetched := found[image.image_id])]
        if self.results:
            self.adopted = len(self.results)
            self._flush()
            self.fetched = 0
            log.info("%s: %d adopted from staging", self.label, self.adopted)
        return [image for image in images if not found[image.image_id]]

    def _planned_ago(self) -> float:
        """Return for how many seconds this batch has been there."""
        b = lis_batches.c
        query = sa.select(-seconds_until(b.created_at)).where(b.batch_id == self.lease.batch_id)
        return float(read(self.ctx.db, query)[0][0])

    def _without_bad_sources(self, images: list[Row]) -> list[Row]:
        """Give back what an open breaker of a data source keeps from being asked; half-open, one batch tries a few."""
        breaker = self.settings.breaker
        circuits = datasources.failing(self.ctx.db, (image.datasource_id for image in images))
        room = {source: HALF_OPEN_IMAGES * datasources.may_try(self.ctx.db, source, breaker) for source in circuits}
        todo = []
        for image in images:
            source = image.datasource_id
            if source not in circuits:
                todo.append(image)
            elif room[source]:
                room[source] -= 1
                todo.append(image)
            else:
                self._unattempted(image.image_id, max(circuits[source].wait, breaker.first_seconds))
        for source, circuit in circuits.items():
            log.warning("%s: data source %d is %s", self.label, source, circuit.position.value)
        return todo

    def _flush(self) -> None:
        """Write results in groups, fenced by the lease."""
        results, self.results = self.results, []
        for group in chunks(results, GROUP):
            self.ctx.staging.require_space()
            self._keep(group)
        waits, self.waits = self.waits, defaultdict(list)
        for wait, ids in waits.items():
            self.given_back += give_back(self.ctx, self.lease, State.RESERVED, ids, wait)
        self.stored = time.monotonic()
        if results:
            done = self.fetched + self.unchanged + sum(self.failed.values())
            self.ctx.progress(done, len(self.images))

    def _keep(self, group: ImageResults) -> None:
        """Write a group. A result that the database does not take costs its own image alone."""
        try:
            write(self.ctx.db, lambda connection: write_results(self.ctx, connection, self.lease, group))
        except Exception as error:
            if not is_of_a_value(error):
                raise
            if len(group) > 1:
                for one in group:
                    self._keep([one])
                return
            image = group[0][0]
            self.ctx.staging.drop_original(image.image_hash)  # it would be adopted, and refused, again
            group = [(image, contained(error, "protocol", host_of(image.image_url)))]
            write(self.ctx.db, lambda connection: write_results(self.ctx, connection, self.lease, group))
        for image, result in group:
            same = recheck.is_unchanged(self.ctx.config, image, result)
            self.unchanged += same
            self.fetched += isinstance(result, Fetched) and not same
            if same:
                self.ctx.staging.drop_original(image.image_hash)  # there is one if it was sent all the same
            if isinstance(result, ImageFault):
                self.failed[result.reason.code] += 1


def _is_made(image: Row) -> bool:
    """Say whether the nodes hold thumbnails of the image: it is to be made again."""
    return bool(image.desired == Desired.PRESENT.value)
