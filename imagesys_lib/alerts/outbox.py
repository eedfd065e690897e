"""The outbox: mails wait in the database until a server has taken them.

Whoever sends claims one mail at a time, for longer than a server may take over it, so that two senders never send one
twice. A sender that is killed between the server's "250" and its own note is the one case left: that mail goes out
again when its claim has run out.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy import Engine

from imagesys_lib.alerts.message import Message
from imagesys_lib.db.engine import NOW, Session, from_now, write
from imagesys_lib.db.schema import lis_mails

log = logging.getLogger(__name__)

_CLAIM_SECONDS = 300
WAITED_SECONDS = 600


@dataclass(frozen=True)
class Mail:
    """One mail to send. ``written_at`` is set (UTC) where it has waited for so long that its reader should know."""

    mail_id: int
    subject: str
    text: str
    html: str
    written_at: dt.datetime | None = None


def put(session: Session, message: Message) -> None:
    """Leave a mail to be sent, in the transaction that did what it tells of."""
    row = asdict(message.written())
    session.execute(sa.insert(lis_mails).values(row | {"created_at": NOW, "attempts": 0}))


def deliver(db: Engine, send: Callable[[Mail], None]) -> int:
    """Send what waits, oldest first; returns how many. At the first that ``send`` raises for, the rest is kept."""
    sent = 0
    while mail := write(db, _claim):
        try:
            send(mail)
        except Exception as error:  # noqa: BLE001 - whatever a server may say
            log.warning("The mail %r could not be sent and is kept: %s", mail.subject, error)
            _update(db, mail, claimed_until=None, attempts=lis_mails.c.attempts + 1)
            return sent
        _update(db, mail, sent_at=NOW)
        sent += 1
    return sent


def _claim(session: Session) -> Mail | None:
    c = lis_mails.c
    waited = c.created_at < from_now(-WAITED_SECONDS)
    query = (
        sa.select(c.mail_id, c.subject, c.text, c.html, c.created_at, waited.label("waited"))
        .where(c.sent_at.is_(None), c.claimed_until.is_(None) | (c.claimed_until < NOW))
        .order_by(c.attempts, c.mail_id)  # one that is refused each time holds no other up
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = session.execute(query).one_or_none()
    if row is None:
        return None
    session.execute(_change(row.mail_id, {"claimed_until": from_now(_CLAIM_SECONDS)}))
    return Mail(row.mail_id, row.subject, row.text, row.html, row.created_at if row.waited else None)


def _update(db: Engine, mail: Mail, **values: object) -> None:
    write(db, lambda session: session.execute(_change(mail.mail_id, values)))


def _change(mail_id: int, values: dict[str, object]) -> sa.Update:
    return sa.update(lis_mails).where(lis_mails.c.mail_id == mail_id).values(values)
