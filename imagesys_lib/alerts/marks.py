"""What one machine has told without a database, each a small file: so that it is told once, and can be taken back."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from imagesys_lib.intervals import UTC


@dataclass(frozen=True)
class Marks:
    """The folder of one machine's marks. A disk that takes none costs a mail too many, never one too few."""

    folder: Path

    def once(self, what: str, keep: Callable[[], bool], *, lapses_hours: float) -> None:
        """Call ``keep``, unless it has kept this mail before; only what it has kept counts as told.

        After ``lapses_hours`` without further trouble it is forgotten, and new trouble is told anew.
        """
        path = self._path(what)
        with self._alone():
            told = self.since(what)
            if told and _age_seconds(path) > lapses_hours * 3600:
                told = None
            if told or keep():
                with contextlib.suppress(OSError):
                    path.write_text((told or dt.datetime.now(UTC)).isoformat(), encoding="ascii")

    def since(self, what: str) -> dt.datetime | None:
        """Return when it was told; None if it was not."""
        with contextlib.suppress(OSError, ValueError):
            return dt.datetime.fromisoformat(self._path(what).read_text(encoding="ascii"))
        return None

    def forget(self, what: str) -> None:
        """Its end has been told too."""
        with contextlib.suppress(OSError):
            self._path(what).unlink()

    def _path(self, what: str) -> Path:
        return self.folder / f"imagesys-told-{hashlib.sha256(what.encode()).hexdigest()[:32]}"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Callbacks of a backfill's days run at once."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                lock = os.open(self.folder / ".imagesys-told.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                stack.callback(os.close, lock)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _age_seconds(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
