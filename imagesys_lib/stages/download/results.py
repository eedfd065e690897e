"""What became of a batch's images, written to the database."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from imagesys_lib.context import Context
from imagesys_lib.db.bulk import Kinds, given
from imagesys_lib.db.engine import NOW, Row
from imagesys_lib.db.schema import lis_images
from imagesys_lib.fetch.http.jobs import Fetched, NotModified
from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.images.states import State, move
from imagesys_lib.runs import leases, runs
from imagesys_lib.runs.leases import Lease
from imagesys_lib.stages import recheck
from imagesys_lib.stages.shared.batch import store_faults

log = logging.getLogger(__name__)

ImageResults = list[tuple[Row, recheck.Result]]


@dataclass(frozen=True)
class Downloaded:
    """What became of a batch: images fetched, adopted from an earlier try, failed by reason, and given back.

    ``unchanged`` are live images that are as they were, by their host's word (status 304) or by their bytes.
    """

    fetched: int
    adopted: int
    failed: dict[str, int]
    given_back: int
    unchanged: int = 0


def write_results(ctx: Context, connection: Connection, lease: Lease, group: ImageResults) -> None:
    """Write what became of images, fenced by the lease. Raises LeaseLost where it is no longer held."""
    leases.guard(connection, lease)
    same: ImageResults = []
    changed: ImageResults = []
    for image, result in group:
        (same if recheck.is_unchanged(ctx.config, image, result) else changed).append((image, result))
    # Thumbnails that are there are of other bytes: until new ones are made, no recipe turns these into those.
    _store_fetched(connection, State.DOWNLOADED, changed, {"recipe": None})
    fine = {"reason": None, "detail": None, "attempts": 0}
    _store_fetched(connection, State.LIVE, same, fine)
    if known := [image.image_id for image, result in same if isinstance(result, NotModified)]:
        where = lis_images.c.image_id.in_(known)
        move(connection, State.LIVE, frm=(State.RESERVED,), where=where, values={**fine, "checked_at": NOW})
    recheck.count(connection, lease, unchanged=len(same))
    unfetched = [pair for pair in changed if not isinstance(pair[1], Fetched)]
    recheck.keep(connection, lease, [pair for pair in unfetched if pair[0].rechecks])
    faults = [(image, fault) for image, fault in unfetched if isinstance(fault, ImageFault) and not image.rechecks]
    store_faults(ctx, connection, State.RESERVED, faults, random.random)


def _store_fetched(connection: Connection, to: State, pairs: ImageResults, values: Mapping[str, object]) -> None:
    done = [{"image_id": image.image_id, **_kept(r)} for image, r in pairs if isinstance(r, Fetched)]
    if done:
        rows = given(done, {"image_id": int, **_KEPT})
        where = lis_images.c.image_id == rows.c.image_id
        kept = {**{key: rows.c[key] for key in _KEPT}, "checked_at": NOW, **values}
        move(connection, to, frm=(State.RESERVED,), where=where, values=kept)


def flag_targets(ctx: Context, lease: Lease, label: str, targets: Counter[str]) -> None:
    """Flag redirects that bring many URLs to one photo: a login page or "no photo", as a rule."""
    most = ctx.config.thumbnail.placeholder_listings
    many = {url: count for url, count in targets.items() if most and count > most}
    for url, count in many.items():
        log.warning("%s: %d URLs are redirected to %s", label, count, url)
    runs.add_figures_of_batch(ctx.db, lease.batch_id, {"fetch.same_target": sum(many.values())})


_KEPT: Kinds = {"source_sha1": str, "source_bytes": int, "etag": str, "last_modified": str, "final_url": str}


def _kept(fetched: Fetched) -> dict[str, object]:
    values = (fetched.sha1, fetched.size, fetched.etag[:255], fetched.last_modified[:64], fetched.final_url)
    return dict(zip(_KEPT, values, strict=True))
