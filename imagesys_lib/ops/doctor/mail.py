"""Mail: does the server answer, does it take our login, and, on request, a message?"""

from __future__ import annotations

import contextlib
import smtplib
import socket
from collections.abc import Iterator, Sequence
from email.message import EmailMessage

from sqlalchemy.exc import SQLAlchemyError

from imagesys_lib.alerts import outbox
from imagesys_lib.alerts.smtp import Client, TlsClient, words
from imagesys_lib.config.connections import Connection, require
from imagesys_lib.context import Context
from imagesys_lib.db.engine import check_connection
from imagesys_lib.errors import EnvironmentFault, ImageSysError
from imagesys_lib.ops.doctor.finding import Finding, attempt

_SECONDS = 10
_REMEDY = "correct alerts.mail_to, or the mailbox, and call `imagesys doctor --send-mail`."


def examine(contexts: Sequence[Context], *, send: bool) -> Iterator[Finding]:
    """Check the mail server; with ``send`` a message goes to everybody whom these countries notify."""
    recipients = sorted({address for ctx in contexts for address in ctx.config.alerts.mail_to}) if send else []
    yield attempt("mail", lambda: _mail(require(contexts[0].resolver, "smtp_default"), recipients))
    for ctx in contexts:
        yield from _refused(ctx)


def _refused(ctx: Context) -> Iterator[Finding]:
    """Name those whom the newest mail was refused for; a database that does not answer has findings of its own."""
    with contextlib.suppress(ImageSysError, SQLAlchemyError):
        check_connection(ctx.db)
        for address, said in outbox.refusals(ctx.db).items():
            if address in ctx.config.alerts.mail_to:
                yield Finding(f"{ctx.country} mail", False, f"mail to {address} refused: {said}.", _REMEDY)


def _mail(connection: Connection, recipients: Sequence[str]) -> str:
    port = connection.port or 25
    where = f"{connection.host}:{port}"
    refused: dict[str, str] = {}
    try:
        with _client(connection, port) as server:
            _introduce(server, connection)
            code, _ = server.noop()
            for recipient in recipients:  # one message each, so that none is refused without a word
                server.send_message(_message(connection, recipient))
                refused |= server.refused
    except (OSError, smtplib.SMTPException) as error:
        raise EnvironmentFault(
            f"Mail server {where} does not do it: {words(error)}.",
            remedy="correct the connection smtp_default, or alerts.mail_to, or start the server; no alert is mailed "
            "until then.",
        ) from None
    if refused:
        found = "; ".join(f"mail to {address} refused: {said}" for address, said in refused.items())
        raise EnvironmentFault(f"Mail server {where}: {found}.", remedy=_REMEDY)
    sent = f", a message was sent to {', '.join(recipients)}" if recipients else ""
    return f"{where} answers ({code}) as seen from {socket.gethostname()}{sent}"


def _client(connection: Connection, port: int) -> Client | TlsClient:
    """Connect as Airflow's SMTP provider does: with TLS from the start unless ``disable_ssl``."""
    kind = Client if connection.extra.get("disable_ssl") else TlsClient
    return kind(connection.host, port, timeout=_SECONDS)


def _introduce(server: smtplib.SMTP, connection: Connection) -> None:
    """Go on as Airflow does: STARTTLS unless ``disable_tls``, then log in."""
    if not connection.extra.get("disable_tls"):
        server.starttls()
    if connection.login and connection.password:
        server.login(connection.login, connection.password)


def _message(connection: Connection, recipient: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "ImageSys doctor: mail arrives"
    message["From"] = str(connection.extra.get("from_email") or connection.login)
    message["To"] = recipient
    message.set_content(f"Somebody called `imagesys doctor --send-mail` on {socket.gethostname()}. Nothing is wrong.\n")
    return message
