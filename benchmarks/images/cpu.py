"""CPU seconds of two thumbnails per JPEG: ImageSys's pool of processes beside what cannot be done without.

Each contender runs in a process of its own, round after round. Counted is user and system time of that process and its
children from the first photo after the warm-up to the last.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

from benchmarks.common.outcome import Grid, Part, Target

from . import corpus
from .decoders import BOUND, WAYS
from .pinning import run_all
from .settings import BASE, ENCODERS, Options

_WANTED = {"fast": 1.4, "lean": 1.9}
_LIST = BASE / "cpu-files.txt"


def measure(options: Options) -> Part:
    """Run all contenders in turn, round after round."""
    files = [photo.file for photo in corpus.jpegs(corpus.photos(options.photos))]
    _LIST.parent.mkdir(parents=True, exist_ok=True)
    _LIST.write_text("\n".join(map(str, files)) + "\n")
    seconds: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    contenders = [BOUND, *(f"ImageSys {name}" for name in ENCODERS), *(name for name in WAYS if name != BOUND)]
    for _ in range(options.rounds):
        for name in contenders:
            try:
                seconds.setdefault(name, []).append(_once(name))
            except (RuntimeError, OSError) as error:
                failed[name] = str(error).strip().splitlines()[-1]
    return _part(seconds, failed, len(files), options.rounds)


def _once(name: str) -> float:
    result = BASE / "cpu-result.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.images.cpu_worker", name, str(_LIST), str(result)]
    run_all([command], BASE / "log" / "cpu.log")
    return float(json.loads(result.read_text())["cpu_per_photo"])


def _part(seconds: dict[str, list[float]], failed: dict[str, str], photos: int, rounds: int) -> Part:
    part = Part(f"CPU of two thumbnails, {photos} JPEGs, medians of {rounds} interleaved rounds")
    medians = {name: statistics.median(values) for name, values in seconds.items() if values}
    bound = medians.get(BOUND)
    rows = []
    for name, values in seconds.items():
        if name in failed or not values:
            rows.append([name, "failed", "", failed.get(name, "")])
            continue
        spread = f"{1000 * min(values):.2f}-{1000 * max(values):.2f}"
        rows.append([name, f"{1000 * medians[name]:.2f}", spread, f"{medians[name] / bound:.2f}" if bound else "-"])
    columns = ("contender", "CPU ms per photo", "min-max", "times the bound")
    part.grids.append(Grid("Two thumbnails of each JPEG on disk", columns, rows))
    for name, wanted in _WANTED.items():
        own = medians.get(f"ImageSys {name}") if f"ImageSys {name}" not in failed else None
        part.targets.append(Target(f"{name} / bound", "<=", wanted, own / bound if own and bound else None, "x"))
    part.notes.append(
        "The bound decodes each JPEG at the least scale that covers 160x120 and encodes two thumbnails that were "
        "scaled ahead of the clock. ImageSys's figure holds all it does besides: checks, EXIF, scaling, "
        "sharpening, writing, and the way to its child processes and back."
    )
    part.data = {"seconds_per_photo": seconds, "failed": failed}
    return part


def read_list(file: Path) -> list[Path]:
    """Return the files that a list names."""
    return [Path(line) for line in file.read_text().splitlines()]
