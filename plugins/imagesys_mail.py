"""Sending mails, in a task, the triggerer or the DAG processor, through the connection ``smtp_default``.

A mail never changes a run: what cannot be sent stays in the outbox, and whoever has a mail to send next takes it along.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from email.mime.text import MIMEText
from html import escape
from typing import TYPE_CHECKING, Any

from airflow.providers.smtp.hooks.smtp import SmtpHook
from imagesys_failures import run_id_of, run_url

from imagesys_lib.alerts import outbox
from imagesys_lib.alerts.message import Message
from imagesys_lib.alerts.outbox import Mail
from imagesys_lib.config import CountryConfig, load_config
from imagesys_lib.context import Context
from imagesys_lib.db.engine import write

if TYPE_CHECKING:
    from email.mime.multipart import MIMEMultipart

    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)


class TwoPartSmtpHook(SmtpHook):
    """The provider's hook, which knows HTML only, with a plain part beside it."""

    plain = ""

    def _build_mime_message(self, *args: Any, **kwargs: Any) -> tuple[MIMEMultipart, list[str]]:
        message, recipients = super()._build_mime_message(*args, **kwargs)
        message.get_payload().insert(0, MIMEText(self.plain, "plain", "utf-8"))
        return message, recipients


def _send(to: Sequence[str], subject: str, text: str, html: str) -> None:
    hook = TwoPartSmtpHook(smtp_conn_id="smtp_default")
    hook.plain = text
    with hook:
        hook.send_email_smtp(to=list(to), subject=subject, html_content=html, mime_subtype="alternative")


def send(message: Message, to: Sequence[str]) -> None:
    """Send a mail past the outbox; what cannot be sent is logged."""
    try:
        _send(to, message.subject, message.text(), message.html())
    except Exception:
        log.exception("The mail %r could not be sent", message.subject)


def everybody(configs: Iterable[CountryConfig]) -> list[str]:
    """Return all whom these countries tell of trouble."""
    return sorted({address for config in configs for address in config.alerts.mail_to})


def mail_failed_run(context: TaskContext, dag_id: str, what: str, told: str) -> None:
    """Tell the people of all countries that a run of a DAG that serves them all failed."""
    run_id = run_id_of(context)
    message = Message(f"[ImageSys] {what} failed", told, (("Run", (run_id,)),), {run_id: run_url(dag_id, run_id)})
    send(message, everybody(load_config().values()))


def post(ctx: Context) -> None:
    """Send what waits in a country's outbox, to those whom its configuration names now."""

    def send_one(mail: Mail) -> None:
        waited = ""
        if mail.written_at:
            waited = f"Written {mail.written_at:%Y-%m-%d %H:%M} UTC; it could not be sent before now."
        text = f"{waited}\n\n{mail.text}" if waited else mail.text
        html = f"<p>{escape(waited)}</p>\n{mail.html}" if waited else mail.html
        _send(ctx.config.alerts.mail_to, mail.subject, text, html)

    try:
        outbox.deliver(ctx.db, send_one)
    except Exception:
        log.exception("%s: the outbox could not be looked through", ctx.country.upper())


def tell(ctx: Context, message: Message) -> None:
    """Put a mail into the outbox and send what is there; raises what the database raises."""
    write(ctx.db, lambda session: outbox.put(session, message))
    post(ctx)
