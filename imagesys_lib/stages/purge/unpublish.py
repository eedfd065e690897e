"""The first phase: images leave the site, while their files wait on the nodes for the grace period."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from imagesys_lib.context import Context
from imagesys_lib.db.engine import from_now, write
from imagesys_lib.db.schema import lis_images, lis_listing_images, lis_live_images
from imagesys_lib.images import relisted
from imagesys_lib.images.states import NEVER, Desired, State, move
from imagesys_lib.stages.purge.due import IDLE, due_by, out_of_date
from imagesys_lib.stages.purge.rules import WHY, Cutoffs, PurgeRule


def unpublish(
    connection: Connection, hashes: Sequence[str], rule: PurgeRule, cut: Cutoffs, *, grace_hours: float
) -> int:
    """Unpublish those of at most 1,000 images that are due at this moment. Returns how many.

    Image rows are locked first and judged then: whoever has shown one of them again by now keeps it. Live is what has
    a live row, whatever its state: an image that is to be made again is ``new`` or ``thumbnailed``, and still shown.
    """
    i = lis_images.c
    locked = connection.execute(
        sa.select(i.image_id, i.image_hash, i.desired)
        .where(i.image_hash.in_(hashes), i.state.in_([state.value for state in IDLE]))
        .order_by(i.image_id)
        .with_for_update()
    ).all()
    due = due_by(connection, rule, [image.image_hash for image in locked], cut) if locked else set()
    connection.execute(sa.delete(lis_live_images).where(lis_live_images.c.image_hash.in_(sorted(due))))
    going = [image for image in locked if image.image_hash in due]
    on_nodes = [image.image_id for image in going if image.desired == Desired.PRESENT.value]
    nowhere = [image for image in going if image.desired != Desired.PRESENT.value]
    why = {"detail": WHY[rule]}
    moved = 0
    if on_nodes:
        waits = {**why, "next_attempt_at": from_now(round(grace_hours * 3600))}
        moved += move(connection, State.PURGED, frm=IDLE, where=i.image_id.in_(on_nodes), values=waits)
    if nowhere:
        ids, gone = [image.image_id for image in nowhere], [image.image_hash for image in nowhere]
        done = {**why, "next_attempt_at": NEVER}
        moved += move(connection, State.PURGED, frm=IDLE, where=i.image_id.in_(ids), values=done)
        forget_listings(connection, gone, cut)
    return moved


def forget_listings(connection: Connection, hashes: Sequence[str], cut: Cutoffs) -> None:
    """Delete which listings showed these images, but for one that has shown them again since."""
    t = lis_listing_images.c
    connection.execute(sa.delete(lis_listing_images).where(t.image_hash.in_(hashes), out_of_date(cut)))


def restore_relisted(ctx: Context, hashes: Sequence[str], cut: Cutoffs) -> int:
    """Bring back those of at most 1,000 purged images that a listing shows again. Returns how many.

    Ingest writes listings first and looks at images then, without locks. One that looked just before a purge had
    ended left its image purged; this query, after the purge has ended, sees what that ingest wrote.
    """

    def work(connection: Connection) -> int:
        kept = set(hashes)
        for rule in cut.rules:
            kept -= due_by(connection, rule, hashes, cut)
        return relisted.bring_back(connection, ctx.config, sorted(kept)) if kept else 0

    return write(ctx.db, work) if hashes else 0
