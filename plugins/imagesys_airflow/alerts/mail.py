"""Incidents and mails in a task, the triggerer or the DAG processor, through the connection ``smtp_default``.

A mail never changes a run: what cannot be sent stays in the outbox, and whoever has a mail to send next takes it along.
While the database that would keep a mail is away, it is sent directly, at most once an hour for each subject.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import logging
import os
import smtplib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import closing
from email.mime.text import MIMEText
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.configuration import AIRFLOW_HOME
from airflow.providers.smtp.hooks.smtp import SmtpHook
from sqlalchemy import Connection

from imagesys_airflow.alerts.failures import run_id_of, run_url
from imagesys_airflow.connections import airflow_connection
from imagesys_lib.alerts import outbox
from imagesys_lib.alerts.incidents import IncidentKind, Resolved, open_incident, resolve
from imagesys_lib.alerts.message import Message, Written
from imagesys_lib.alerts.smtp import Client, TlsClient, words
from imagesys_lib.config import load_config
from imagesys_lib.context import Context, open_context
from imagesys_lib.db.engine import Row, check_connection, write
from imagesys_lib.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from email.mime.multipart import MIMEMultipart

    from airflow.sdk import Context as TaskContext
    from sqlalchemy import Engine

log = logging.getLogger(__name__)
T = TypeVar("T")

BOTH = ("db", "shared")
"""The schemas of a context, by name."""

_HERE = Path(AIRFLOW_HOME)
_CONNECT_SECONDS = 20.0
"""A database that has not answered by then is itself what is to be said; the DAG processor ends a callback after 50."""

_DIRECT_SECONDS = 3600


class TwoPartSmtpHook(SmtpHook):
    """The provider's hook, which knows HTML only, with a plain part beside it, and servers that do as they please."""

    plain = ""
    client: Client | TlsClient
    smtp_retry_limit = 0  # what keeps the mail tries again; a repeated "sendmail" could only send it twice

    def _build_mime_message(self, *args: Any, **kwargs: Any) -> tuple[MIMEMultipart, list[str]]:
        message, recipients = super()._build_mime_message(*args, **kwargs)
        message.get_payload().insert(0, MIMEText(self.plain, "plain", "utf-8"))  # type: ignore[union-attr]
        return message, recipients

    def _build_client(self) -> smtplib.SMTP_SSL | smtplib.SMTP:
        kind = TlsClient if self.use_ssl else Client
        self.client = kind(**self._build_client_kwargs(is_async=False))
        return self.client


def _send(to: Sequence[str], mail: Written | Row, written_at: dt.datetime | None = None) -> Mapping[str, str]:
    """Send a mail; returns whom the server has refused, each with its words. Raises what smtplib does."""
    text, html = mail.text, mail.html
    if written_at:  # its reader should know
        waited = f"Written {written_at:%Y-%m-%d %H:%M} UTC; it could not be sent before now."
        text, html = f"{waited}\n\n{text}", f"<p>{escape(waited)}</p>\n{html}"
    hook = TwoPartSmtpHook(smtp_conn_id="smtp_default")
    hook.plain = text
    with hook:
        hook.send_email_smtp(to=list(to), subject=mail.subject, html_content=html, mime_subtype="alternative")
    refused, unanswered = hook.client.refused, hook.client.unanswered
    if not unanswered:
        return refused
    # A server that hangs up at one recipient (421) would keep the mail from all, each time.
    judged = {address: said for address, said in refused.items() if address not in unanswered}
    return {**judged, **_send(unanswered, mail, written_at)}


def recipients(countries: Iterable[str]) -> list[str]:
    """Return the addresses that ``countries`` notify of trouble; of all where none of these is configured."""
    configs = load_config()
    chosen = [configs[country] for country in countries if country in configs] or configs.values()
    return sorted({address for config in chosen for address in config.alerts.mail_to})


# The outboxes


def post(ctx: Context, schemas: Sequence[str] = BOTH) -> None:
    """Send what waits in a country's outbox and in that of all countries, to those whom the configuration names now."""
    for schema in schemas:
        countries = [ctx.country] if schema == "db" else []
        try:
            db: Engine = getattr(ctx, schema)
            check_connection(db)  # once, without the usual minute: what waits can wait longer
            answers = _deliver(db, countries)
            changed = bool(answers) and write(ctx.shared, partial(_note, answers=answers))
            if changed and schema == "shared":
                _deliver(db, countries)
        except Exception:
            log.exception("%s: the outbox (%s) could not be looked through", ctx.country.upper(), schema)


def _deliver(db: Engine, countries: Sequence[str]) -> dict[str, str]:
    """Send what waits in a schema; returns what the server has said of each recipient: "" where it took the mail.

    A mail that some were refused goes again to those of them whom the configuration still names.
    """
    answers: dict[str, str] = {}

    def send_one(mail: Row) -> Mapping[str, str]:
        everybody = recipients(mail.countries or countries)
        to = [address for address in everybody if not mail.refused or address in mail.refused]
        refused = _send(to, mail, mail.written_at) if to else {}
        answers.update(dict.fromkeys(to, "") | dict(refused))
        return refused

    outbox.deliver(db, send_one)
    return answers


def _note(connection: Connection, answers: Mapping[str, str]) -> bool:
    """Open an incident of each recipient who is refused and resolve those of the others; returns whether any is new."""
    changed = False
    for address, said in sorted(answers.items()):
        subject = address.encode("ascii", "backslashreplace").decode()[:300]
        countries = [country for country, config in load_config().items() if address in config.alerts.mail_to]
        if said:
            changed |= open_incident(
                connection, IncidentKind.REFUSED, subject, _refused(address, said), countries=countries
            )
        else:
            changed |= resolve(connection, IncidentKind.REFUSED, subject, partial(_taken, address), countries)
    return changed


def _refused(address: str, said: str) -> Message:
    to_do = "Correct `alerts.mail_to`, or the mailbox. `imagesys doctor --send-mail` tries it."
    return Message(
        subject=f"[ImageSys] Mail to {address} is refused",
        intro=f"The mail server does not take mails to {address}. Others get them; a mail follows when it does.",
        sections=(("What it said", (said,)), ("What to do", (to_do,))),
    )


def _taken(address: str, over: Resolved) -> Message:
    intro = f"It was refused since {over.since}. Mails that were given up meanwhile do not come again."
    return Message(f"[ImageSys] Mail to {address} is taken again", intro, (("What to do", ("Nothing.",)),))


# Notifying


def ask(db: Engine, work: Callable[[], T]) -> T:
    """Return what ``work`` gets from a database, or raise soon; a thread that hangs is left behind."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            check_connection(db, patience=_CONNECT_SECONDS / 2)
            answer.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if wait([answer], _CONNECT_SECONDS).not_done:
        raise TimeoutError(f"no answer within {_CONNECT_SECONDS:.0f} s")
    return answer.result()


def notify(
    ctx: Context,
    work: Callable[[Connection], object],
    otherwise: Message | None = None,
    countries: Iterable[str] | None = None,
    schemas: Sequence[str] = BOTH,
) -> None:
    """Open or resolve a country's incidents or put its mails, and send what waits; a database that is away is no error.

    ``work`` does it, in one transaction of the first of ``schemas``. Where that does not answer soon, ``otherwise`` is
    sent directly, to the people of ``countries`` (None: this one; empty: all).
    """
    try:
        db: Engine = getattr(ctx, schemas[0])  # before the clock runs: Airflow's first look-up may take half a minute
        ask(db, lambda: write(db, work))
    except Exception as error:
        seen = isinstance(error, (DatabaseUnavailable, TimeoutError))  # anything else may be a fault of ours
        log.warning("No database keeps incidents and mails now: %s", error, exc_info=not seen)
        if otherwise:
            send_directly(otherwise, [ctx.country] if countries is None else countries)
    else:
        post(ctx, schemas)


def notify_all(
    work: Callable[[Connection], object], otherwise: Message | None = None, countries: Iterable[str] = ()
) -> None:
    """Open or resolve incidents of what is about all countries, or put mails about it: see :func:`notify`."""
    with closing(open_context(next(iter(load_config())), resolver=airflow_connection)) as ctx:
        notify(ctx, work, otherwise, countries, BOTH[1:])


def send_directly(message: Message, countries: Iterable[str]) -> None:
    """Send a mail that no database keeps, unless this machine has sent one of its subject within the hour."""
    mail = message.written()
    stamp = _HERE / f"imagesys-mailed-{hashlib.sha256(mail.subject.encode()).hexdigest()[:16]}"
    folder = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a file system without locks costs a mail too many, never one too few
            fcntl.flock(folder, fcntl.LOCK_EX)  # callbacks of a backfill's days run at once
        if stamp.exists() and time.time() - stamp.stat().st_mtime < _DIRECT_SECONDS:
            return
        to = recipients(countries)
        refused = _send(to, mail)
        if refused:
            log.warning("The mail %r was refused for some recipients: %s", mail.subject, refused)
        if len(refused) < len(to):
            stamp.touch()
    except Exception as error:  # noqa: BLE001 - whatever a server may say
        log.error("The mail %r is lost, as no database keeps it: %s", mail.subject, words(error))  # noqa: TRY400
    finally:
        os.close(folder)


# DAGs that serve all countries


def notify_failed_run(context: TaskContext, dag_id: str, what: str, explanation: str, incident: str = "") -> None:
    """Notify all people that a run of a DAG for all countries failed, once until :func:`notify_good_run` is called.

    For the DAG's ``on_failure_callback``. ``incident`` names one of several incidents that the DAG may have.
    """
    run_id = run_id_of(context)
    links = {run_id: run_url(dag_id, run_id)}
    message = Message(f"[ImageSys] {what} failed", explanation, (("Run", (run_id,)),), links)
    notify_service(f"{dag_id}{incident}", message)


def notify_service(subject: str, message: Message, countries: Iterable[str] = ()) -> None:
    """Notify these countries' people, or all, that something that serves all of them fails, once until resolved."""
    notify_all(
        lambda connection: open_incident(connection, IncidentKind.SERVICE, subject, message, countries=countries),
        message,
        countries,
    )


def notify_good_run(dag_id: str, what: str, incident: str = "") -> None:
    """Resolve the incident of a DAG for all countries whose runs failed; for its ``on_success_callback``."""

    def message(over: Resolved) -> Message:
        intro = f"A run of {dag_id} has ended well. Runs had failed since {over.since}."
        return Message(f"[ImageSys] {what} works again", intro, (("What to do", ("Nothing.",)),))

    notify_all(lambda connection: resolve(connection, IncidentKind.SERVICE, f"{dag_id}{incident}", message))
