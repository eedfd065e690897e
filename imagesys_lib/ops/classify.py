"""What people say that images show: their word stands until they take it back, whatever is made of the image."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from imagesys_lib.config.classes import KINDS
from imagesys_lib.context import Context
from imagesys_lib.db.engine import chunks, read, write
from imagesys_lib.db.schema import lis_images, lis_live_images
from imagesys_lib.errors import UsageError

log = logging.getLogger(__name__)

_i, _live = lis_images.c, lis_live_images.c


@dataclass(frozen=True)
class Classified:
    """How many images have got a person's word, or lost it; and which hashes are of no image here."""

    images: int
    unknown: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every hash is of an image."""
        return not self.unknown


def classify(
    ctx: Context, image_hashes: Sequence[str], image_class: str | None, *, by: str, dry_run: bool = False
) -> Classified:
    """Set the class of images, live or not, to a person's word; None takes it back, so that the system's holds.

    ``by`` is who says so, for the log. Raises UsageError for a class that the country's ``classes`` do not name.
    """
    allowed = {*KINDS, *ctx.config.classes}
    if image_class is not None and image_class not in allowed:
        raise UsageError(
            f"{ctx.country} has no class {image_class!r}.",
            remedy=f"say one of {', '.join(sorted(allowed))}, or add it to `classes` in the configuration.",
        )
    wanted = list(dict.fromkeys(image_hashes))
    images, known_hashes = 0, set[str]()
    for some in chunks([one for one in wanted if re.fullmatch(r"[0-9a-f]{40}", one)]):
        query = sa.select(_i.image_hash, _i.human_classified).where(_i.image_hash.in_(some))
        known = {row.image_hash: row.human_classified for row in read(ctx.db, query)}
        known_hashes |= known.keys()
        meant = sorted(known if image_class is not None else (one for one, said in known.items() if said))
        images += len(meant)
        if meant and not dry_run:
            write(ctx.db, lambda connection, meant=meant: _classify(connection, meant, image_class))  # type: ignore[misc]
    what = "as the system sees them again" if image_class is None else f"classified as {image_class}"
    log.info("%s: %d images %s%s, %s", ctx.country.upper(), images, "would be " if dry_run else "", what, by)
    return Classified(images, tuple(one for one in wanted if one not in known_hashes))


def _classify(connection: Connection, hashes: Sequence[str], image_class: str | None) -> None:
    said = {
        "image_class": _i.system_class if image_class is None else image_class,
        "human_classified": 0 if image_class is None else 1,
    }
    connection.execute(sa.update(lis_images).where(_i.image_hash.in_(hashes)).values(said))
    same = _i.image_hash == _live.image_hash
    shown = {name: sa.select(_i[name]).where(same).scalar_subquery() for name in said}
    connection.execute(sa.update(lis_live_images).where(_live.image_hash.in_(hashes)).values(shown))
