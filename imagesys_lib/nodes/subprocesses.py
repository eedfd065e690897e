"""Running ssh and rsync. A child that is to stop, or from which nothing comes for too long, is ended.

It ends with this process, however that ends: one that went on alone would write to a node whose lock is free.
"""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import IO, Any

from imagesys_lib.errors import Stopped
from imagesys_lib.nodes.faults import Garbled

_POLL = 0.5  # seconds between checks of `stop` while a command runs
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


class Command:
    """A command that runs.

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
        self._process, self._messages, self._stop, self._patience = process, messages, stop, patience
        self._size, self._since = 0, time.monotonic()

    def output(self) -> Iterator[bytes]:
        """Yield the command's output as it comes. Time that a reader spends elsewhere is none of the command's."""
        stdout, poll = self._process.stdout, select.poll()
        if stdout is None:
            return
        poll.register(stdout, select.POLLIN)
        block = b"-"
        while block:
            self._since = time.monotonic()
            while not poll.poll(_POLL * 1000):
                self._check()
            block = os.read(stdout.fileno(), _BLOCK)
            yield block

    def end(self) -> tuple[int, str]:
        """Wait for the end, and return the exit code and the messages."""
        self._since = time.monotonic()
        while self._process.poll() is None:
            try:
                self._process.wait(_POLL)
            except subprocess.TimeoutExpired:
                self._check()
        self._messages.seek(0)
        return self._process.returncode, self._messages.read().decode("utf-8", "replace")

    def kill(self) -> None:
        """End the child process: the reader wants no more."""
        self._process.kill()

    def _check(self) -> None:
        if self._stop is not None and self._stop.is_set():
            raise Stopped
        size = os.fstat(self._messages.fileno()).st_size
        if size > _MOST:
            raise Garbled(f"more than {_MOST} bytes of messages came")
        if size != self._size:
            self._size, self._since = size, time.monotonic()
        if self._patience is not None and time.monotonic() - self._since > self._patience:
            raise Silent(f"nothing came for {self._patience:g} s")


@cache
def _dying_with_us() -> tuple[str, ...]:
    """Return how a command begins that dies with who started it: through util-linux, as a `preexec_fn` is not safe
    beside threads. It may be missing, or too simple: then an orphan ends with the group that it is at.
    """
    setpriv = ("setpriv", "--pdeathsig", "KILL")
    try:
        known = subprocess.run([*setpriv, "true"], capture_output=True, check=False, timeout=30).returncode == 0
    except OSError:
        known = False
    return setpriv if known else ()


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
    output = subprocess.DEVNULL if detached else subprocess.PIPE
    # Not through a pipe: one that is full, while a node is slow to begin, would have to be fed beside the waiting.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as messages:
        given.write(data)
        given.seek(0)
        with subprocess.Popen(
            [*_dying_with_us(), *command], bufsize=0, stdin=given, stdout=output, stderr=messages
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
        said = bytearray()
        for block in started.output():
            said += block
            if len(said) > _MOST:
                raise Garbled(f"more than {_MOST} bytes came")
        returncode, messages = started.end()
    return Ended(returncode, bytes(said), messages)
