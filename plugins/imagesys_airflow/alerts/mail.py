"""Sending mails, in a task, the triggerer or the DAG processor, through the connection ``smtp_default``.

A mail never changes a run: what cannot be sent stays in the outbox, or in a file where no database can keep it, and
whoever has a mail to send next takes it along.
"""

from __future__ import annotations

import datetime as dt
import logging
import smtplib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.mime.text import MIMEText
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.configuration import AIRFLOW_HOME
from airflow.providers.smtp.hooks.smtp import SmtpHook

from imagesys_airflow.alerts.failures import run_id_of, run_url
from imagesys_lib.alerts import outbox
from imagesys_lib.alerts.marks import Marks
from imagesys_lib.alerts.message import Message, Written
from imagesys_lib.alerts.outbox import WAITED_SECONDS, Mail
from imagesys_lib.alerts.smtp import Client, TlsClient, words
from imagesys_lib.alerts.spool import Kept, Spool
from imagesys_lib.config import load_config
from imagesys_lib.context import Context
from imagesys_lib.db.engine import write
from imagesys_lib.errors import DiskFull
from imagesys_lib.intervals import UTC

if TYPE_CHECKING:
    from email.mime.multipart import MIMEMultipart

    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)

_HERE = Path(AIRFLOW_HOME)
SERVICE_LAPSES_HOURS = 48


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


@dataclass
class Postman:
    """Sends mails and remembers what the server has said of each recipient: "" where it has taken the mail.

    A mail that some were refused goes again to those of them whom the configuration still names.
    """

    said: dict[str, str] = field(default_factory=dict)

    def send(
        self,
        everybody: Sequence[str],
        mail: Mail | Written,
        written_at: dt.datetime | None = None,
        refused: Collection[str] = (),
    ) -> Mapping[str, str]:
        """Send a mail; returns whom the server has refused, each with its words. Raises what smtplib does."""
        to = [address for address in everybody if address in refused or not refused]
        found = _send(to, mail, written_at) if to else {}
        self.said |= dict.fromkeys(to, "") | dict(found)
        return found

    def tell(self, countries: Iterable[str]) -> bool:
        """Keep a mail about each recipient who is refused, once, and one when that is over; returns whether any is.

        Marks of this machine know who was told of.
        """
        known, news = sorted(countries), []

        def kept(message: Message) -> bool:
            news.append(message)
            return keep(message, known)

        for address, said in self.said.items():
            mark, refused = f"mail to {address}", partial(kept, refused_message(address, said))
            if said:
                marks().once(mark, refused, lapses_hours=SERVICE_LAPSES_HOURS)
            elif (since := marks().since(mark)) and kept(taken_message(address, since)):
                marks().forget(mark)
        return bool(news)


def refused_message(address: str, said: str) -> Message:
    """Return the mail to the others about one whom the mail server refuses."""
    return Message(
        subject=f"[ImageSys] Mail to {address} is refused",
        intro=f"The mail server does not take mails to {address}. Others get them; a mail tells when it does.",
        sections=(
            ("What it said", (said,)),
            ("What to do", ("Correct `alerts.mail_to`, or the mailbox. `imagesys doctor --send-mail` tries it.",)),
        ),
    )


def taken_message(address: str, since: dt.datetime) -> Message:
    """Return the mail that takes that back."""
    intro = f"It was refused since {since:%Y-%m-%d %H:%M} UTC. Mails that were given up meanwhile do not come again."
    return Message(f"[ImageSys] Mail to {address} is taken again", intro, (("What to do", ("Nothing.",)),))


def _send(to: Sequence[str], mail: Mail | Written, written_at: dt.datetime | None) -> Mapping[str, str]:
    text, html = mail.text, mail.html
    if written_at:  # its reader should know
        waited = f"Written {written_at:%Y-%m-%d %H:%M} UTC; it could not be sent before now."
        text, html = f"{waited}\n\n{text}", f"<p>{escape(waited)}</p>\n{html}"
    hook = TwoPartSmtpHook(smtp_conn_id="smtp_default")
    hook.plain = text
    with hook:
        hook.send_email_smtp(to=list(to), subject=mail.subject, html_content=html, mime_subtype="alternative")
    refused, unheard = hook.client.refused, hook.client.unheard
    if not unheard:
        return refused
    # A server that hangs up at one recipient (421) would keep the mail from all, each time.
    judged = {address: said for address, said in refused.items() if address not in unheard}
    return {**judged, **_send(unheard, mail, written_at)}


def everybody(countries: Iterable[str] = ()) -> list[str]:
    """Return all whom these countries, or all there are, tell of trouble."""
    configs = load_config()
    chosen = [configs[country] for country in countries if country in configs] or configs.values()
    return sorted({address for config in chosen for address in config.alerts.mail_to})


# Mails of a country: its database keeps them


def post(ctx: Context) -> None:
    """Send what waits in a country's outbox, to those whom its configuration names now, and what waits in files."""
    postman, to = Postman(), ctx.config.alerts.mail_to
    try:
        outbox.deliver(ctx.db, lambda mail: postman.send(to, mail, mail.written_at, mail.refused))
    except Exception:
        log.exception("%s: the outbox could not be looked through", ctx.country.upper())
    postman.tell([ctx.country])
    post_files()


def tell(ctx: Context, message: Message) -> None:
    """Put a mail into the outbox and send what is there; raises what the database raises."""
    write(ctx.db, lambda session: outbox.put(session, message))
    post(ctx)


# Mails that no database keeps: files of this machine do


def marks() -> Marks:
    """Return where this machine notes what it has told without a database: nothing that another one shares."""
    return Marks(_HERE)


def _spool() -> Spool:
    return Spool(_HERE / "imagesys-mails")


def keep(message: Message, countries: Iterable[str]) -> bool:
    """Keep a mail in a file until it is sent; where the disk takes none, say whether the server has taken it now."""
    known = sorted(countries)
    try:
        _spool().put(message, known)
    except (OSError, DiskFull):
        log.warning("The mail %r cannot be kept: sending it at once", message.subject, exc_info=True)
        try:
            to = everybody(known)
            return len(_send(to, message.written(), None)) < len(to)
        except Exception as error:  # noqa: BLE001 - whatever a server may say
            log.error("The mail %r could not be sent: %s", message.subject, words(error))  # noqa: TRY400
            return False
    return True


def post_files() -> None:
    """Send what waits in files, and what there is to tell of how that went."""
    if _post_files():
        _post_files()


def _post_files() -> bool:
    late = dt.timedelta(seconds=WAITED_SECONDS)
    postman = Postman()
    countries: set[str] = set()

    def send_one(kept: Kept) -> Mapping[str, str]:
        waited = dt.datetime.now(UTC) - kept.written_at > late
        countries.update(kept.countries)
        return postman.send(everybody(kept.countries), kept.mail, kept.written_at if waited else None, kept.refused)

    try:
        _spool().deliver(send_one)
    except Exception:
        log.exception("The mails in %s could not be looked through", _HERE)
    return postman.tell(countries)


def send(message: Message, countries: Iterable[str]) -> None:
    """Send a mail that no database keeps to all whom these countries tell; one that cannot be sent is kept."""
    keep(message, countries)
    post_files()


def send_once(what: str, message: Message, countries: Iterable[str], *, lapses_hours: float, run: str = "") -> None:
    """Do so unless this machine has told it already; see :class:`Marks`."""
    known = sorted(countries)
    marks().once(what, lambda: keep(message, known), lapses_hours=lapses_hours, run=run)
    post_files()


def take_back(what: str, message: Callable[[str], Message], countries: Iterable[str]) -> None:
    """Tell that what :func:`send_once` has told is over; ``message`` is given since when it was. Else do nothing."""
    known = sorted(countries)
    marks().over(what, lambda since: keep(message(f"{since:%Y-%m-%d %H:%M} UTC"), known))
    post_files()


# DAGs that serve all countries


def mail_failed_run(context: TaskContext, dag_id: str, what: str, told: str, incident: str = "") -> None:
    """Tell the people of all countries that a run of such a DAG failed, once until :func:`mail_good_run` is called.

    For the DAG's ``on_failure_callback``. What has not failed for two days is told anew, whoever forgot to say that it
    was over. ``incident`` tells one trouble of the DAG from another.
    """
    run_id = run_id_of(context)
    message = Message(f"[ImageSys] {what} failed", told, (("Run", (run_id,)),), {run_id: run_url(dag_id, run_id)})
    send_once(f"failed {dag_id}{incident}", message, load_config(), lapses_hours=SERVICE_LAPSES_HOURS)


def mail_good_run(dag_id: str, what: str, incident: str = "") -> None:
    """Take that back: for the DAG's ``on_success_callback``."""

    def message(since: str) -> Message:
        intro = f"A run of {dag_id} has ended well. Runs had failed since {since}."
        return Message(f"[ImageSys] {what} works again", intro, (("What to do", ("Nothing.",)),))

    take_back(f"failed {dag_id}{incident}", message, load_config())
