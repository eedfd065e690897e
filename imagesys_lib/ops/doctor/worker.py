"""This worker: its programs and its disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from imagesys_lib.context import Context
from imagesys_lib.ops.doctor.finding import Finding

_PROGRAMS = ("ssh", "rsync")


def programs() -> Iterator[Finding]:
    """Check that the programs which are called by name can be found."""
    for name in _PROGRAMS:
        path = shutil.which(name)
        yield (
            Finding(name, True, path)
            if path
            else Finding(name, False, f"{name} is not installed.", f"apt-get install {name}.")
        )


def staging(ctx: Context) -> str:
    """Check the staging disk."""
    ctx.staging.require_space()
    free = f"{ctx.staging.free_bytes() >> 20} MB and {ctx.staging.free_inodes()} inodes free"
    return f"{ctx.staging.settings.root}: {free}"
