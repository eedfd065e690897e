"""The SMTP sink seen from outside: start it, stop it, read what was sent."""

from __future__ import annotations

import smtplib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from include.sandbox.errors import SandboxError
from include.sandbox.services import process
from include.sandbox.settings import LOOPBACK, PROJECT, SandboxSettings


@dataclass(frozen=True)
class Mail:
    settings: SandboxSettings

    @property
    def port(self) -> int:
        return self.settings.port("mail")

    @property
    def directory(self) -> Path:
        return self.settings.mail_dir

    def start(self) -> bool:
        return process.start(self.settings, self.service())

    def stop(self) -> bool:
        return process.stop(self.settings, self.service())

    def files(self) -> list[Path]:
        """In order of arrival."""
        return sorted(self.directory.glob("*.eml"))

    def mails(self, since: int = 0) -> list[EmailMessage]:
        """All mails in order of arrival, without the first `since`; line ends are plain newlines."""
        return [_parse(path.read_bytes()) for path in self.files()[since:]]

    def wait_for(self, wanted: Callable[[EmailMessage], bool], seconds: float = 30.0, since: int = 0) -> EmailMessage:
        """The first mail that `wanted` accepts; an error, with the subjects seen, when none comes in time."""
        deadline = time.monotonic() + seconds
        while True:
            mails = self.mails(since)
            for mail in mails:
                if wanted(mail):
                    return mail
            if time.monotonic() > deadline:
                raise SandboxError(
                    f"no such mail in {self.directory} within {seconds:.0f} s; "
                    f"seen: {[mail['subject'] for mail in mails]}"
                )
            time.sleep(0.1)

    def service(self) -> process.Service:
        return process.Service(
            name="mail",
            argv=(sys.executable, "-m", "include.sandbox.services.mail_server", str(self.directory), str(self.port)),
            marker=f"-m include.sandbox.services.mail_server {self.directory} ",
            addresses=((LOOPBACK, self.port),),
            healthy=self._answers,
            environment={"PYTHONPATH": str(PROJECT)},
            start_seconds=30.0,
            stop_seconds=10.0,
        )

    def _answers(self) -> bool:
        try:
            with smtplib.SMTP(LOOPBACK, self.port, timeout=5) as client:
                return client.noop()[0] == 250
        except (OSError, smtplib.SMTPException):
            return False


def _parse(data: bytes) -> EmailMessage:
    return message_from_bytes(data.replace(b"\r\n", b"\n"), policy=policy.default)
