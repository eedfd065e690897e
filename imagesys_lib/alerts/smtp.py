"""Talking to a mail server, which is a stranger: what it says is bounded in time and length, and costs one mail only.

A mail is tried again for those of its recipients whom the server has refused, and for no others. It is given up for
them when it has been refused for good often enough, or has waited for days.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import smtplib
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from imagesys_lib.config.intervals import UTC
from imagesys_lib.output.printable import printable

_CONVERSATION_SECONDS = 120.0
_SAID_BYTES = 256 * 1024
"""What one conversation may take: a server that answers drop by drop, or without an end, is cut off."""

_LINE_BYTES = 1000
_WORDS = 200
PERMANENT_TRIES = 5
TRIED_DAYS = 5


def words(said: object) -> str:
    """Return what a server said, or an error, on one line: 200 characters at most, all of them printable."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    line = printable(" ".join(text[: 4 * _WORDS].split()))
    return line if len(line) <= _WORDS else f"{line[:_WORDS]} ..."


def is_given_up(refused: Mapping[str, str], tries: int, written_at: dt.datetime) -> bool:
    """Say whether a mail (``written_at``: UTC) is tried no more for those who still refuse it after some tries."""
    if dt.datetime.now(UTC) - written_at.replace(tzinfo=UTC) > dt.timedelta(days=TRIED_DAYS):
        return True
    return tries >= PERMANENT_TRIES and all(said.startswith("5") for said in refused.values())


class _Said(socket.SocketIO):
    """What a server says, until its time or its length is used up; then TimeoutError."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        super().__init__(sock, "r")
        self._socket, self._until, self._left = sock, until, _SAID_BYTES

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there, and wait for it no longer than the conversation may last."""
        patience = self._until - time.monotonic()
        if patience <= 0 or self._left <= 0:
            raise TimeoutError(f"it has talked for over {_CONVERSATION_SECONDS:.0f} s or {_SAID_BYTES} bytes")
        self._socket.settimeout(min(patience, self._socket.gettimeout() or patience))
        count = super().readinto(buffer)
        self._left -= count or 0
        return count


class _Lines(io.BufferedReader):
    def readline(self, size: int | None = -1) -> bytes:  # noqa: ARG002 - the caller's limit, at which it gives up
        """Return a line without what makes it too long."""
        line = super().readline(_SAID_BYTES)
        return line if len(line) <= _LINE_BYTES else line[:_LINE_BYTES] + b"\n"


class _Bounded(smtplib.SMTP):
    """``refused``: whom the last mail was refused for, each with the reply's code and words.

    ``unanswered``: those among them of whom the server has said nothing, having hung up at another.
    """

    refused: Mapping[str, str] = {}
    unanswered: Sequence[str] = ()
    _until = 0.0

    def getreply(self) -> tuple[int, bytes]:
        """See smtplib; also ends in SMTPServerDisconnected where the server never ends."""
        self._until = self._until or time.monotonic() + _CONVERSATION_SECONDS
        if self.file is None and self.sock is not None:
            self.file = _Lines(_Said(self.sock, self._until))
        return super().getreply()

    def rcpt(self, recip: str, options: Sequence[str] = ()) -> tuple[int, bytes]:
        """See smtplib; an address that cannot be said to the server is one that it refuses."""
        with contextlib.suppress(ValueError):
            return super().rcpt(recip, options)
        return 553, b"the address has characters that mail servers do not take"

    def sendmail(self, from_addr: str, to_addrs: Any, msg: Any, *args: Any, **kwargs: Any) -> Any:
        """See smtplib; refusals of all recipients, and of the text, are ``refused`` and no exception."""
        everybody = [to_addrs] if isinstance(to_addrs, str) else list(to_addrs)
        self.unanswered = []
        found: Mapping[str, tuple[int, bytes | str]]
        try:
            found = super().sendmail(from_addr, everybody, msg, *args, **kwargs)
        except smtplib.SMTPRecipientsRefused as error:
            # The one that has closed the conversation (421) is the last that was asked for; nobody has got the mail.
            closed = (421, b"the server has closed the conversation")
            found = {address: error.recipients.get(address, closed) for address in everybody}
            self.unanswered = [address for address in everybody if address not in error.recipients]
        except smtplib.SMTPDataError as error:
            found = dict.fromkeys(everybody, (error.smtp_code, error.smtp_error))
        self.refused = {address: words(f"{code} {words(said)}") for address, (code, said) in found.items()}
        return found


class Client(_Bounded):
    """A conversation that begins in the clear."""


class TlsClient(_Bounded, smtplib.SMTP_SSL):
    """A conversation with TLS from the start."""
