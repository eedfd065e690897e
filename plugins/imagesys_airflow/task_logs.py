"""A task's log that cannot be written costs lines of log and no work.

Airflow's supervisor ends a task, and each of its retries, when the disk of its log is full (seen with 3.3): it writes
the file itself and takes no error. Here such a file loses what there is no room for and goes on when there is.
"""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import Any

from airflow.sdk._shared import logging as airflow_logging

log = logging.getLogger(__name__)
_init_log_file = airflow_logging.init_log_file


class _LossyFile(io.FileIO):
    """A file that takes what its disk has no room for as written. Unbuffered: nothing is left over to fail later.

    That is said once, in the log of the component that writes it: the scheduler's, or an executor's worker's.
    """

    _loses = False

    def write(self, data: Any, /) -> int:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[super().write(rest) or 0 :]
        except OSError as error:
            if not self._loses:
                log.warning("Task log %s loses lines: %s. Remedy: imagesys maintenance.", self.name, error.strerror)
            self._loses = True
        return len(data)


class _LogPath(type(Path())):  # type: ignore[misc]
    """Where a log lies; opened to append, it never raises an OSError."""

    def open(self, mode: str = "r", *args: Any, **options: Any) -> Any:
        if mode != "ab":
            return super().open(mode, *args, **options)
        try:
            return _LossyFile(self, mode)
        except OSError as error:
            log.warning("Task log %s is lost: %s. Remedy: imagesys maintenance.", self, error.strerror)
            return _LossyFile(os.devnull, mode)


def init_log_file(base: str | os.PathLike[str], below: str | os.PathLike[str], **permissions: int) -> Path:
    """Do as Airflow's function of this name does; where it cannot make the folder, the log is lost."""
    try:
        return _LogPath(_init_log_file(base, below, **permissions))
    except OSError:
        return _LogPath(base, below)


def lose_lines() -> None:
    """Put it into the place of Airflow's own."""
    airflow_logging.init_log_file = init_log_file
