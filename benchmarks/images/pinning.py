"""All contenders on the same two processors, what their processes cost, and environments of their own."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks.common.outcome import Cost
from include.sandbox.settings import PROJECT

from .settings import CPUS, PYTHON, UV

_LONGEST_SECONDS = 1800
_LEFT_BEHIND_SECONDS = 5
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def pin() -> None:
    """Keep this process, and all that it starts from now on, on as many processors as the contenders share.

    It also becomes the parent of what its children leave behind: what those cost would be known to nobody otherwise.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CPUS])
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def run_all(commands: Sequence[Sequence[str]], log: Path, env: Mapping[str, str] | None = None) -> Cost:
    """Run these commands at once to their end. Raises RuntimeError with the end of the log."""
    ours = set(psutil.Process().children())
    before, began = _children(), time.perf_counter()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        running = [
            subprocess.Popen(command, cwd=PROJECT, stdout=file, stderr=file, env={**os.environ, **(env or {})})
            for command in commands
        ]
        try:
            codes = [process.wait(_LONGEST_SECONDS) for process in running]
        except BaseException:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()
            raise
    wall = time.perf_counter() - began
    psutil.wait_procs(set(psutil.Process().children()) - ours, _LEFT_BEHIND_SECONDS)
    if any(codes):
        raise RuntimeError(f"{commands[0][:4]} ended with {codes}:\n{log.read_text(errors='replace')[-2000:]}")
    return Cost(wall, _children() - before)


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def ensure_venv(folder: Path, requirements: Path) -> Path:
    """Make a virtual environment of pinned packages, once, and return its Python."""
    python = folder / "bin" / "python"
    stamp = folder / ".requirements"
    wanted = requirements.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([UV, "venv", "--quiet", "--clear", "--python", PYTHON, folder], check=True)
        command = [UV, "pip", "install", "--quiet", "--no-deps", "--python", python, "--requirement", requirements]
        subprocess.run(command, check=True)
        stamp.write_text(wanted)
    return python
