"""Thumbnail: make the thumbnails of one batch's originals and put them into the change log.

The same bytes are decoded once: images whose originals and recipes are equal share their thumbnails, in the batch and
with images whose thumbnails are still staged.
"""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from imagesys_lib.config import CountryConfig
from imagesys_lib.config.hostnames import host_of
from imagesys_lib.context import Context
from imagesys_lib.db.bulk import given
from imagesys_lib.db.engine import Row, chunks, read, write
from imagesys_lib.db.schema import lis_images
from imagesys_lib.fetch.politeness import datasources
from imagesys_lib.fetch.politeness.datasources import Tally
from imagesys_lib.images.hash_and_path import thumbnail_stem
from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.images.recipe import recipe
from imagesys_lib.images.states import Desired, State, move
from imagesys_lib.replication import change_log
from imagesys_lib.runs import leases
from imagesys_lib.runs.leases import Lease
from imagesys_lib.stages import recheck
from imagesys_lib.stages.shared import placeholders
from imagesys_lib.stages.shared.batch import Crew, give_back, hold, holder_name, images_in, store_faults
from imagesys_lib.thumbnail.messages import Limits, Made, Making, PlainSize, ThumbnailJob
from imagesys_lib.thumbnail.processes.pool import TASK_IMAGES, Decoders

log = logging.getLogger(__name__)

_CHUNKS_QUEUED = 2  # chunks a process: one at work, one waiting


@dataclass(frozen=True)
class Thumbnailed:
    """What became of a batch: images made, failed by reason, sent back; of those made, shared; placeholders found."""

    made: int
    failed: dict[str, int]
    given_back: int
    shared: int = 0
    placeholders: int = 0


@dataclass(frozen=True)
class _Outcome:
    image: Row
    thumbs: list[dict[str, Any]] | None = None
    fault: ImageFault | None = None
    image_class: str | None = None


def thumbnail(ctx: Context, batch_id: int, holder: str | None = None) -> Thumbnailed:
    """Make what the batch has downloaded and not made yet. Raises DiskFull, LeaseHeld, LeaseLost and Stopped."""
    if not images_in(ctx, batch_id, State.DOWNLOADED):
        log.info("%s batch %d: nothing left to thumbnail", ctx.country.upper(), batch_id)
        return Thumbnailed(0, {}, 0)
    with hold(ctx, batch_id, holder or holder_name(), "done") as lease:
        return _ThumbnailBatch(ctx, lease).run()


def making(config: CountryConfig, datasource_id: int) -> Making:
    """Return how a data source's thumbnails are made, in the plain words of the decoding processes."""
    details = config.process_details(datasource_id)
    return Making(
        sizes=tuple(PlainSize(size.width, size.height, size.mode) for size in config.sizes),
        sharpen=details.sharpen,
        gamma=details.gamma,
        quality=details.quality,
        encoder=config.thumbnail.encoder,
        siblings=config.thumbnail.siblings,
        limits=Limits(
            max_pixels=round(config.max_megapixels * 1_000_000),
            min_width=config.min_width,
            min_height=config.min_height,
        ),
    )


class _ThumbnailBatch:
    def __init__(self, ctx: Context, lease: Lease) -> None:
        self.ctx, self.lease = ctx, lease
        self.deadline = time.monotonic() + ctx.config.batch.deadline_minutes * 60
        self.made = self.given_back = self.shared = 0
        self.failed: Counter[str] = Counter()
        self.failed_by_source: Counter[int] = Counter()
        self.makings: dict[int, Making] = {}
        self.recipes: dict[int, str] = {}
        self.groups: dict[int, list[Row]] = {}  # by image_id of the one that is decoded: all with the same bytes

    def run(self) -> Thumbnailed:
        placeholders_found = self._set_placeholders_aside()
        images = images_in(self.ctx, self.lease.batch_id, State.DOWNLOADED)
        label = f"{self.ctx.country.upper()} batch {self.lease.batch_id}"
        log.info("%s: making thumbnails of %d images", label, len(images))
        for datasource_id in {image.datasource_id for image in images}:
            self.makings[datasource_id] = making(self.ctx.config, datasource_id)
            self.recipes[datasource_id] = recipe(self.ctx.config, datasource_id)
        left = self._share_staged(images)
        self._group(left)
        jobs = [self._job(group[0]) for group in self.groups.values()]
        settings = self.ctx.config.thumbnail
        processes = min(settings.processes or len(os.sched_getaffinity(0)), -(-len(jobs) // TASK_IMAGES))
        if jobs:
            with Decoders(processes, settings.memory_mb, settings.seconds) as decoders:
                crew = Crew(self.ctx, self.lease, _CHUNKS_QUEUED * processes, decoders.submit, self._store_made)
                self._unattempted(crew.run(chunks(jobs, TASK_IMAGES), len(jobs), self.deadline))
        self._judge_sources()
        log.info(
            "%s: %d made, %d of them from the same bytes as another image, %d failed",
            label,
            self.made,
            self.shared,
            sum(self.failed.values()),
        )
        return Thumbnailed(self.made, dict(self.failed), self.given_back, self.shared, placeholders_found)

    def _judge_sources(self) -> None:
        """Count failed images at their data sources' breakers: the download counted them as attempts that went well."""
        failed, half_open = self.failed_by_source, datasources.failing(self.ctx.db, self.makings)
        tallies = {source: Tally(failures=failed[source]) for source in failed.keys() | half_open.keys()}
        datasources.note_results(self.ctx.db, self.ctx.country, tallies, self.ctx.config.fetch.breaker)

    def _set_placeholders_aside(self) -> int:
        most = self.ctx.config.thumbnail.placeholder_listings
        if not most:
            return 0
        placeholders.find_in_batch(self.ctx.db, self.lease.batch_id, most)
        hashes = placeholders.quarantine(self.ctx.db, self.lease, most)
        for image_hash in hashes:
            self.ctx.staging.drop_original(image_hash)
        return len(hashes)

    def _unattempted(self, pieces: Iterable[Sequence[ThumbnailJob]]) -> None:
        """Give back what the batch's time was not enough for; a later batch adopts the originals."""
        images = [image.image_id for piece in pieces for job in piece for image in self.groups.pop(job.key)]
        if images:
            log.warning("%d images are left to a later run: the batch's time is over", len(images))
            self.given_back += give_back(self.ctx, self.lease, State.DOWNLOADED, images)

    def _share_staged(self, images: Sequence[Row]) -> list[Row]:
        """Give images the staged thumbnails of others that were made from the same bytes; return the rest."""
        left = []
        for some in chunks(images):
            known = self._staged(some)
            found = []
            for image in some:
                other = known.get((image.source_sha1, self.recipes[image.datasource_id]))
                rows = self.ctx.staging.copy_thumbnails(other.thumbs, image.image_hash) if other else None
                if other and rows:
                    found.append(_Outcome(image, rows, image_class=other.system_class))
                else:
                    left.append(image)
            if found:
                self.shared += len(found)
                self._store(found)
        return left

    def _staged(self, images: Sequence[Row]) -> Mapping[tuple[str, str], Row]:
        """Return finished images (``thumbs``, ``system_class``) by SHA-1 and recipe; at most 1,000 images."""
        c = lis_images.c
        finished = (State.THUMBNAILED.value, State.LIVE.value)
        query = sa.select(c.source_sha1, c.recipe, c.thumbs, c.system_class).where(
            c.source_sha1.in_(sorted({image.source_sha1 for image in images if image.source_sha1})),
            c.datasource_id.in_(sorted(self.recipes)),
            c.state.in_(finished),
            c.recipe.in_(sorted(set(self.recipes.values()))),
            change_log.is_open(c.change_id),  # the thumbnails of others are not staged any more
        )
        return {(row.source_sha1, row.recipe): row for row in read(self.ctx.db, query) if row.thumbs}

    def _group(self, images: Sequence[Row]) -> None:
        """Put images of the same bytes and recipe together, so that one is decoded for all."""
        first: dict[tuple[str, str], int] = {}
        lost = []
        for image in images:
            if not self.ctx.staging.original(image.image_hash).exists():
                lost.append(_Outcome(image))
                continue
            same = (image.source_sha1 or image.image_hash, self.recipes[image.datasource_id])
            self.groups.setdefault(first.setdefault(same, image.image_id), []).append(image)
        for some in chunks(lost):
            self._store(some)

    def _job(self, image: Row) -> ThumbnailJob:
        staging = self.ctx.staging
        return ThumbnailJob(
            key=image.image_id,
            source=staging.original(image.image_hash),
            root=staging.out,
            stem=thumbnail_stem(self.ctx.country, image.image_hash),
            making=self.makings[image.datasource_id],
            sha1=image.source_sha1,
        )

    def _store_made(self, results: list[Made]) -> None:
        for some in chunks([outcome for made in results for outcome in self._outcomes(made)]):
            self._store(some)

    def _outcomes(self, made: Made) -> Iterator[_Outcome]:
        """Yield what a decoded image's result means for it and for those that share its bytes."""
        decoded, *others = self.groups.pop(made.key)
        if made.raised:
            log.error("%s: decoding a photo of it raised an exception: %s", host_of(decoded.image_url), made.raised)
        fault = ImageFault(made.code, made.detail) if made.code else None
        yield _Outcome(decoded, list(made.thumbs) or None, fault, made.image_class)
        for image in others:
            rows = self.ctx.staging.copy_thumbnails(made.thumbs, image.image_hash)
            self.shared += rows is not None
            yield _Outcome(image, rows, fault, made.image_class)

    def _store(self, outcomes: list[_Outcome]) -> None:
        # Not held up by the floor of free space: each image made frees an original many times its size.
        made = [outcome for outcome in outcomes if outcome.thumbs is not None]
        faults = [(outcome.image, outcome.fault) for outcome in outcomes if outcome.fault]
        lost = [outcome.image.image_id for outcome in outcomes if outcome.thumbs is None and not outcome.fault]

        def work(connection: Connection) -> None:
            leases.guard(connection, self.lease)
            if made:
                self._mark_made(connection, made)
            store_faults(self.ctx, connection, State.DOWNLOADED, faults, random.random)
            recheck.count(connection, self.lease, replaced=len(made), failed=len(faults))

        if made or faults:
            write(self.ctx.db, work)
        if lost:
            log.warning("%d originals are gone from staging: they will be downloaded again", len(lost))
            self.given_back += give_back(self.ctx, self.lease, State.DOWNLOADED, lost, in_vain=True)
        for outcome in outcomes:
            self.ctx.staging.drop_original(outcome.image.image_hash)
        self.made += len(made)
        self.failed.update(fault.reason.code for _, fault in faults)
        self.failed_by_source.update(image.datasource_id for image, _ in faults)

    def _mark_made(self, connection: Connection, made: Sequence[_Outcome]) -> None:
        rows = given(
            [
                {
                    "image_id": outcome.image.image_id,
                    "thumbs": json.dumps(outcome.thumbs),
                    "recipe": self.recipes[outcome.image.datasource_id],
                    "image_class": outcome.image_class,
                }
                for outcome in made
            ],
            {"image_id": int, "thumbs": str, "recipe": str, "image_class": str},
        )
        said, shows = lis_images.c.human_classified == 1, rows.c.image_class
        moved = move(
            connection,
            State.THUMBNAILED,
            frm=(State.DOWNLOADED,),
            where=lis_images.c.image_id == rows.c.image_id,
            values={
                "desired": Desired.PRESENT.value,
                "change_id": change_log.record(connection),
                "thumbs": rows.c.thumbs,
                "recipe": rows.c.recipe,
                "system_class": shows,
                "image_class": sa.case((said, lis_images.c.image_class), else_=shows),  # a person's word stays
                "reason": None,
                "detail": None,
                "attempts": 0,
            },
        )
        if moved != len(made):
            raise RuntimeError(f"{len(made)} images were made but {moved} were waiting for it")
