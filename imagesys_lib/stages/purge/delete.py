"""The second phase: once the grace period has passed, a change lets the nodes delete the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, NOW, Row, beyond, database_now, read, write
from imagesys_lib.db.schema import lis_images, lis_node_repairs
from imagesys_lib.images.states import NEVER, Desired, State
from imagesys_lib.replication import change_log
from imagesys_lib.stages.purge.due import due_by, shown_by
from imagesys_lib.stages.purge.lookup import still_due
from imagesys_lib.stages.purge.rules import WHY, Cutoffs, PurgeRule
from imagesys_lib.stages.purge.unpublish import forget_listings, restore_relisted

_i = lis_images.c
_WAITS = (_i.state == State.PURGED.value) & (_i.desired == Desired.PRESENT.value)
_RULE_OF = {why: rule for rule, why in WHY.items()}


def in_grace(ctx: Context) -> Counter[PurgeRule]:
    """Count the images whose files wait for the end of their grace period, by the rule that took them off."""
    query = (
        sa.select(_i.detail, sa.func.count().label("images"))
        .where(_WAITS, _i.next_attempt_at > NOW, _i.next_attempt_at < NEVER)
        .group_by(_i.detail)
    )
    return Counter({_rule_of(row): row.images for row in read(ctx.db, query)})


def _rule_of(row: Row) -> PurgeRule:
    return _RULE_OF.get(row.detail, PurgeRule.UNLISTED)


def count_waiting(ctx: Context) -> int:
    """Count the purged images whose time has come."""
    due = (_i.state == State.PURGED.value) & (_i.next_attempt_at <= NOW)
    return int(read(ctx.db, sa.select(sa.func.count()).select_from(lis_images).where(due))[0][0])


def due_pages(ctx: Context, suspects: Sequence[int]) -> Iterator[list[Row]]:
    """Yield pages of (image_id, image_hash, desired, detail, next_attempt_at) of purged images whose time has come."""
    key = (_i.next_attempt_at, _i.image_id)
    after: sa.ColumnElement[bool] = sa.true()
    now = database_now(ctx.db)  # one instant for all pages: what is deleted meanwhile leaves them
    while True:
        ctx.give_way(etl=True)
        query = (
            sa.select(_i.image_id, _i.image_hash, _i.desired, _i.detail, _i.next_attempt_at)
            .where(_i.state == State.PURGED.value, _i.next_attempt_at <= now, after)
            .order_by(*key)
            .limit(CHUNK)
        )
        if suspects:
            query = query.where(~shown_by(suspects, _i.image_hash))
        rows = read(ctx.db, query)
        if rows:
            yield list(rows)
        if len(rows) < CHUNK:
            return
        after = beyond(key, (rows[-1].next_attempt_at, rows[-1].image_id))


def delete_page(
    ctx: Context, rows: Sequence[Row], cut: Cutoffs, counted: Callable[[Connection, int], None], *, dry_run: bool
) -> tuple[Counter[PurgeRule], int]:
    """Delete the files of a page of :func:`waiting`; returns images deleted by rule, and images that came back.

    Each is looked up in the ETL once more, and judged by the database once more: what is listed again comes back.
    ``counted`` is called, within the transaction, with how many go.
    """
    hashes = [row.image_hash for row in rows if row.desired == Desired.PRESENT.value]
    still = still_due(ctx, hashes, cut, dry_run=dry_run) if hashes else set()
    returned = len(hashes) - len(still)
    if dry_run:
        due = write(ctx.db, lambda connection: _due(connection, sorted(still), cut))
        return Counter(_rule_of(row) for row in rows if row.image_hash in due), returned
    returned += restore_relisted(ctx, sorted(still), cut)
    rules = {row.image_id: _rule_of(row) for row in rows if row.image_hash in still}

    def work(connection: Connection) -> list[int]:
        _settle_others(connection, [row.image_id for row in rows if row.desired != Desired.PRESENT.value])
        gone = delete_files(connection, sorted(rules), cut)
        counted(connection, len(gone))
        return gone

    gone = write(ctx.db, work)
    return Counter(rules[image_id] for image_id in gone), returned


def _due(connection: Connection, hashes: Sequence[str], cut: Cutoffs) -> set[str]:
    """Return those images that are due by any rule."""
    return set().union(*(due_by(connection, rule, hashes, cut) for rule in cut.rules)) if hashes else set()


def _settle_others(connection: Connection, ids: Sequence[int]) -> None:
    """Take purged images that have no files on the nodes out of the queue."""
    if ids:
        these = _i.image_id.in_(ids) & (_i.state == State.PURGED.value) & (_i.desired != Desired.PRESENT.value)
        connection.execute(sa.update(lis_images).where(these).values(next_attempt_at=NEVER))


def delete_files(connection: Connection, ids: Sequence[int], cut: Cutoffs) -> list[int]:
    """Put the deletion of images into the change log, their rows locked first. Returns which."""
    if not ids:
        return []
    locked = connection.execute(
        sa.select(_i.image_id, _i.image_hash)
        .where(_i.image_id.in_(ids), _WAITS, _i.next_attempt_at <= NOW)
        .order_by(_i.image_id)
        .with_for_update()
    ).all()
    due = _due(connection, [image.image_hash for image in locked], cut)
    gone = [image for image in locked if image.image_hash in due]
    if not gone:
        return []
    values = {"desired": Desired.ABSENT.value, "change_id": change_log.record(connection), "next_attempt_at": NEVER}
    these = _i.image_id.in_([image.image_id for image in gone])
    connection.execute(sa.update(lis_images).where(these).values(**values, updated_at=NOW))
    due_hashes = [image.image_hash for image in gone]
    connection.execute(sa.delete(lis_node_repairs).where(lis_node_repairs.c.image_hash.in_(due_hashes)))
    forget_listings(connection, due_hashes, cut)
    return [image.image_id for image in gone]
