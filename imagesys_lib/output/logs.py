"""Logs of commands run by hand: the screen, and a rotated file per component with a separate error log.

In an Airflow task no handler is configured here: Airflow keeps the task's log. What our records say is escaped in both.
"""

from __future__ import annotations

import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from imagesys_lib.output.printable import printable

LOG_VARIABLE = "IMAGESYS_LOGS"
_MAX_BYTES = 10 * 1024 * 1024
_KEEP = 5
_installed: list[logging.Handler] = []


def escape_records() -> None:
    """From now on escape what records of the project's loggers say, whatever handler writes them.

    A text among a record's arguments is on one line; a message and what an exception says may have several.
    """
    make = logging.getLogRecordFactory()

    def escaped(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if "imagesys" not in (record.name or ""):  # structlog, which writes Airflow's logs, copies records: no name yet
            return record
        if isinstance(record.args, tuple):
            record.args = tuple(printable(arg) if isinstance(arg, str) else arg for arg in record.args)
        record.msg, record.args = printable(record.getMessage(), lines=True), ()
        if record.exc_info:
            record.exc_text = printable(logging.Formatter().formatException(record.exc_info), lines=True)
        return record

    logging.setLogRecordFactory(escaped)


def configure(component: str, *, verbose: bool, quiet: bool = False) -> None:
    """Log to the screen and, where ``$IMAGESYS_LOGS`` names a directory, to ``<component>.log`` and ``errors.log``.

    Files rotate by themselves at 10 MiB, five are kept.
    """
    root = logging.getLogger()
    while _installed:  # a command over several countries comes here for each
        handler = _installed.pop()
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.DEBUG)
    screen = logging.StreamHandler()
    screen.setLevel(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
    screen.setFormatter(logging.Formatter("%(message)s"))
    _install(screen)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for noisy in ("urllib3", "PIL", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.INFO)
    folder = os.environ.get(LOG_VARIABLE)
    if folder:
        _add_files(Path(folder), component)


def _install(handler: logging.Handler) -> None:
    logging.getLogger().addHandler(handler)
    _installed.append(handler)


def _add_files(folder: Path, component: str) -> None:
    form = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, level in ((f"{component}.log", logging.INFO), ("errors.log", logging.ERROR)):
            handler = RotatingFileHandler(folder / name, maxBytes=_MAX_BYTES, backupCount=_KEEP, delay=True)
            handler.setLevel(level)
            handler.setFormatter(form)
            _install(handler)
    except OSError as error:
        # A full or missing log directory never stops the work.
        logging.getLogger(__name__).warning("No log files in %s: %s", folder, error.strerror)
