"""What a mail server may say: whatever it is, it is bounded, readable, and costs the mail that it was said to."""

from __future__ import annotations

import datetime as dt
import smtplib
import time

import pytest
import sqlalchemy as sa

from imagesys_lib.alerts import outbox, smtp
from imagesys_lib.alerts.message import Message
from imagesys_lib.alerts.smtp import Client, is_given_up, words
from imagesys_lib.config.intervals import UTC
from imagesys_lib.db.engine import write
from imagesys_lib.ops import doctor
from tests.support.mail_site import MailSite, mail_site
from tests.support.world import World, set_connection

A, B, C = "a@x.test", "b@x.test", "c@x.test"
NOW = dt.datetime.now(UTC)


def send(site: MailSite, *to: str) -> dict[str, str]:
    """Send one mail; returns whom the server has refused."""
    with Client("127.0.0.1", site.port, timeout=5) as client:
        client.sendmail("imagesys@x.test", to, "Subject: s\r\n\r\ntext\r\n")
        return dict(client.refused)


def test_a_refused_recipient_is_reported_in_the_servers_words_and_the_others_get_the_mail() -> None:
    with mail_site(**{B: b"550-5.1.1 no such\r\n550 user\r\n", C: b"451 greylisted\r\n"}) as site:
        assert send(site, A, B, C) == {B: "550 5.1.1 no such user", C: "451 greylisted"}
        assert [to for to, _ in site.taken] == [[A]]


def test_nobody_has_got_a_mail_that_all_were_refused_or_whose_text_was() -> None:
    with mail_site(**{A: b"550 no\r\n", B: b"451 later\r\n"}) as site:
        assert send(site, A, B) == {A: "550 no", B: "451 later"}
        site.replies = {"body": b"554 spam\r\n"}
        assert send(site, A, B) == {A: "554 spam", B: "554 spam"}
        site.replies = {"DATA": b"452 full\r\n"}
        assert send(site, A) == {A: "452 full"}
        assert site.taken == []


def test_a_conversation_that_is_closed_at_one_recipient_has_sent_the_mail_to_none() -> None:
    with mail_site(**{B: b"421 bye\r\n"}) as site:
        closed = "421 the server has closed the conversation"
        assert send(site, A, B, C) == {A: closed, B: "421 bye", C: closed}
        assert site.taken == []


def test_an_address_that_cannot_be_said_is_refused_alone() -> None:
    with mail_site() as site:
        refused = send(site, A, "m\u00fcller@x.test")
        assert refused == {"m\u00fcller@x.test": "553 the address has characters that mail servers do not take"}
        assert site.got(A) == 1


LONG = b"550-" + b"x" * 10_240 + b"\r\n550 end\r\n"
GARBLED = b"550 \x1b[31mred\x07 \xe2\x80\xae rtl \x9b1m caf\xe9\xc3\xa9\r\n"


@pytest.mark.parametrize("reply", [LONG, b"550-more\r\n" * 1000 + b"550 end\r\n", GARBLED])
def test_what_a_server_says_is_one_short_printable_line(reply: bytes) -> None:
    with mail_site(**{B: reply}) as site:
        refused = send(site, A, B)
    assert list(refused) == [B]
    assert refused[B].startswith("550 ")
    assert len(refused[B]) <= 210
    assert refused[B].isprintable()
    assert site.got(A) == 1


@pytest.mark.parametrize(
    "replies",
    [
        {"MAIL": b""},
        {B: b""},
        {"DATA": b""},
        {"body": b""},
        {B: b"250-and\r\n" * 200_000},
        {"greeting": b"HTTP/1.1 400 Bad Request\r\n"},
        {"greeting": b"\x00" * 300_000},
    ],
)
def test_a_server_that_hangs_up_talks_without_end_or_is_none_is_an_error_of_smtp(replies: dict[str, bytes]) -> None:
    with mail_site(**replies) as site:
        with pytest.raises(smtplib.SMTPException) as error:
            send(site, A, B)
        assert len(words(error.value)) <= 210
        assert site.taken == []


def test_a_server_that_answers_drop_by_drop_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "_CONVERSATION_SECONDS", 1.0)
    with mail_site(greeting=b"220 " + b"x" * 500 + b"\r\n") as site:
        site.drip_seconds = 0.05
        began = time.monotonic()
        with pytest.raises(smtplib.SMTPServerDisconnected, match="unexpectedly closed"):
            send(site, A)
        assert time.monotonic() - began < 4


def test_a_server_that_says_nothing_is_waited_for_as_long_as_the_connection_says() -> None:
    with mail_site(greeting=b"220") as site:
        began = time.monotonic()
        with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
            Client("127.0.0.1", site.port, timeout=0.5)
        assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    ("refused", "tries", "days", "given_up"),
    [
        ({A: "550 no"}, 1, 0, False),
        ({A: "550 no"}, 5, 0, True),
        ({A: "550 no", B: "451 later"}, 50, 0, False),
        ({A: "-1 garbage"}, 50, 0, False),
        ({A: "451 later"}, 1, 6, True),
    ],
)
def test_who_refuses_for_good_is_tried_five_times_and_who_refuses_for_now_for_days(
    refused: dict[str, str], tries: int, days: int, given_up: bool
) -> None:
    assert is_given_up(refused, tries, NOW - dt.timedelta(days=days)) is given_up


@pytest.mark.usefixtures("patient")
def test_the_newest_mail_says_who_is_refused_and_doctor_and_status_name_them(world: World) -> None:
    world.reconfigure(alerts={"mail_to": [A, B]})
    assert outbox.refusals(world.ctx.db) == {}
    write(world.ctx.db, lambda s: outbox.put(s, Message("one", "Intro.", ())))
    assert outbox.deliver(world.ctx.db, lambda _: {B: "550 no such user", "gone@x.test": "550 no"}) == 0
    assert world.cli("status", "uk").out.splitlines()[-2:] == [
        f"UK: mail to {B} refused: 550 no such user",
        "UK: mail to gone@x.test refused: 550 no",
    ]
    bad = {finding.check: str(finding) for finding in doctor.examine("uk") if not finding.ok}
    assert bad["uk mail"].startswith(f"uk mail: mail to {B} refused: 550 no such user. Remedy: correct alerts.mail_to")
    for _ in range(4):
        assert outbox.deliver(world.ctx.db, lambda _: {B: "550 no such user"}) == 0
    assert outbox.deliver(world.ctx.db, lambda _: None) == 0  # given up
    assert world.scalar(sa.text("SELECT COUNT(*) FROM lis_mails WHERE sent_at IS NULL AND given_up_at")) == 1
    assert outbox.refusals(world.ctx.db) == {B: "550 no such user"}
    write(world.ctx.db, lambda s: outbox.put(s, Message("two", "Intro.", ())))
    assert outbox.deliver(world.ctx.db, lambda _: None) == 1
    assert outbox.refusals(world.ctx.db) == {}


@pytest.mark.usefixtures("patient")
def test_the_doctor_names_each_recipient_who_is_refused(world: World) -> None:
    world.reconfigure(alerts={"mail_to": [A, B, C]})
    with mail_site(**{B: b"550 no such user\r\n"}) as site:
        set_connection(world, "SMTP_DEFAULT", port=site.port)
        bad = {finding.check: str(finding) for finding in doctor.examine("uk", send_mail=True) if not finding.ok}
        assert f"mail to {B} refused: 550 no such user." in bad["mail"]
        assert (site.got(A), site.got(B), site.got(C)) == (1, 0, 1)
