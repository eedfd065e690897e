"""The outbox: mails wait in the database until a server has taken them, those about all countries in the shared schema.

A sender takes one mail at a time under a lease, which is longer than a server may take over it, so that two senders
never send one twice. A mail is sent when all of its recipients have it: for those whom the server has refused it stays,
and is tried again for them alone, until it is given up. A sender that is killed between the server's "250" and its own
note is the one case left: that mail goes out again when its lease has run out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from imagesys_lib.alerts.message import Message
from imagesys_lib.alerts.smtp import is_given_up, words
from imagesys_lib.db.engine import NOW, Row, from_now, read, write
from imagesys_lib.db.schema import lis_mails

log = logging.getLogger(__name__)

_LEASE_SECONDS = 300
_WAITED_SECONDS = 600


def put(connection: Connection, message: Message, countries: Iterable[str] = ()) -> None:
    """Leave a mail to be sent, in the transaction that did what it says.

    It goes to the people of ``countries``; where none is given, of the schema's country, or in the shared one of all.
    """
    row = asdict(message.written())
    connection.execute(sa.insert(lis_mails).values(row | {"countries": sorted(countries), "created_at": NOW}))


def deliver(db: Engine, send: Callable[[Row], Mapping[str, str] | None]) -> int:
    """Send what waits, oldest first, each mail once; returns how many all of their recipients have now.

    ``send`` is given a row of ``lis_mails``, with ``written_at`` (UTC) where it has waited for so long that its reader
    should know, and returns whom the server has refused, each with its words. At the first that it raises for, the rest
    is kept.
    """
    sent = 0
    tried: list[int] = []
    while mail := write(db, lambda connection: _take_next(connection, tried)):
        tried.append(mail.mail_id)
        try:
            refused = send(mail)
        except Exception as error:  # noqa: BLE001 - whatever a server may say
            log.warning("The mail %r could not be sent and is kept: %s", mail.subject, words(error))
            _update(db, mail, claimed_until=None, attempts=lis_mails.c.attempts + 1)
            return sent
        if refused:
            _keep_for(db, mail, refused)
        else:
            _update(db, mail, sent_at=NOW, refused=None)
            sent += 1
    return sent


def refusals(db: Engine) -> dict[str, str]:
    """Return whom the newest mail that a server has judged was refused for, each with the server's words."""
    c = lis_mails.c
    query = sa.select(c.refused).where(c.sent_at.is_not(None) | c.refused.is_not(None))
    rows = read(db, query.order_by(c.mail_id.desc()).limit(1))
    return dict(rows[0].refused or {}) if rows else {}


def _keep_for(db: Engine, mail: Row, refused: Mapping[str, str]) -> None:
    given_up = is_given_up(refused, mail.attempts + 1, mail.created_at)
    end = "given up for them" if given_up else "kept for them"
    log.warning("The mail %r was refused for some recipients and is %s: %s", mail.subject, end, dict(refused))
    ended = {"given_up_at": NOW} if given_up else {}
    _update(db, mail, refused=dict(refused), claimed_until=None, attempts=lis_mails.c.attempts + 1, **ended)


def _take_next(connection: Connection, tried: Collection[int]) -> Row | None:
    c = lis_mails.c
    waited = c.created_at < from_now(-_WAITED_SECONDS)
    written_at = sa.case((waited, c.created_at)).label("written_at")
    query = (
        sa.select(lis_mails, written_at)
        .where(c.sent_at.is_(None), c.given_up_at.is_(None), c.mail_id.not_in(tried))
        .where(c.claimed_until.is_(None) | (c.claimed_until < NOW))
        .order_by(c.attempts, c.mail_id)  # one that is refused each time holds no other up
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(query).one_or_none()
    if row is not None:
        taken = sa.update(lis_mails).where(c.mail_id == row.mail_id)
        connection.execute(taken.values(claimed_until=from_now(_LEASE_SECONDS)))
    return row


def _update(db: Engine, mail: Row, **values: object) -> None:
    change = sa.update(lis_mails).where(lis_mails.c.mail_id == mail.mail_id).values(values)
    write(db, lambda connection: connection.execute(change))
