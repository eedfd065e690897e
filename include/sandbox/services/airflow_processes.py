"""The processes that a daemon of Airflow has started, such as its tasks: they stay in its session."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

import psutil

from include.sandbox.services import process


def end_session(daemon: process.Record, wanted: Callable[[psutil.Process], bool]) -> None:
    """End what a daemon started. Each daemon leads a session of its own, and its tasks stay in it.

    The kernel gives no new process the number of a session that still has members, so a match is never a stranger.
    """
    leader = process.start_time_of(daemon.pid)
    if leader is not None and leader != daemon.start_time:
        return  # the session has ended and its number belongs to somebody else
    for number, patience in ((signal.SIGTERM, 6.0), (signal.SIGKILL, 5.0)):
        members = [one for one in _members(daemon.pid) if process.start_time_of(one.pid) and wanted(one)]
        for member in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(number)
        until = time.monotonic() + patience
        while any(process.start_time_of(member.pid) for member in members) and time.monotonic() < until:
            time.sleep(0.05)


def _members(session: int) -> list[psutil.Process]:
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(one.pid) == session:
                found.append(one)
    return found


def is_task(one: psutil.Process) -> bool:
    """Whether a process runs a task, by the title that Airflow gives it; its executor's workers are called alike."""
    with contextlib.suppress(psutil.Error):
        title = " ".join(one.cmdline())
        return title.startswith("airflow worker -- ") and "LocalExecutor" not in title
    return False
