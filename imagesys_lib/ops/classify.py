"""Classes of images, as people see them."""

from __future__ import annotations

import sqlalchemy as sa

from imagesys_lib.context import Context
from imagesys_lib.db.engine import read, write
from imagesys_lib.db.schema import lis_live_images
from imagesys_lib.errors import UsageError


def classify(ctx: Context, image_hash: str, image_class: str) -> None:
    """Set the class of a live image by hand. Raises UsageError if the image is not live here."""
    live = lis_live_images.c
    statement = (
        sa.update(lis_live_images)
        .where(live.image_hash == image_hash)
        .values(human_classified=1, image_class=image_class[:64])
    )
    if not read(ctx.db, sa.select(live.image_hash).where(live.image_hash == image_hash)):
        raise UsageError(f"Image {image_hash} is not live in {ctx.country}.", remedy="see `imagesys explain`.")
    write(ctx.db, lambda connection: connection.execute(statement))
