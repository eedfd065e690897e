"""db_scan: walk the whole live table and compare it with the work state."""

from __future__ import annotations

import logging

import sqlalchemy as sa

from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, Row, read
from imagesys_lib.db.schema import lis_images, lis_live_images
from imagesys_lib.images.states import Desired, State
from imagesys_lib.stages.check.parts import WHOLE
from imagesys_lib.stages.check.results import Checked, keep_result

log = logging.getLogger(__name__)

LIVE_TABLE = "live_table"
"""What is in the place of a node's name in ``lis_node_checks``."""

_SHOWN = frozenset(
    state.value for state in (State.LIVE, State.NEW, State.RESERVED, State.DOWNLOADED, State.THUMBNAILED)
)
"""States in which an image may have a live row: all but ``live`` are those of one that is being made again."""

_i, _live = lis_images.c, lis_live_images.c


def db_scan(ctx: Context, run_id: str | None = None, *, dry_run: bool = False) -> Checked:
    """Walk the whole live table, compare it with ``lis_images`` and keep the result in ``lis_node_checks``.

    ``live_unknown``: a live row whose image is unknown, in no state in which the website may show it, or not to be on
    the nodes; ``live_stale``: it shows other thumbnails than the image has; ``not_published``: an image in state live
    without a row. Samples are hashes, for `imagesys explain`. ``files`` counts live rows. ``dry_run`` keeps nothing.
    """
    result = Checked(LIVE_TABLE, "db_scan")
    _published(ctx, result)
    _unpublished(ctx, result)
    if not dry_run:
        keep_result(ctx, result, run_id)
    found = dict(result.findings) or "as the work state says"
    log.info("%s: %d live rows, %s", ctx.country.upper(), result.files, found)
    return result


def _published(ctx: Context, result: Checked) -> None:
    """Compare each live row with its image, the first half of the scan."""
    joined = lis_live_images.outerjoin(lis_images, _i.image_hash == _live.image_hash)
    after = ""
    while True:
        query = (
            sa.select(_live.image_hash, _live.image_data, _i.state, _i.desired, _i.thumbs)
            .select_from(joined)
            .where(_live.image_hash > after)
            .order_by(_live.image_hash)
            .limit(CHUNK)
        )
        ctx.give_way()
        rows = read(ctx.db, query)
        for row in rows:
            if kind := _wrong(row):
                result.count(kind, row.image_hash, ctx.config.check.samples)
        result.files += len(rows)
        if len(rows) < CHUNK:
            ctx.progress(result.files, 2 * result.files)
            return
        after = rows[-1].image_hash
        ctx.progress(result.files, 2 * round(result.files / WHOLE.share(after)))  # hashes are spread evenly


def _wrong(row: Row) -> str:
    if row.desired != Desired.PRESENT.value or row.state not in _SHOWN:
        return "live_unknown"
    return "live_stale" if row.state == State.LIVE.value and _shown(row.image_data) != _made(row.thumbs) else ""


def _shown(image_data: dict[str, dict[str, object]]) -> set[tuple[object, object]]:
    return {(thumb["path"], thumb["bytes"]) for thumb in image_data.values()}


def _made(thumbs: list[dict[str, object]] | None) -> set[tuple[object, object]]:
    return {(thumb["path"], thumb["bytes"]) for thumb in thumbs or ()}


def _unpublished(ctx: Context, result: Checked) -> None:
    """Compare each image in state live with its live row, the second half of the scan."""
    seen = after = 0
    while True:
        query = (
            sa.select(_i.image_id, _i.image_hash, _live.image_hash.label("shown"))
            .select_from(lis_images.outerjoin(lis_live_images, _live.image_hash == _i.image_hash))
            .where(_i.state == State.LIVE.value, _i.image_id > after)
            .order_by(_i.image_id)
            .limit(CHUNK)
        )
        ctx.give_way()
        rows = read(ctx.db, query)
        for row in rows:
            if row.shown is None:
                result.count("not_published", row.image_hash, ctx.config.check.samples)
        seen += len(rows)
        if len(rows) < CHUNK:
            ctx.progress(result.files + seen, result.files + seen)
            return
        after = rows[-1].image_id
        ctx.progress(result.files + seen, max(2 * result.files, result.files + seen))
