"""What processes take: memory, and processor time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def tree_pss(pid: int) -> tuple[float, int]:
    """Return the proportional set size of a process and all its descendants in megabytes, and their number."""
    total = count = 0
    try:
        pids = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0.0, 0
    for one in pids:
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        count += 1
    return total / 1024, count


def watch(process: subprocess.Popen[bytes], look: Callable[[], object], every: float) -> None:
    """Call ``look`` every so many seconds until a process has ended; end it where that is interrupted."""
    try:
        while process.poll() is None:
            look()
            time.sleep(every)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def machine_seconds() -> float:
    """Return the processor seconds that the machine has spent on all processes and on its own, since it began."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)
