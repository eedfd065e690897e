"""Mails that wait in files: about all countries, or written while the database that would keep them is away.

One file a mail, which appears whole and goes when a server has taken it. A sender that is killed in between sends it
again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from imagesys_lib.alerts.message import Message, Written
from imagesys_lib.files import write_atomically
from imagesys_lib.intervals import UTC

log = logging.getLogger(__name__)

_LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Kept:
    """A mail to those whom these countries tell of trouble."""

    mail: Written
    countries: tuple[str, ...]
    written_at: dt.datetime


@dataclass(frozen=True)
class Spool:
    """The folder of one machine's mails."""

    folder: Path

    def put(self, message: Message, countries: Iterable[str]) -> None:
        """Keep a mail. Raises OSError or DiskFull where the disk does not take it."""
        mail = message.written()
        value = {
            "subject": mail.subject,
            "text": mail.text,
            "html": mail.html,
            "countries": sorted(countries),
            "written_at": dt.datetime.now(UTC).isoformat(),
        }
        name = f"0000-{time.time_ns()}-{secrets.token_hex(4)}.json"  # its tries first: they come in this order
        write_atomically(self.folder / name, json.dumps(value).encode())

    def deliver(self, send: Callable[[Kept], None]) -> int:
        """Send what waits, oldest first; returns how many. At the first that ``send`` raises for, the rest is kept."""
        sent = 0
        with self._alone() as alone:
            while alone and (waiting := self._waiting()):
                path = waiting[0]
                try:
                    kept = _read(path)
                except (ValueError, KeyError, TypeError):
                    log.exception("%s is no mail and is left aside", path)
                    path.rename(path.with_suffix(".bad"))
                    continue
                try:
                    send(kept)
                except Exception as error:  # noqa: BLE001 - whatever a server may say
                    log.warning("The mail %r could not be sent and is kept: %s", kept.mail.subject, error)
                    tries, _, rest = path.name.partition("-")
                    path.rename(path.with_name(f"{min(int(tries) + 1, 9999):04d}-{rest}"))
                    return sent
                path.unlink()
                sent += 1
        return sent

    def _waiting(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.json"))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Keep other senders away; False, where one is at it for so long that it will see ours too."""
        if not self.folder.exists():
            yield False
            return
        lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            yield _locked(lock)
        finally:
            os.close(lock)


def _locked(lock: int) -> bool:
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        else:
            return True


def _read(path: Path) -> Kept:
    value = json.loads(path.read_bytes())
    mail = Written(value["subject"], value["text"], value["html"])
    return Kept(mail, tuple(value["countries"]), dt.datetime.fromisoformat(value["written_at"]))
