"""Thumbnail: make the thumbnails of one batch's originals and put them into the change log."""

from __future__ import annotations

import hashlib
import logging
import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from imagesys_lib import changes, claims
from imagesys_lib.batch_work import Crew, give_back, hold, images_in, own_name, store_faults
from imagesys_lib.claims import Claim
from imagesys_lib.context import Context
from imagesys_lib.db.engine import Row, Session, write
from imagesys_lib.db.schema import lis_images
from imagesys_lib.errors import Stopped
from imagesys_lib.files import write_atomically
from imagesys_lib.hashing import thumbnail_path
from imagesys_lib.reasons import ImageFault
from imagesys_lib.states import Desired, State, move
from imagesys_lib.thumbnail import Limits, Thumbnail, create_thumbnails_of_image

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Thumbnailed:
    """What became of a batch: images made, failed by reason, and sent back for another download."""

    made: int
    failed: dict[str, int]
    given_back: int


@dataclass(frozen=True)
class _Outcome:
    image: Row
    thumbs: list[dict[str, object]] | None = None
    fault: ImageFault | None = None


def thumbnail(ctx: Context, batch_id: int, holder: str | None = None) -> Thumbnailed:
    """Make what the batch has downloaded and not made yet. Raises like :func:`download`."""
    if not images_in(ctx, batch_id, State.DOWNLOADED):
        log.info("%s batch %d: nothing left to thumbnail", ctx.country.upper(), batch_id)
        return Thumbnailed(0, {}, 0)
    with hold(ctx, batch_id, holder or own_name(), "done") as claim:
        return _Batch(ctx, claim).run()


class _Batch:
    def __init__(self, ctx: Context, claim: Claim) -> None:
        self.ctx, self.claim = ctx, claim
        self.made = self.given_back = 0
        self.failed: Counter[str] = Counter()
        self.limits = Limits(
            max_pixels=round(ctx.config.max_megapixels * 1_000_000),
            min_width=ctx.config.min_width,
            min_height=ctx.config.min_height,
        )

    def run(self) -> Thumbnailed:
        images = images_in(self.ctx, self.claim.batch_id, State.DOWNLOADED)
        label = f"{self.ctx.country.upper()} batch {self.claim.batch_id}"
        log.info("%s: making thumbnails of %d images", label, len(images))
        Crew(self.ctx, self.claim, os.cpu_count() or 1, self._make, self._store).run(images)
        log.info("%s: %d made, %d failed", label, self.made, sum(self.failed.values()))
        return Thumbnailed(self.made, dict(self.failed), self.given_back)

    def _make(self, image: Row) -> _Outcome:
        if self.ctx.stop.is_set():
            raise Stopped
        source = self.ctx.staging.original(image.image_hash)
        if not source.exists():
            return _Outcome(image)
        details = self.ctx.config.process_details(image.datasource_id)
        try:
            made = create_thumbnails_of_image(source, self.ctx.config.sizes, details, self.limits)
        except ImageFault as fault:
            return _Outcome(image, fault=fault)
        return _Outcome(image, [self._write(image.image_hash, thumb) for thumb in made])

    def _write(self, image_hash: str, thumb: Thumbnail) -> dict[str, object]:
        write_atomically(self.ctx.staging.thumbnail(image_hash, thumb.number), thumb.data)
        return {
            "n": thumb.number,
            "path": thumbnail_path(self.ctx.country, image_hash, thumb.number),
            "width": thumb.width,
            "height": thumb.height,
            "bytes": len(thumb.data),
            "sha1": hashlib.sha1(thumb.data, usedforsecurity=False).hexdigest(),
        }

    def _store(self, outcomes: list[_Outcome]) -> None:
        # Not held up by the floor of free space: each image made frees an original many times its size.
        made = [outcome for outcome in outcomes if outcome.thumbs is not None]
        faults = [(outcome.image, outcome.fault) for outcome in outcomes if outcome.fault]
        lost = [outcome.image.image_id for outcome in outcomes if outcome.thumbs is None and not outcome.fault]

        def work(session: Session) -> None:
            claims.guard(session, self.claim)
            if made:
                self._mark_made(session, made)
            store_faults(self.ctx, session, State.DOWNLOADED, faults, random.random)

        if made or faults:
            write(self.ctx.db, work)
        if lost:
            log.warning("%d originals are gone from staging: they will be downloaded again", len(lost))
            self.given_back += give_back(self.ctx, self.claim, State.DOWNLOADED, lost)
        for outcome in outcomes:
            self.ctx.staging.drop_original(outcome.image.image_hash)
        self.made += len(made)
        self.failed.update(fault.reason.code for _, fault in faults)

    def _mark_made(self, session: Session, made: Sequence[_Outcome]) -> None:
        moved = move(
            session,
            State.THUMBNAILED,
            frm=(State.DOWNLOADED,),
            where=lis_images.c.image_id == sa.bindparam("b_id"),
            values={
                "desired": Desired.PRESENT.value,
                "change_id": changes.record(session),
                "thumbs": sa.bindparam("b_thumbs", type_=sa.JSON),
                "reason": None,
                "detail": None,
                "attempts": 0,
            },
            rows=[{"b_id": outcome.image.image_id, "b_thumbs": outcome.thumbs} for outcome in made],
        )
        if moved != len(made):
            raise RuntimeError(f"{len(made)} images were made but {moved} were waiting for it")
