"""Running ssh and rsync. A child that is told to stop, or from which nothing comes for too long, is ended.

It ends with this process, however that ends: one that went on alone would write to a node whose lock is free.
"""

from __future__ import annotations

import io
import os
import select
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
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


class Watch:
    """Looks after a command that is waited for. Its messages are a sign of life too.

    ``patience``: seconds that may pass without one; None for a command that watches itself.
    """

    def __init__(self, stop: threading.Event | None, patience: float | None, messages: IO[bytes]) -> None:
        self._stop, self._patience, self._messages = stop, patience, messages
        self._size = 0
        self.heard()

    def heard(self) -> None:
        """Count from now: there was a sign of life, or the waiting begins."""
        self._since = time.monotonic()

    def look(self) -> None:
        """Raise Stopped if the work is to stop, Silent if nothing came for too long, Garbled at too many messages."""
        if self._stop is not None and self._stop.is_set():
            raise Stopped
        size = os.fstat(self._messages.fileno()).st_size
        if size > _MOST:
            raise Garbled(f"more than {_MOST} bytes of messages came")
        if size != self._size:
            self._size = size
            self.heard()
        if self._patience is not None and time.monotonic() - self._since > self._patience:
            raise Silent(f"nothing came for {self._patience:g} s")


class Output(io.RawIOBase):
    """What a command writes, as it comes. Time that the reader spends elsewhere is none of the command's."""

    def __init__(self, pipe: IO[bytes], watch: Watch) -> None:
        super().__init__()
        self._pipe, self._watch = pipe, watch
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` with what is there, waiting for the first byte; 0 at the end."""
        self._watch.heard()
        while not self._poll.poll(_POLL * 1000):
            self._watch.look()
        data = os.read(self._pipe.fileno(), len(buffer))
        buffer[: len(data)] = data
        return len(data)


def buffered(output: io.RawIOBase) -> io.BufferedReader:
    """Return the output of a command to be read in pieces of any size."""
    return io.BufferedReader(output, _BLOCK)


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a command that is killed when the calling thread is no more: the one that waits for it."""
    return subprocess.Popen([*_dying_with_us(), *command], bufsize=0, **options)


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


def run(
    command: Sequence[str],
    *,
    data: bytes = b"",
    stop: threading.Event | None = None,
    patience: float | None = None,
    detached: bool = False,
) -> Ended:
    """Run one command to its end. Raises Stopped, Silent, or Garbled if it never stops talking; then it is gone.

    A detached child keeps its output open for ever, so that is not read, and messages go through a file.
    """
    # Not through a pipe: one that is full, while a node is slow to begin, would have to be fed beside the waiting.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as messages:
        given.write(data)
        given.seek(0)
        output = subprocess.DEVNULL if detached else subprocess.PIPE
        with start(command, stdin=given, stdout=output, stderr=messages) as process:
            watch = Watch(stop, patience, messages)
            try:
                said = b"" if process.stdout is None else buffered(Output(process.stdout, watch)).read(_MOST + 1)
                if len(said) > _MOST:
                    raise Garbled(f"more than {_MOST} bytes came")
                _wait(process, watch)
            except Stopped:
                process.terminate()
                raise
            except BaseException:
                process.kill()
                raise
        messages.seek(0)
        return Ended(process.returncode, said, messages.read().decode("utf-8", "replace"))


def _wait(process: subprocess.Popen[bytes], watch: Watch) -> None:
    """Wait for the end itself: `Popen.wait` with a limit sleeps up to 50 ms past it, as long as some commands take."""
    watch.heard()
    ended = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        while not poll.poll(_POLL * 1000):
            watch.look()
    finally:
        os.close(ended)
    process.wait()
