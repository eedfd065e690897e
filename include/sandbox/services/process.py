"""Daemons that are started once, found again, and ended without ever touching a process of somebody else.

A record on disk holds pid and kernel start time (field 22 of /proc/PID/stat), so that a pid that the kernel
has given to another process is never taken for ours. A daemon without a record (its starter was killed
between the two steps) is recognised by its command line, which names this sandbox's directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from include.sandbox.errors import SandboxError
from include.sandbox.services.ports import check_port_is_free
from include.sandbox.settings import SandboxSettings, write_atomically

_POLL_SECONDS = 0.05
_LOCK_SECONDS = 180.0
_LOG_LIMIT = 20 * 1024 * 1024


@dataclass(frozen=True)
class Record:
    """What identifies a process for ever: its pid together with the moment the kernel started it."""

    pid: int
    start_time: int
    fingerprint: str

    @property
    def running(self) -> bool:
        return start_time_of(self.pid) == self.start_time


@dataclass(frozen=True)
class Service:
    """One daemon of the sandbox.

    `marker` is a part of the command line that only this service of this sandbox has. `configuration` is
    whatever beside argv decides how it runs: when it changes, `start` restarts the service. `session_marker`,
    a NAME=value that the daemon's sessions carry in their environment, says that ending the daemon must end
    its sessions too.
    """

    name: str
    argv: tuple[str, ...]
    marker: str
    addresses: tuple[tuple[str, int], ...]
    healthy: Callable[[], bool]
    prepare: Callable[[], None] = field(default=lambda: None)
    configuration: str = ""
    session_marker: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    start_seconds: float = 60.0
    stop_seconds: float = 30.0

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps([self.argv, self.configuration, dict(self.environment)]).encode()).hexdigest()


def start(settings: SandboxSettings, service: Service) -> bool:
    """Bring the service up and wait until it answers. False: it ran already, healthy and with this
    configuration.
    """
    with file_lock(settings.run_dir / f"{service.name}.lock"):
        record = read_record(settings, service.name)
        if record and record.running and record.fingerprint == service.fingerprint and service.healthy():
            return False
        _end_all(settings, service, record)
        for address, port in service.addresses:
            check_port_is_free(address, port, service.name)
        service.prepare()
        _spawn_and_wait(settings, service)
        return True


def stop(settings: SandboxSettings, service: Service) -> bool:
    """End the service, and only it: TERM, then KILL after `stop_seconds`. False: it was not running."""
    if not settings.run_dir.is_dir():
        return False
    with file_lock(settings.run_dir / f"{service.name}.lock"):
        return _end_all(settings, service, read_record(settings, service.name))


def running_pid(settings: SandboxSettings, name: str) -> int | None:
    record = read_record(settings, name)
    return record.pid if record and record.running else None


def read_record(settings: SandboxSettings, name: str) -> Record | None:
    """The record of the last start; None where there is none or a crash left it unreadable."""
    try:
        return Record(**json.loads((settings.run_dir / f"{name}.pid").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def start_time_of(pid: int) -> int | None:
    """Clock ticks after boot at which `pid` started; None where it does not run (a zombie does not run)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name, in parentheses, may hold blanks; the state follows it
    return None if fields[0] in "ZX" else int(fields[19])


@contextlib.contextmanager
def file_lock(path: Path, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    """An exclusive lock that the kernel drops with its holder, so that a crash leaves none behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    with path.open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    file.seek(0)
                    holder = file.read().strip() or "?"
                    raise SandboxError(
                        f"process {holder} has held {path} for over {seconds:.0f} s: wait for it or end it"
                    ) from None
                time.sleep(_POLL_SECONDS)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _spawn_and_wait(settings: SandboxSettings, service: Service) -> None:
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    log = settings.log_dir / f"{service.name}.log"
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    offset = log.stat().st_size if log.exists() else 0
    pid = _spawn(service, log)
    try:
        start_time = start_time_of(pid)
        if start_time is not None:
            record = {"pid": pid, "start_time": start_time, "fingerprint": service.fingerprint}
            write_atomically(settings.run_dir / f"{service.name}.pid", json.dumps(record))
        _wait_until_healthy(service, pid, log, offset)
    except BaseException:  # also on Ctrl-C: a service that nobody has waited for must not stay
        _end_process(pid, start_time_of(pid), service.stop_seconds)
        (settings.run_dir / f"{service.name}.pid").unlink(missing_ok=True)
        raise


def _spawn(service: Service, log: Path) -> int:
    """A session of its own and no shared descriptors: a Ctrl-C or a closed terminal of the starter does not
    reach it.

    posix_spawn rather than Popen, whose destructor complains about a child that is meant to outlive it.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        service.argv[0],
        service.argv,
        {**os.environ, **service.environment},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
    )


def _wait_until_healthy(service: Service, pid: int, log: Path, offset: int) -> None:
    deadline = time.monotonic() + service.start_seconds
    while not service.healthy():
        if start_time_of(pid) is None:
            _reap(pid)
            raise SandboxError(f"{service.name} ended while starting. The end of {log}:\n{tail(log, offset)}")
        if time.monotonic() > deadline:
            raise SandboxError(
                f"{service.name} did not answer within {service.start_seconds:.0f} s. "
                f"The end of {log}:\n{tail(log, offset)}"
            )
        time.sleep(_POLL_SECONDS)


def tail(log: Path, offset: int = 0, lines: int = 20) -> str:
    with log.open("rb") as file:
        file.seek(offset)
        text = file.read().decode(errors="replace")
    return "\n".join("  | " + line for line in text.splitlines()[-lines:]) or "  | (empty)"


def _end_all(settings: SandboxSettings, service: Service, record: Record | None) -> bool:
    """End the recorded process and any that lost its record. True: there was something to end."""
    found = {record.pid: record.start_time} if record and record.running else {}
    for pid in _pids_with_marker(service.marker):
        start_time = start_time_of(pid)
        if start_time is not None:
            found[pid] = start_time
    if service.session_marker:
        _end_sessions(found, service.session_marker)
    for pid, start_time in found.items():
        _end_process(pid, start_time, service.stop_seconds)
    (settings.run_dir / f"{service.name}.pid").unlink(missing_ok=True)
    return bool(found)


def _pids_with_marker(marker: str) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid() and marker in " ".join(process.info["cmdline"] or ())
    ]


def _end_sessions(daemons: Mapping[int, int], marker: str) -> None:
    """Freeze the daemons, so that they accept nobody new, then kill what works for them, also what a crash
    orphaned.
    """
    for pid in daemons:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    wanted = os.fsencode(marker)
    targets: list[psutil.Process] = []
    for pid in daemons:
        with contextlib.suppress(psutil.NoSuchProcess):
            targets += psutil.Process(pid).children(recursive=True)
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if process.pid not in daemons and wanted in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                targets.append(process)
    for process in targets:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()  # psutil compares the start time first
    for pid in daemons:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + 5
    while any(start_time_of(process.pid) for process in targets) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _end_process(pid: int, start_time: int | None, seconds: float) -> None:
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
        if start_time is None or start_time_of(pid) != start_time:
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + patience
        while start_time_of(pid) == start_time and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    _reap(pid)


def _reap(pid: int) -> None:
    """Where we are the parent, take the exit status, so that no zombie stays."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
