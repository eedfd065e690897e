"""What decoding processes do in tests, instead of making thumbnails or besides. Few imports: each process has them."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time

from imagesys_lib.errors import DiskFull
from imagesys_lib.thumbnail.messages import Limits, Made, Making, PlainSize, ThumbnailJob
from imagesys_lib.thumbnail.processes import worker

MAKING = Making(
    sizes=(PlainSize(60, 60, "crop"), PlainSize(160, 120, "fit")),
    sharpen="0x1",
    gamma=1.0,
    quality=90,
    encoder="lean",
    siblings=(),
    limits=Limits(50_000_000, 32, 32),
)
"""How thumbnails are made by default."""


def poisoned(job: ThumbnailJob) -> Made:
    """Make thumbnails as always, but for photos that say in a comment how they break their decoder."""
    data = job.source.read_bytes()
    if b"poison: segv" in data:
        ctypes.string_at(0)
    if b"poison: abort" in data:
        os.abort()
    if b"poison: kill" in data:
        os.kill(os.getpid(), signal.SIGKILL)
    if b"poison: hang" in data:
        ctypes.CDLL(None).sleep(1000)  # in C: no Python code runs any more
    if b"poison: memory" in data:
        hoard = [bytes(16 << 20) for _ in range(1000)]
        raise AssertionError(f"{len(hoard)} pieces of 16 MB were allowed")
    if b"poison: exit" in data:
        os._exit(7)
    return worker.make(job)


def timed(job: ThumbnailJob) -> Made:
    """Make thumbnails and write down, beside the original, how many seconds it took."""
    began = time.monotonic()
    made = worker.make(job)
    job.source.with_suffix(".seconds").write_text(str(time.monotonic() - began))
    return made


RAISED = {
    "full": DiskFull("No space left.", remedy="free space"),
    "broken": OSError("image file is broken"),
    "absurd": ZeroDivisionError("by zero"),
}


def failing(job: ThumbnailJob) -> Made:
    """Raise what the photo's name says, or make it."""
    for word, error in RAISED.items():
        if word in job.source.name:
            raise error
    return worker.make(job)


def treacherous(job: ThumbnailJob) -> Made:
    """Do what the photo's name says before, or instead of, making it."""
    name = job.source.name
    if "abort" in name:
        os.abort()
    if "segv" in name:
        ctypes.string_at(0)
    if "kill" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "hang" in name:
        ctypes.CDLL(None).pause()  # in C, with no Python code run in between
    if "hungry" in name:
        ctypes.memset(ctypes.create_string_buffer(64 << 20), 1, 64 << 20)  # within the limit
        hoard = []
        while True:
            hoard.append(bytearray(8 << 20))
    if "once" in name and len(leavings := list(job.source.parent.glob("gone-*"))) < 2:
        (job.source.parent / f"gone-{len(leavings)}").touch()  # in the chunk, and once more alone
        if "starved" in name:
            raise MemoryError
        os.kill(os.getpid(), signal.SIGKILL)
    return failing(job)


def dying(_job: ThumbnailJob) -> Made:
    """End every process that is given anything, as if it had never begun."""
    os.kill(os.getppid(), 0)
    os._exit(3)


def late(job: ThumbnailJob) -> Made:
    """Make the photo, and die a little later, between two tasks."""
    made = worker.make(job)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGSEGV)).start()
    return made
