"""One contender of the CPU measurement in a process of its own: CONTENDER, FILE OF FILE NAMES, RESULT."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import psutil

from . import engine
from .cpu import read_list
from .decoders import WAYS

_WARM_UP = 20
_OURS = "ImageSys "


def main() -> None:
    """Measure and write the result."""
    name, files, result = sys.argv[1], read_list(Path(sys.argv[2])), Path(sys.argv[3])
    seconds = _pool(name.removeprefix(_OURS), files) if name.startswith(_OURS) else _simple(name, files)
    result.write_text(json.dumps({"cpu_per_photo": seconds / len(files)}))


def _simple(name: str, files: list[Path]) -> float:
    way = WAYS[name](files)
    for file in files[:_WARM_UP]:
        way(file)
    before = cpu_seconds()
    for file in files:
        way(file)
    return cpu_seconds() - before


def _pool(encoder: str, files: list[Path]) -> float:
    with engine.pool(encoder) as make_all:
        make_all(files[:_WARM_UP])
        before = cpu_seconds()
        make_all(files)
        return cpu_seconds() - before


def cpu_seconds() -> float:
    """Return what this process and its children, ended and living, have used so far."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    for child in psutil.Process(os.getpid()).children(recursive=True):
        times = child.cpu_times()
        # Where a child has children of its own, those that ended count with it.
        total += times.user + times.system + times.children_user + times.children_system
    return total


if __name__ == "__main__":
    main()
