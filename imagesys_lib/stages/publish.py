"""Publish: an image goes live when a quorum of nodes holds its files."""

from __future__ import annotations

import logging

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.mysql import insert

from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, NOW, read, write
from imagesys_lib.db.schema import lis_images, lis_live_images
from imagesys_lib.images.states import State, move
from imagesys_lib.replication import node_records
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run
from imagesys_lib.stages.shared import placeholders

log = logging.getLogger(__name__)

_SHOWN = ("path", "width", "height", "bytes", "sha1", "thumbhash")
"""What ``image_data`` tells of each file; the ThumbHash is with the first one that shows the whole photo."""


PUBLISH_FIGURES = "publish."
"""How the names of what a run has published (new, replaced), among its figures, begin."""


def publish(ctx: Context, run: Run | None = None, *, dry_run: bool = False) -> int:
    """Put every image that a quorum of nodes holds into ``lis_live_images``. Returns how many went live.

    Placeholders that were found out since leave it first. It counts as the ``run``'s, in the transaction that does it,
    so that a task which is run again still knows what it had published. ``dry_run`` counts what would go live, and
    writes nothing.
    """
    most = ctx.config.thumbnail.placeholder_listings
    if most and not dry_run:
        placeholders.unpublish_placeholders(ctx.db, most)
    published = 0
    after = 0
    while ids := _holding(ctx, after, most if dry_run else 0):
        ctx.give_way()
        published += len(ids) if dry_run else write(ctx.db, lambda connection, ids=ids: _publish(connection, ids, run))  # type: ignore[misc]
        after = ids[-1]
        ctx.progress(published, published)
    log.info("%s: %d images %s", ctx.country.upper(), published, "would go live" if dry_run else "went live")
    return published


def _holding(ctx: Context, after: int, most: int) -> list[int]:
    """Return thumbnailed images, in order after ``after``, that enough nodes hold in their newest form.

    Without placeholders of more than ``most`` listings, if that is not 0: before a real one they are set aside.
    """
    i = lis_images.c
    enough = node_records.holders(ctx.config.nodes) >= ctx.config.quorum
    query = (
        sa.select(i.image_id)
        .where(i.state == State.THUMBNAILED.value, i.image_id > after, enough)
        .order_by(i.image_id)
        .limit(CHUNK)
    )
    if most:
        query = query.where(~placeholders.is_one(most))
    return [row.image_id for row in read(ctx.db, query)]


def published_by(ctx: Context, run: Run) -> dict[str, int]:
    """Return how many images a run has published: ``new`` ones, and ``replaced`` ones that were shown before."""
    found = runs.figures(ctx.db, run.run_id, PUBLISH_FIGURES)
    return {name: found.get(name, 0) for name in ("new", "replaced")}


def _publish(connection: Connection, ids: list[int], run: Run | None) -> int:
    i = lis_images.c
    images = connection.execute(
        sa.select(i.image_id, i.image_hash, i.image_url, i.datasource_id, i.thumbs, i.image_class, i.human_classified)
        .where(i.image_id.in_(ids), i.state == State.THUMBNAILED.value)
        .order_by(i.image_id)
        .with_for_update()
    ).all()
    if not images:
        return 0
    if run is not None:
        shown = lis_live_images.c.image_hash
        query = sa.select(sa.func.count()).where(shown.in_([image.image_hash for image in images]))
        replaced = int(connection.scalar(query) or 0)
        for name, number in (("new", len(images) - replaced), ("replaced", replaced)):
            if number:
                runs.add_figure(connection, run.run_id, PUBLISH_FIGURES + name, number)
    statement = insert(lis_live_images).values(insert_time=NOW)
    new = statement.inserted
    connection.execute(
        statement.on_duplicate_key_update(
            image_data=new.image_data,
            datasource_id=new.datasource_id,
            insert_time=new.insert_time,
            human_classified=new.human_classified,
            image_class=new.image_class,
        ),
        [
            {
                "image_url": image.image_url,
                "image_hash": image.image_hash,
                "datasource_id": image.datasource_id,
                "human_classified": image.human_classified,
                "image_class": image.image_class,
                "image_data": {
                    # "1" and "2" are what the website knows; a sibling is "1.webp".
                    ".".join(str(thumb[key]) for key in ("n", "format") if key in thumb): {
                        key: thumb[key] for key in _SHOWN if key in thumb
                    }
                    for thumb in image.thumbs
                },
            }
            for image in images
        ],
    )
    return move(
        connection, State.LIVE, frm=(State.THUMBNAILED,), where=i.image_id.in_([image.image_id for image in images])
    )
