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
class Told:
    """What was told: since when, and of which runs."""

    since: dt.datetime
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Marks:
    """The folder of one machine's marks. A disk that takes none costs a mail too many, never one too few."""

    folder: Path

    def once(self, what: str, keep: Callable[[], bool], *, lapses_hours: float, run: str = "") -> None:
        """Call ``keep``, unless it has kept this mail before; only what it has kept counts as told.

        After ``lapses_hours`` without further trouble it is forgotten, and new trouble is told anew. ``run`` joins the
        runs that it was told of.
        """
        with self._alone():
            told = self.told(what, lapses_hours=lapses_hours)
            if told or keep():
                known = told or Told(dt.datetime.now(UTC))
                runs = dict.fromkeys((*known.runs, run) if run else known.runs)
                self._note(what, Told(known.since, tuple(runs)))

    def again(self, what: str, keep: Callable[[], bool], *, hours: float) -> bool:
        """Call ``keep``, unless it has kept this mail in the last so many hours; returns whether it has kept it now."""
        with self._alone():
            told = self.told(what)
            if (told and _age_seconds(self._path(what)) < hours * 3600) or not keep():
                return False
            self._note(what, told or Told(dt.datetime.now(UTC)))
        return True

    def over(self, what: str, keep: Callable[[dt.datetime], bool]) -> bool:
        """Call ``keep``, given since when, if it was told, and forget it once that is kept; returns whether it was."""
        if self.told(what) is None:
            return False  # as almost always, and nobody need wait for anybody
        with self._alone():
            told = self.told(what)
            if told is None or not keep(told.since):
                return False
            self.forget(what)
        return True

    def _note(self, what: str, told: Told) -> None:
        with contextlib.suppress(OSError):
            self._path(what).write_text("\n".join((told.since.isoformat(), *told.runs)), encoding="utf-8")

    def since(self, what: str) -> dt.datetime | None:
        """Return when it was told; None if it was not."""
        told = self.told(what)
        return told.since if told else None

    def told(self, what: str, *, lapses_hours: float | None = None) -> Told | None:
        """Return what is known of it; None if it was not told, or has lapsed where it may."""
        path = self._path(what)
        with contextlib.suppress(OSError, ValueError):
            since, *runs = path.read_text(encoding="utf-8").split("\n")
            told = Told(dt.datetime.fromisoformat(since), tuple(runs))
            return None if lapses_hours is not None and _age_seconds(path) > lapses_hours * 3600 else told
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
