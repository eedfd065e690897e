"""Airflow's log files go when nothing has been written to them for as many days as is configured.

Folders are walked by open directories, not by paths: no symbolic link is followed or deleted, and nothing outside can
be reached, whatever others change meanwhile.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from imagesys_lib.config import Retention

log = logging.getLogger(__name__)

NAMES = ("dag_id=*", "executor_callbacks", "dag_processor", "[12][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]")
"""The entries of a log folder that are looked into: logs of tasks, of callbacks, of parsing; the last ones where
parsing has a folder of its own. All else stays, should a wrong folder be given."""

LOG_OPTIONS = ("base_log_folder", "dag_processor_child_process_log_directory")
"""Airflow's settings, in its section ``logging``, that name the folders of :func:`log_folders`."""

_LEAST_AGE_SECONDS = 3600
"""A folder that was changed so lately may be about to be used."""


@dataclass(frozen=True)
class PrunedLogs:
    """What was deleted (in a dry run: what would be) and what stays. ``faults``: entries that could not be handled."""

    files: int = 0
    bytes: int = 0
    folders: int = 0
    kept_files: int = 0
    kept_bytes: int = 0
    faults: int = 0


def log_folders(base: Path, parsing: Path) -> list[Path]:
    """Return the folders to prune, given Airflow's folder for all logs and the one for logs of parsing DAG files."""
    return [base] if parsing == base / "dag_processor" else [base, parsing]


def prune_logs(
    folders: Iterable[Path],
    retentions: Iterable[Retention],
    *,
    dry_run: bool = False,
    check_stop: Callable[[], None] = lambda: None,
) -> PrunedLogs:
    """Delete the log files below ``folders`` that are older than the most generous of ``retentions``, one a country.

    Folders that this empties go too. A folder that is not there is passed over.
    """
    sweep = _Sweep(max(keep.logs for keep in retentions) * 86_400, dry_run, check_stop)
    roots = [folder.resolve() for folder in folders if folder.is_dir()]
    for root in roots:
        with _opened(root) as fd:
            sweep.clear(fd, NAMES)
    done = PrunedLogs(**sweep.counts)
    log.info("logs in %s%s: %s", ", ".join(map(str, roots)) or "no folder", " (dry run)" if dry_run else "", done)
    return done


@contextmanager
def _opened(folder: str | Path, parent: int | None = None) -> Iterator[int]:
    """Open a folder, itself no symbolic link."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


@dataclass
class _Sweep:
    age: float
    dry_run: bool
    check_stop: Callable[[], None]
    counts: Counter[str] = field(default_factory=Counter)
    now: float = field(default_factory=time.time)

    def clear(self, fd: int, names: Sequence[str] = ("*",)) -> bool:
        """Clear an open folder of what is old; returns whether nothing is left in it and it may be removed."""
        empty = os.fstat(fd).st_mtime < self.now - _LEAST_AGE_SECONDS  # looked at before anything is deleted from it
        for name in os.listdir(fd):
            self.check_stop()
            empty &= any(fnmatchcase(name, pattern) for pattern in names) and self._clear_entry(name, fd)
        return empty

    def _clear_entry(self, name: str, fd: int) -> bool:
        """Delete a file or a folder if it is to go; returns whether it is gone."""
        gone = False
        try:
            seen = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISREG(seen.st_mode):
                gone = seen.st_mtime < self.now - self.age
                if gone and not self.dry_run:
                    os.unlink(name, dir_fd=fd)
                self.counts["files" if gone else "kept_files"] += 1
                self.counts["bytes" if gone else "kept_bytes"] += seen.st_size
            elif stat.S_ISDIR(seen.st_mode):
                gone = self._clear_folder(name, fd)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # written to at this moment
                log.warning("%s stays: %s", name, error.strerror)
                self.counts["faults"] += 1
            return False
        return gone

    def _clear_folder(self, name: str, fd: int) -> bool:
        with _opened(name, fd) as below:
            empty = self.clear(below)
        if empty and not self.dry_run:
            os.rmdir(name, dir_fd=fd)
        self.counts["folders"] += empty
        return empty
