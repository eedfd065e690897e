"""How fast a repair goes: as its limit says, whoever of its threads asks whichever peer."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

from imagesys_lib.nodes import NodeSession
from imagesys_lib.stages.check import check
from imagesys_lib.stages.repair import repair as repair_module
from imagesys_lib.stages.repair.repair import Repaired, repair
from include.sandbox import ManifestEntry
from tests.library.stages.test_repair import flip_a_bit
from tests.support.world import World, remove_below

Entries = dict[str, ManifestEntry]
GROUP = 10  # images


def test_a_limit_of_the_bandwidth_is_kept_by_a_repair_as_a_whole(world: World, live: Entries) -> None:
    """Of each group the first peer's files are damaged: one thread has to take it from the second peer, while another
    one would take the next group."""
    good = world.equal_trees()
    images = sorted({path.rsplit(".", 2)[0] for path in good})
    for number, image in enumerate(images):
        first = ("n1", "n3")[number // GROUP % 2]
        for end in ("1.jpg", "2.jpg"):
            flip_a_bit(world.root(first) / f"{image}.{end}")
    remove_below(world.root("n2"))
    check(world.ctx, "n2")
    pull, spans = NodeSession.pull, list[tuple[float, float]]()

    def timed(self: NodeSession, files: list[str], target: Path, **options: Any) -> None:
        began = time.monotonic()
        pull(self, files, target, **options)
        spans.append((began, time.monotonic()))

    world.patch.setattr(NodeSession, "pull", timed)
    world.patch.setattr(repair_module, "_GROUP", GROUP)
    size = 2 * sum((world.root("n1") / path).stat().st_size for path in good)
    kbps = max(1, round(size / 1024 / 4))  # four seconds
    ctx = world.reconfigure(transfer={"repair_kbps": kbps})
    began = time.monotonic()
    assert repair(ctx, "n2") == Repaired(restored=len(live))
    assert time.monotonic() - began > 0.7 * size / 1024 / kbps
    assert len(spans) == 2 * len(live) // GROUP
    spans.sort()
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
    assert world.tree("n2") == good
