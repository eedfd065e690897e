"""A mail that some of its recipients are refused goes to the others once, stays for those, and is reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email import message_from_string, policy
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.alerts.message import Message
from imagesys_lib.alerts.outbox import put
from imagesys_lib.db.engine import read
from tests.airflow.mails import late, run
from tests.support.mail_site import MailSite, mail_site
from tests.support.world import World, set_connection

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("airflow_database")]

A, B, C = "a@x.test", "b@x.test", "c@x.test"
TOLD = f"[ImageSys] Mail to {B} is refused"


@pytest.fixture
def site(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MailSite]:
    """A mail server that refuses b, for a country whose mails go to a and b; direct mails are noted apart."""
    from imagesys_airflow.alerts import mail as imagesys_mail

    monkeypatch.setattr(imagesys_mail, "_HERE", tmp_path)
    world.reconfigure(alerts={"mail_to": [A, B]})
    with mail_site(**{B: b"550 no such user\r\n"}) as found:
        set_connection(world, "SMTP_DEFAULT", port=found.port)
        yield found


def subjects(site: MailSite, address: str) -> list[str]:
    """Return what somebody has got, in order, without `[ImageSys] UK`."""
    found = [text.partition("Subject: ")[2].partition("\n")[0].strip() for to, text in site.taken if address in to]
    return [subject.removeprefix("[ImageSys] UK ") for subject in found]


def waiting(world: World) -> list[Any]:
    return world.rows(sa.text("SELECT refused, attempts, given_up_at FROM lis_mails WHERE sent_at IS NULL"))


def test_a_mail_refused_for_one_stays_for_that_one_alone_and_the_others_get_it_once(
    site: MailSite, world: World
) -> None:
    from imagesys_airflow.alerts import mail as imagesys_mail

    late(run())
    for _ in range(2):
        imagesys_mail.post(world.ctx)
    assert subjects(site, A) == ["run of 2026-03-28 is late", TOLD]
    reported = message_from_string(site.taken[1][1], policy=policy.default)
    assert "What it said\n  - 550 no such user" in reported.get_body(("plain",)).get_content()
    assert [json.loads(row.refused) for row in waiting(world)] == [{B: "550 no such user"}]
    site.replies = {}
    imagesys_mail.post(world.ctx)
    assert waiting(world) == []
    assert subjects(site, B)[0] == "run of 2026-03-28 is late"
    assert subjects(site, A) == ["run of 2026-03-28 is late", TOLD, f"[ImageSys] Mail to {B} is taken again"]


def test_a_recipient_who_is_refused_for_good_is_tried_five_times_a_mail_and_one_for_now_until_taken(
    site: MailSite, world: World
) -> None:
    from imagesys_airflow.alerts import mail as imagesys_mail

    late(run())
    for _ in range(8):
        imagesys_mail.post(world.ctx)
    (row,) = waiting(world)
    assert (row.attempts, row.given_up_at is not None) == (5, True)
    site.replies = {B: b"451 greylisted\r\n"}
    late(run(), "missed")
    for _ in range(8):
        imagesys_mail.post(world.ctx)
    assert [row.given_up_at is None for row in waiting(world)] == [False, True]
    site.replies = {}
    imagesys_mail.post(world.ctx)
    assert subjects(site, B)[0] == "run of 2026-03-28 missed its deadline"
    assert subjects(site, A).count("run of 2026-03-28 missed its deadline") == 1


@pytest.mark.parametrize("refuser", [A, B, C])
def test_a_server_that_hangs_up_at_one_recipient_keeps_the_mail_from_no_other(
    site: MailSite, world: World, refuser: str
) -> None:
    world.reconfigure(alerts={"mail_to": [A, B, C]})
    site.replies = {refuser: b"421 too many\r\n"}
    late(run())
    for other in {A, B, C} - {refuser}:
        assert subjects(site, other)[0] == "run of 2026-03-28 is late"
        assert subjects(site, other).count("run of 2026-03-28 is late") == 1
    assert [json.loads(row.refused) for row in waiting(world)] == [{refuser: "421 too many"}]


def test_an_address_that_the_configuration_names_no_more_holds_no_mail(site: MailSite, world: World) -> None:
    from imagesys_airflow.alerts import mail as imagesys_mail

    late(run())
    imagesys_mail.post(world.reconfigure(alerts={"mail_to": [A]}))
    assert waiting(world) == []
    assert site.got(B) == 0


def test_a_mail_about_all_countries_fares_alike_and_so_does_one_that_no_database_keeps(
    site: MailSite, world: World
) -> None:
    from imagesys_airflow.alerts import mail as imagesys_mail

    message = Message("[ImageSys] UK one for all", "Intro.", ())
    imagesys_mail.notify_all(lambda connection: put(connection, message, ["uk"]))
    imagesys_mail.post(world.ctx)
    assert subjects(site, A) == ["one for all", TOLD]
    query = sa.text("SELECT refused FROM lis_mails WHERE sent_at IS NULL")
    kept = [json.loads(row.refused) for row in read(world.ctx.shared, query)]
    assert kept == [{B: "550 no such user"}] * 2
    site.replies = {}
    imagesys_mail.post(world.ctx)
    assert "one for all" in subjects(site, B)
    assert read(world.ctx.shared, query) == []
    site.replies = {B: b"550 no\r\n"}
    imagesys_mail.send_directly(Message("[ImageSys] UK no database", "Intro.", ()), ["uk"])
    assert subjects(site, A).count("no database") == 1


@pytest.mark.parametrize(
    "replies",
    [
        {B: b""},
        {"body": b""},
        {"greeting": b"garbage\r\n"},
        {B: b"250-and\r\n" * 100_000},
        {"EHLO": b"250-\xff\r\n250 \x1b\r\n"},
    ],
)
def test_whatever_a_server_does_no_caller_is_harmed_and_the_mail_comes_once_it_behaves(
    site: MailSite, world: World, replies: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    from imagesys_airflow.alerts import mail as imagesys_mail

    site.replies = replies
    late(run())
    assert all(len(record.getMessage()) < 600 for record in caplog.records)
    site.replies = {}
    imagesys_mail.post(world.ctx)
    assert subjects(site, A).count("run of 2026-03-28 is late") == 1
    assert waiting(world) == []
