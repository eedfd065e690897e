"""The folder of one ssh connection: its configuration, socket and, where a connection holds one, the private key.

A process that is killed leaves it behind. Its owner holds a lock on it, so the next connection sees that, and removes
it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_PREFIX = "imagesys-ssh-"
_YOUNG = 86_400  # seconds for which it is left alone: an older release, which may be at work beside us, locks nothing


class SessionFolder:
    """A new folder in the temporary directory, for its owner alone; removes those that killed ones have left."""

    def __init__(self) -> None:
        _sweep()
        self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX)
        self.path = Path(self._folder.name)
        self._lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        self._folder.cleanup()
        os.close(self._lock)


def _sweep() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # not ours, in use, or another has just removed it
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                about = os.fstat(folder)
                if about.st_uid == os.getuid() and time.time() - about.st_mtime > _YOUNG:
                    shutil.rmtree(path)
            finally:
                os.close(folder)
