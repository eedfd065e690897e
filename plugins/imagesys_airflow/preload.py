"""Imports the libraries that every task needs once, in the process that tasks are forked from.

Airflow loads plugins before it forks its workers. Without this each of a run's tasks would import paramiko, requests
and the rest by itself: half a second of processor time a task. Our own modules stay out, so that a task always runs
the code that is on the disk.
"""

from __future__ import annotations

import contextlib
from importlib import import_module

_LIBRARIES = (
    "airflow.providers.mysql.hooks.mysql",
    "airflow.providers.smtp.hooks.smtp",
    "airflow.providers.ssh.operators.ssh",
    "PIL.Image",
    "requests",
    "sqlalchemy.dialects.mysql",
    "yaml",
)


def preload() -> None:
    """Import the libraries that tasks need; a missing one is left to the task that needs it to name."""
    for library in _LIBRARIES:
        with contextlib.suppress(ImportError):
            import_module(library)
