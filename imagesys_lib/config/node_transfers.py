"""Settings of transfers to nodes: bandwidth, time-outs, room to be left."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from imagesys_lib.config.section import Seconds, Section


class Transfer(Section):
    """How files go to a node. ``bandwidth_kbps`` in KiB/s, 0 for no limit; times in seconds.

    ``repair_kbps`` limits in KiB/s what a repair takes from its peers, all together.
    A transfer is given up when nothing comes for ``io_timeout``, a command or listing after five times as long.
    """

    bandwidth_kbps: Annotated[int, Field(ge=0)] = 0
    repair_kbps: Annotated[int, Field(ge=0)] = 20_000
    connect_timeout: Seconds = 10
    io_timeout: Seconds = 120
    lock_timeout: Seconds = 1800
    node_min_free_mb: Annotated[int, Field(ge=0)] = 256
    node_min_free_inodes: Annotated[int, Field(ge=0)] = 10_000
    group_images: Annotated[int, Field(ge=1, le=1000)] = 1000
