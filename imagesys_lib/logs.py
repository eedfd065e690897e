"""Logs of commands run by hand: the screen, and a rotated file per component with a separate error log.

In an Airflow task nothing is configured here: Airflow keeps the task's log.
"""

from __future__ import annotations

import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path

LOG_VARIABLE = "IMAGESYS_LOGS"
_MAX_BYTES = 10 * 1024 * 1024
_KEEP = 5
_installed: list[logging.Handler] = []


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
