"""What the server of decoding processes imports once, for all that are forked from it."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy: threads that only take memory, and that no fork survives

from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.storage.atomic_files import write_atomically
from imagesys_lib.thumbnail.messages import Made, ThumbnailJob
from imagesys_lib.thumbnail.one_photo import Thumbnail, create_thumbnails_of_image


def make_and_write(job: ThumbnailJob) -> Made:
    """Make and write one photo's thumbnails."""
    making = job.making
    try:
        made = create_thumbnails_of_image(
            job.source,
            making.sizes,
            making,
            making.limits,
            making.encoder,
            siblings=making.siblings,
            sha1=job.sha1,
        )
    except ImageFault as fault:
        return Made(job.key, code=fault.reason.code, detail=fault.detail)
    except FileNotFoundError:
        return Made(job.key)
    shows = next(thumbnail.image_class for thumbnail in made if thumbnail.image_class)
    return Made(job.key, tuple(_written(job, thumbnail) for thumbnail in made), shows)


def _written(job: ThumbnailJob, thumbnail: Thumbnail) -> dict[str, Any]:
    path = f"{job.stem}.{thumbnail.number}.{thumbnail.format}"
    write_atomically(job.root / path, thumbnail.data, sync=False)  # `sync` looks at the size before it is used
    return {
        "n": thumbnail.number,
        "path": path,
        "width": thumbnail.width,
        "height": thumbnail.height,
        "bytes": len(thumbnail.data),
        "sha1": hashlib.sha1(thumbnail.data, usedforsecurity=False).hexdigest(),
        **({} if thumbnail.format == "jpg" else {"format": thumbnail.format}),
        **({"thumbhash": base64.b64encode(thumbnail.thumbhash).decode()} if thumbnail.thumbhash else {}),
    }
