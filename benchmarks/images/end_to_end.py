"""From URLs to thumbnails on disk: ImageSys's own stages beside img2dataset, on the same two processors.

Images per second count from the first request that the server saw to the last thumbnail written, so nobody's start
counts. ImageSys makes two thumbnails of each photo, img2dataset one.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial

from benchmarks.common.outcome import Grid, Part, Target

from . import corpus, peer
from .batches import Batches, Work
from .outcome import Done
from .settings import DELAY_SECONDS, ENCODERS, Options
from .webserver import WebServer

PEER = "img2dataset"
_THREADS = {False: (4, 8, 16, 32), True: (32, 64, 128, 256)}
_CALIBRATION_PHOTOS = 500
_CALIBRATION_TRIES = 2


@dataclass(frozen=True)
class Figure:
    """One measurement. ``rate`` in photos a second, ``cpu_ms`` of all its processes, per photo."""

    rate: float
    cpu_ms: float
    made: int
    failed: dict[str, int]
    requests: int
    whole_seconds: float


@dataclass
class _Scene:
    """With or without delay."""

    delayed: bool
    urls: list[str]
    tuning: peer.Tuning
    tried: list[tuple[peer.Tuning, float]] = field(default_factory=list)
    figures: dict[str, list[Figure]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"server delay {DELAY_SECONDS * 1000:.0f} ms" if self.delayed else "no server delay"


def measure(options: Options) -> Part:
    """Calibrate img2dataset, then run all contenders in turn, round after round."""
    paths = corpus.publish_different(corpus.photos(options.photos), options.urls)
    with WebServer() as server, Batches() as batches:
        scenes = [
            _Scene(delayed, server.urls(paths, delayed=delayed), peer.Tuning(threads=_THREADS[delayed][-1]))
            for delayed in (False, True)
        ]
        if options.calibrate:
            plain, delayed = scenes
            _calibrate(server, plain, peer.Tuning(), all_settings=True)
            # What a delay changes is how many threads are wanted; the rest costs CPU as before.
            _calibrate(server, delayed, plain.tuning, all_settings=False)
        for round_number in range(options.rounds):
            # Who goes first changes: a machine that warms up or tires favours nobody.
            for scene in scenes:
                order = [*ENCODERS, PEER]
                shift = round_number % len(order)
                for name in order[shift:] + order[:shift]:
                    figure = _measured(server, _work(name, scene, batches), len(paths))
                    scene.figures.setdefault(name, []).append(figure)
    return _part(scenes, len(paths), options.rounds)


def _work(name: str, scene: _Scene, batches: Batches) -> Callable[[], Done]:
    if name == PEER:
        return partial(peer.run, scene.urls, scene.tuning)
    return partial(batches.run, batches.plan(scene.urls, Work(name)))


def _calibrate(server: WebServer, scene: _Scene, start: peer.Tuning, *, all_settings: bool) -> None:
    """Find img2dataset's fastest settings; the better of two tries counts, as noise only slows.

    What aliases (`linear` and `nearest`, see the fidelity table) is tried and shown, but not compared with.
    """
    urls = scene.urls[:_CALIBRATION_PHOTOS]
    scene.tuning = start
    trials = peer.candidates(_THREADS[scene.delayed], start, all_settings=all_settings)
    best_rate = 0.0
    tuning = next(trials)
    while True:
        work = partial(peer.run, urls, tuning)
        rate = max(_measured(server, work, len(urls)).rate for _ in range(_CALIBRATION_TRIES))
        scene.tried.append((tuning, rate))
        if rate > best_rate and tuning.interpolation == peer.Tuning.interpolation:
            best_rate, scene.tuning = rate, tuning
        try:
            tuning = trials.send(scene.tuning)
        except StopIteration:
            return


def _measured(server: WebServer, work: Callable[[], Done], photos: int) -> Figure:
    """Do the work and time it by the server's log; a contender that fails has made nothing, and says why."""
    mark = server.mark()
    try:
        done = work()
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        return Figure(0.0, 0.0, 0, {str(error).strip().splitlines()[-1]: photos}, 0, 0.0)
    served = server.served(mark)
    seconds = done.last_file - served.first
    rate = done.made / seconds if done.made and seconds > 0 else 0.0
    return Figure(rate, 1000 * done.cost.cpu / photos, done.made, done.failed, served.requests, done.cost.wall)


def _part(scenes: list[_Scene], photos: int, rounds: int) -> Part:
    part = Part(f"End to end, {photos} photos, medians of {rounds} interleaved rounds, 2 processes on 2 processors")
    medians: dict[tuple[bool, str], float] = {}
    for scene in scenes:
        rows = []
        for name, figures in scene.figures.items():
            rates = [figure.rate for figure in figures]
            medians[scene.delayed, name] = statistics.median(rates)
            last = figures[-1]
            rows.append(
                [
                    f"ImageSys {name}" if name in ENCODERS else f"{PEER}: {scene.tuning}",
                    f"{statistics.median(rates):.0f}",
                    f"{min(rates):.0f}-{max(rates):.0f}",
                    f"{statistics.median(figure.cpu_ms for figure in figures):.1f}",
                    str(last.made),
                    ", ".join(f"{count} {reason}" for reason, count in last.failed.items()) or "none",
                ]
            )
        columns = ("contender", "photos per second", "min-max", "CPU ms per photo, with start", "made", "failed")
        part.grids.append(Grid(f"Download and thumbnails, {scene.label}", columns, rows))
        tried = [[str(tuning), f"{rate:.0f}"] for tuning, rate in scene.tried]
        title = f"{PEER}'s calibration, {scene.label}, {min(photos, _CALIBRATION_PHOTOS)} photos"
        if tried:
            part.grids.append(Grid(title, ("settings", "photos per second, better of two"), tried))
    part.targets = [
        Target(f"{name} / {PEER}, {label}", ">=", wanted, _ratio(medians, delayed, name), "x")
        for name, delayed, wanted, label in (
            ("fast", False, 2.5, "no delay"),
            ("lean", False, 1.8, "no delay"),
            ("fast", True, 1.5, "200 ms"),
        )
    ]
    part.notes = [
        "Time: from the first request that nginx saw to the last thumbnail file; nginx shares the two processors.",
        "ImageSys: two tasks at once, each download then thumbnail of a batch, with one decoding process, on MariaDB.",
        "ImageSys makes 160x120 and 60x60, sharpened, upright and in sRGB; img2dataset makes one of 160 px.",
        "fetch.per_host is 64, the most that the configuration allows: img2dataset has no limit per host.",
    ]
    part.data = {
        scene.label: {
            "figures": {name: [asdict(figure) for figure in figures] for name, figures in scene.figures.items()},
            "calibration": [{**peer.described(tuning), "rate": rate} for tuning, rate in scene.tried],
            "tuning": peer.described(scene.tuning),
        }
        for scene in scenes
    }
    return part


def _ratio(medians: dict[tuple[bool, str], float], delayed: bool, name: str) -> float | None:
    ours, theirs = medians.get((delayed, name)), medians.get((delayed, PEER))
    return ours / theirs if ours and theirs else None
