"""Mails that wait in files: about all countries, or written while the database that would keep them is away.

One file a mail, which appears whole and goes when a server has taken it for all of its recipients; for those whom it
has refused the mail stays. A sender that is killed in between sends it again.
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagesys_lib.alerts.message import Message, Written
from imagesys_lib.alerts.smtp import is_given_up, words
from imagesys_lib.files import write_atomically
from imagesys_lib.intervals import UTC

log = logging.getLogger(__name__)

_LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Kept:
    """A mail to those whom these countries tell of trouble.

    ``refused``: who has not got it although others have, each with the server's words; empty where nobody has.
    """

    mail: Written
    countries: tuple[str, ...]
    written_at: dt.datetime
    refused: Mapping[str, str]


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

    def deliver(self, send: Callable[[Kept], Mapping[str, str] | None]) -> int:
        """Send what waits: see :func:`imagesys_lib.alerts.outbox.deliver`."""
        sent = 0
        tried: set[Path] = set()
        with self._alone() as alone:
            while alone and (waiting := [path for path in self._waiting() if path not in tried]):
                path = waiting[0]
                try:
                    kept = _read(path)
                except (ValueError, KeyError, TypeError):
                    log.exception("%s is no mail and is left aside", path)
                    path.rename(path.with_suffix(".bad"))
                    continue
                try:
                    refused = send(kept)
                except Exception as error:  # noqa: BLE001 - whatever a server may say
                    log.warning("The mail %r could not be sent and is kept: %s", kept.mail.subject, words(error))
                    path.rename(_tried_again(path))
                    return sent
                if refused:
                    tried.add(_keep_for(path, kept, refused))
                else:
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


def _tried_again(path: Path) -> Path:
    tries, _, rest = path.name.partition("-")
    return path.with_name(f"{min(int(tries) + 1, 9999):04d}-{rest}")


def _keep_for(path: Path, kept: Kept, refused: Mapping[str, str]) -> Path:
    """Keep a mail for those who have not got it; returns its new path, which is no mail's once it is given up."""
    log.warning("The mail %r was refused for some recipients: %s", kept.mail.subject, dict(refused))
    again = _tried_again(path)
    if is_given_up(refused, int(again.name.partition("-")[0]), kept.written_at):
        again = again.with_suffix(".refused")
    write_atomically(path, json.dumps({**json.loads(path.read_bytes()), "refused": dict(refused)}).encode())
    return path.rename(again)


def _read(path: Path) -> Kept:
    value = json.loads(path.read_bytes())
    mail = Written(value["subject"], value["text"], value["html"])
    written_at = dt.datetime.fromisoformat(value["written_at"])
    return Kept(mail, tuple(value["countries"]), written_at, dict(value.get("refused", {})))
