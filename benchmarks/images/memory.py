"""Memory of one batch of thousands of images: the sum of PSS of the task and all its children, all the time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.common.outcome import Grid, Part, Target
from benchmarks.common.processes import tree_pss, watch

from . import corpus
from .batches import Batches, BatchesDone, Work
from .settings import CPUS, Options
from .webserver import WebServer

_EVERY_SECONDS = 0.1
_LIMIT_MB = 350
_MEMORY_MB = 768  # of one decoding process: the setting's default
_SETTLED = 0.2  # of a phase is its start, which is left out where flatness is judged
_GROWTH = 1.10


@dataclass
class Curve:
    """Samples of (epoch, megabytes, processes)."""

    samples: list[tuple[float, float, int]] = field(default_factory=list)

    @property
    def peak(self) -> float:
        return max((megabytes for _, megabytes, _ in self.samples), default=0.0)

    def growth(self, start: float, end: float) -> float | None:
        """Return how the mean of a phase's second half compares with that of its first, its start left out."""
        begin = start + _SETTLED * (end - start)
        middle = (begin + end) / 2
        first = [megabytes for moment, megabytes, _ in self.samples if begin <= moment < middle]
        second = [megabytes for moment, megabytes, _ in self.samples if middle <= moment < end]
        return statistics.fmean(second) / statistics.fmean(first) if first and second else None


def measure(options: Options) -> Part:
    """Run one batch and sample it; then once more with a huge photo in it."""
    photos = corpus.jpegs(corpus.photos(options.photos))
    paths = corpus.publish_different(photos, options.memory_images)
    huge = corpus.publish_huge(max(photos, key=lambda photo: photo.width * photo.height).file)
    part = Part(f"Memory of one batch of {len(paths)} images, 64 in flight, lean")
    with WebServer() as server, Batches() as batches:
        urls = server.urls(paths, delayed=False)
        usual = _run(batches, urls, {})
        with_huge = [*urls[: len(urls) // 2], *server.urls([huge], delayed=False), *urls[len(urls) // 2 :]]
        raised = {"max_megapixels": 120, "thumbnail": {"memory_mb": _MEMORY_MB, "seconds": 120}}
        special = _run(batches, with_huge[: len(urls)], raised)
    _add(part, "usual photos", *usual)
    _add(part, "one progressive JPEG of 100 megapixels among them", *special)
    curve, done = usual
    part.targets = [
        Target("peak of the sum of PSS", "<=", _LIMIT_MB, curve.peak, "MB"),
        *(Target(f"growth while it {name}s", "<=", _GROWTH, growth, "x") for name, growth in _growths(curve, done)),
        Target("peak with 100 megapixels", "<=", usual[0].peak + _MEMORY_MB, special[0].peak, "MB"),
    ]
    part.notes.append(
        f"Sampled every {_EVERY_SECONDS:g} s from /proc/PID/smaps_rollup. Growth: mean of the second half of a phase "
        "to that of its first, without its start. With 100 megapixels: the usual peak and thumbnail.memory_mb together."
    )
    return part


def _run(batches: Batches, urls: Sequence[str], settings: dict[str, Any]) -> tuple[Curve, BatchesDone]:
    (batch,) = batches.plan(urls, Work("lean", batches=1, processes=CPUS, settings=settings))
    process, done = batches.start(batch)
    curve = Curve()
    watch(process, lambda: curve.samples.append((time.time(), *tree_pss(process.pid))), _EVERY_SECONDS)
    if process.returncode:
        raise RuntimeError(f"the batch ended with {process.returncode}: see .local/bench-images/log/imagesys.log")
    return curve, done()


def _growths(curve: Curve, done: BatchesDone) -> list[tuple[str, float | None]]:
    phases = done.phases[0]
    return [
        ("download", curve.growth(phases["began"], phases["fetched"])),
        ("thumbnail", curve.growth(phases["fetched"], phases["ended"])),
    ]


def _add(part: Part, label: str, curve: Curve, done: BatchesDone) -> None:
    phases = done.phases[0]
    seconds = phases["ended"] - phases["began"]
    download = [megabytes for moment, megabytes, _ in curve.samples if moment < phases["fetched"]]
    growths = ", ".join("-" if growth is None else f"{growth:.2f}" for _, growth in _growths(curve, done))
    failed = ", ".join(f"{count} {reason}" for reason, count in done.failed.items()) or "none"
    processes = max(count for _, _, count in curve.samples)
    row = [
        f"{curve.peak:.0f}",
        f"{max(download, default=0):.0f}",
        growths,
        str(processes),
        f"{seconds:.0f}",
        str(done.made),
        failed,
    ]
    columns = ("peak MB", "peak of the download MB", "growth of both phases", "processes", "seconds", "made", "failed")
    part.grids.append(Grid(label, columns, [row]))
    began = phases["began"]
    part.data[label] = {
        "samples": [
            (round(moment - began, 2), round(megabytes, 1), count) for moment, megabytes, count in curve.samples
        ],
        "fetched": phases["fetched"] - began,
        "peak": curve.peak,
        "failed": done.failed,
        "made": done.made,
    }
