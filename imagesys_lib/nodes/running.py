"""Running ssh and rsync. A child that is told to stop, or from which nothing comes for too long, is ended.

It ends with this process, however that ends: one that went on alone would write to a node whose lock is free.
"""

from __future__ import annotations

import io
import os
import select
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from imagesys_lib.errors import Stopped
from imagesys_lib.nodes.faults import Garbled

_POLL = 0.5  # seconds between looks at `stop` while a command runs
_BLOCK = 64 * 1024  # what a pipe holds
_MOST = 64 * 1024 * 1024  # bytes of an answer; those to a thousand images have some hundred kilobytes


class Silent(Exception):
    """Nothing came from a command for as long as anybody should wait."""


@dataclass(frozen=True)
class Ended:
    """What a command did: its exit code, its output and its messages."""

    returncode: int
    output: bytes
    messages: str


class Command(io.RawIOBase):
    """A command that runs, and what it writes, as it comes. Time that a reader spends elsewhere is none of its own.

    Its messages are a sign of life too. ``patience``: seconds that may pass without one; None for a command that
    watches itself. Waiting for it raises Stopped if the work is to stop, Silent if nothing came for too long, and
    Garbled at too many messages.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        messages: IO[bytes],
        stop: threading.Event | None,
        patience: float | None,
    ) -> None:
        super().__init__()
        self._process, self._messages, self._stop, self._patience = process, messages, stop, patience
        self._size, self._since = 0, time.monotonic()
        self._poll = select.poll()
        if process.stdout is not None:
            self._poll.register(process.stdout, select.POLLIN)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` with what is there, waiting for the first byte; 0 at the end."""
        if self._process.stdout is None:
            return 0
        self._since = time.monotonic()
        while not self._poll.poll(_POLL * 1000):
            self._look()
        return os.readv(self._process.stdout.fileno(), [buffer])

    def end(self) -> tuple[int, str]:
        """Wait for the end, and return the exit code and the messages."""
        self._since = time.monotonic()
        while self._process.poll() is None:
            try:
                self._process.wait(_POLL)
            except subprocess.TimeoutExpired:
                self._look()
        self._messages.seek(0)
        return self._process.returncode, self._messages.read().decode("utf-8", "replace")

    def kill(self) -> None:
        """End it: the reader wants no more."""
        self._process.kill()

    def _look(self) -> None:
        if self._stop is not None and self._stop.is_set():
            raise Stopped
        size = os.fstat(self._messages.fileno()).st_size
        if size > _MOST:
            raise Garbled(f"more than {_MOST} bytes of messages came")
        if size != self._size:
            self._size, self._since = size, time.monotonic()
        if self._patience is not None and time.monotonic() - self._since > self._patience:
            raise Silent(f"nothing came for {self._patience:g} s")


@contextmanager
def running(
    command: Sequence[str],
    *,
    data: bytes = b"",
    stop: threading.Event | None = None,
    patience: float | None = None,
    detached: bool = False,
) -> Iterator[Command]:
    """Give a command that runs; where the block raises, it is ended.

    It is killed when the calling thread is no more: the one that waits for it. A detached one keeps its output open for
    ever, so that is not read, and messages go through a file.
    """
    # By util-linux, as a `preexec_fn` is not safe beside threads; without it an orphan ends with the group it is at.
    dying_with_us = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    output = subprocess.DEVNULL if detached else subprocess.PIPE
    # Not through a pipe: one that is full, while a node is slow to begin, would have to be fed beside the waiting.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as messages:
        given.write(data)
        given.seek(0)
        with subprocess.Popen(
            [*dying_with_us, *command], bufsize=0, stdin=given, stdout=output, stderr=messages
        ) as process:
            try:
                yield Command(process, messages, stop, patience)
            except Stopped:
                process.terminate()
                raise
            except BaseException:
                process.kill()
                raise


def run(command: Sequence[str], **options: Any) -> Ended:
    """Run one command to its end. Raises Stopped, Silent, or Garbled if it never stops talking; then it is gone."""
    with running(command, **options) as started:
        said = buffered(started).read(_MOST + 1)
        if len(said) > _MOST:
            raise Garbled(f"more than {_MOST} bytes came")
        returncode, messages = started.end()
    return Ended(returncode, said, messages)


def buffered(output: io.RawIOBase) -> io.BufferedReader:
    """Return the output of a command to be read in pieces of any size."""
    return io.BufferedReader(output, _BLOCK)
