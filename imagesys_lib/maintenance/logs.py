"""Log files go when they are too old, then the oldest ones while all together are too large.

Folders are walked by open directories, not by paths: no symbolic link is followed or deleted, and nothing outside can
be reached, whatever others change meanwhile. Memory does not grow with the number of files: where the logs begin to
fit is found from their bytes per minute.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from imagesys_lib.config import Retention

log = logging.getLogger(__name__)

NAMES = ("dag_id=*", "executor_callbacks", "dag_processor", "[12][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]")
"""The entries of a log folder that are looked into: logs of tasks, of callbacks, of parsing; the last ones where
parsing has a folder of its own. All else stays, should a wrong folder be given."""

LOG_OPTIONS = ("base_log_folder", "dag_processor_child_process_log_directory")
"""Airflow's settings, in its section ``logging``, that name the folders of :func:`log_folders`."""

_SPARED_SECONDS = 3600
"""Whatever was written so lately may be written on, and a folder made so lately is about to be used."""


@dataclass(frozen=True)
class PrunedLogs:
    """What was deleted (in a dry run: what would be) and what stays. ``faults``: entries that could not be handled."""

    files: int
    bytes: int
    folders: int
    kept_files: int
    kept_bytes: int
    faults: int


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
    """Prune the log files below ``folders`` by the most generous of ``retentions``, one a country.

    A folder that is not there is passed over.
    """
    now = time.time()
    known = list(retentions)
    roots = [folder.resolve() for folder in folders if folder.is_dir()]
    oldest = now - max(keep.logs for keep in known) * 86_400
    fitting = _fits_from(roots, oldest, max(keep.logs_mb for keep in known) << 20, check_stop)
    sweep = _Sweep(min(fitting, now - _SPARED_SECONDS), now - _SPARED_SECONDS, dry_run, check_stop)
    for root in roots:
        with _opened(root) as fd:
            sweep.clear(fd, NAMES)
    done = PrunedLogs(sweep.files, sweep.bytes, sweep.folders, sweep.kept_files, sweep.kept_bytes, sweep.faults)
    log.info("logs in %s%s: %s", ", ".join(map(str, roots)) or "no folder", " (dry run)" if dry_run else "", done)
    return done


def _fits_from(roots: Iterable[Path], oldest: float, max_bytes: int, check_stop: Callable[[], None]) -> float:
    """Return the instant, ``oldest`` or later, from which on all log files have at most ``max_bytes``."""
    minutes: Counter[int] = Counter()
    for root in roots:
        with _opened(root) as fd:
            for stat in _files(fd, NAMES):
                check_stop()
                if stat.st_mtime >= oldest:
                    minutes[int(stat.st_mtime // 60)] += stat.st_size
    excess = minutes.total() - max_bytes
    for minute in sorted(minutes):
        if excess <= 0:
            break
        excess -= minutes[minute]
        oldest = (minute + 1) * 60.0
    return oldest


def _files(fd: int, names: Iterable[str] = ("*",)) -> Iterator[os.stat_result]:
    """Yield what is known of each regular file below an open folder."""
    with os.scandir(fd) as entries:
        for entry in entries:
            with suppress(OSError):  # it has gone, or the sweep says what is wrong with it
                if not _matches(entry.name, names):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    with _opened(entry.name, fd) as below:
                        yield from _files(below)
                elif entry.is_file(follow_symlinks=False):
                    yield entry.stat(follow_symlinks=False)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@contextmanager
def _opened(folder: str | Path, parent: int | None = None) -> Iterator[int]:
    """Open a folder, itself no symbolic link."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


class _Sweep:
    """Deletes files last written before ``before``, and folders that stood empty or were emptied here."""

    def __init__(self, before: float, young: float, dry_run: bool, check_stop: Callable[[], None]) -> None:
        self._before, self._young, self._dry_run, self._check_stop = before, young, dry_run, check_stop
        self.files = self.bytes = self.folders = self.kept_files = self.kept_bytes = self.faults = 0

    def clear(self, fd: int, names: Iterable[str] = ("*",)) -> bool:
        """Clear an open folder of what is old; returns whether it may be removed."""
        changed = os.fstat(fd).st_mtime  # before anything is deleted from it
        empty = True
        with os.scandir(fd) as entries:
            for entry in entries:
                self._check_stop()
                empty &= _matches(entry.name, names) and self._clear_entry(entry, fd)
        return empty and changed < self._young

    def _clear_entry(self, entry: os.DirEntry[str], fd: int) -> bool:
        """Delete a file or a folder if it is to go; returns whether it is gone."""
        try:
            if entry.is_dir(follow_symlinks=False):
                return self._clear_folder(entry.name, fd)
            return entry.is_file(follow_symlinks=False) and self._clear_file(entry.name, fd)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # written to at this moment
                log.warning("%s stays: %s", entry.name, error.strerror)
                self.faults += 1
            return False

    def _clear_folder(self, name: str, fd: int) -> bool:
        with _opened(name, fd) as below:
            empty = self.clear(below)
        if empty:
            if not self._dry_run:
                os.rmdir(name, dir_fd=fd)
            self.folders += 1
        return empty

    def _clear_file(self, name: str, fd: int) -> bool:
        stat = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.st_mtime >= self._before:
            self.kept_files += 1
            self.kept_bytes += stat.st_size
            return False
        if not self._dry_run:
            os.unlink(name, dir_fd=fd)
        self.files += 1
        self.bytes += stat.st_size
        return True
