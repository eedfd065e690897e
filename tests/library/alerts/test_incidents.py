"""Incidents and the outbox: each trouble is notified once, its end once, and no mail is lost or sent twice."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.alerts import gathered, incidents, outbox
from imagesys_lib.alerts.incidents import ENDED_BY_FAILURE, IncidentKind
from imagesys_lib.alerts.message import LONGEST, Message
from imagesys_lib.alerts.outbox import deliver
from imagesys_lib.config import Breaker
from imagesys_lib.db.engine import NOW, Row, read, write
from imagesys_lib.db.schema import lis_incidents, lis_mails
from imagesys_lib.fetch.politeness.datasources import Tally, note_results
from tests.support.world import World, in_threads

BREAKER = Breaker(source_percent=90, source_images=30, first_seconds=600)


def begin(world: World, kind: IncidentKind, subject: str, run: str = "", lapses_hours: int = 0) -> bool:
    """Open an incident; returns whether its mail was put."""
    message, before = Message(f"{kind.value} {subject}", "Intro.", ()), subjects(world)
    new = write(
        world.ctx.db,
        lambda s: incidents.open_incident(s, kind, subject, message, run=run, lapses_hours=lapses_hours),
    )
    assert new <= (subjects(world).count(message.subject) > before.count(message.subject))
    return new


def ended(world: World, run: str, kinds: Any = tuple(IncidentKind)) -> list[str]:
    over = write(world.ctx.db, lambda s: incidents.resolve_runs(s, [run], kinds))
    return [incident.kind.value for incident in over]


def resolve(world: World, kind: IncidentKind, subject: str) -> bool:
    def message(over: incidents.Resolved) -> Message:
        return Message(f"over since {over.since}", "Intro.", ())

    return write(world.ctx.db, lambda s: incidents.resolve(s, kind, subject, message))


def put(world: World, *subjects: str) -> None:
    for subject in subjects:
        write(world.ctx.db, lambda s, subject=subject: outbox.put(s, Message(subject, "Intro.", ())))


def subjects(world: World) -> list[str]:
    return [row.subject for row in world.rows(sa.select(lis_mails).order_by(lis_mails.c.mail_id))]


def test_an_incident_is_new_once_until_its_run_ends_well(world: World) -> None:
    assert begin(world, IncidentKind.FAILED, "dag r1", "dag r1")
    assert not begin(world, IncidentKind.FAILED, "dag r1", "dag r1")  # cleared, and failed again
    assert begin(world, IncidentKind.FAILED, "dag r2", "dag r2")
    assert ended(world, "dag r1") == ["failed"]
    assert ended(world, "dag r1") == []
    assert begin(world, IncidentKind.FAILED, "dag r1", "dag r1")


def test_many_who_see_the_same_at_once_notify_it_once(world: World) -> None:
    reported = in_threads(
        *[lambda n=n: begin(world, IncidentKind.FAILED, "dag backfill", f"dag r{n}") for n in range(4)]
    )
    assert sorted(reported) == [False, False, False, True]


def test_a_failure_ends_lateness_and_a_good_end_ends_all(world: World) -> None:
    for kind in (IncidentKind.LATE, IncidentKind.MISSED):
        begin(world, kind, "dag r1", "dag r1")
    assert ended(world, "dag r1", ENDED_BY_FAILURE) == ["late", "missed"]
    begin(world, IncidentKind.FAILED, "dag r1", "dag r1")
    assert ended(world, "dag r1") == ["failed"]


def test_a_backfill_is_over_when_all_its_runs_that_were_notified_have_ended_well(world: World) -> None:
    reported = [begin(world, IncidentKind.FAILED, "dag backfill", f"dag r{n}", 24) for n in range(3)]
    assert reported == [True, False, False]
    assert [ended(world, f"dag r{n}") for n in range(4)] == [[], [], ["failed"], []]


def test_what_is_over_while_another_trouble_of_its_subject_waits_is_not_notified(world: World) -> None:
    begin(world, IncidentKind.LATE, "dag backfill", "dag r1")
    begin(world, IncidentKind.FAILED, "dag backfill", "dag r2")
    begin(world, IncidentKind.LATE, "dag r3", "dag r3")
    assert ended(world, "dag r1") == []
    assert ended(world, "dag r3") == ["late"]
    assert ended(world, "dag r2") == ["failed"]


def test_several_runs_may_end_at_once(world: World) -> None:
    for number in range(3):
        begin(world, IncidentKind.FAILED, "dag without n2", f"dag r{number}")
    over = write(world.ctx.db, lambda s: incidents.resolve_runs(s, ["dag r0", "dag r2"], tuple(IncidentKind)))
    assert over == []
    over = write(world.ctx.db, lambda s: incidents.resolve_runs(s, ["dag r0", "dag r1"], tuple(IncidentKind)))
    assert [incident.runs for incident in over] == [("dag r1",)]


def test_trouble_a_day_after_the_last_is_another_backfills(world: World) -> None:
    begin(world, IncidentKind.FAILED, "dag backfill", "dag r1", 24)
    world.sql("UPDATE lis_incidents SET last_seen_at = last_seen_at - INTERVAL 25 HOUR")
    assert not begin(world, IncidentKind.FAILED, "dag backfill", "dag r1", 24)  # its own run, cleared
    world.sql("UPDATE lis_incidents SET last_seen_at = last_seen_at - INTERVAL 25 HOUR")
    assert begin(world, IncidentKind.FAILED, "dag backfill", "dag r9", 24)
    open_now = world.rows(sa.select(lis_incidents.c.runs).where(lis_incidents.c.is_open == 1))
    assert [row.runs for row in open_now] == [["dag r9"]]


def test_among_more_than_a_thousand_open_incidents_each_is_found(world: World) -> None:
    world.sql(
        "INSERT INTO lis_incidents (kind, subject, is_open, runs, opened_at, last_seen_at) "
        "SELECT 'failed', CONCAT('dag old', seq), 1, JSON_ARRAY(CONCAT('dag old', seq)), UTC_TIMESTAMP(6), "
        "UTC_TIMESTAMP(6) FROM seq_1_to_1001"
    )
    begin(world, IncidentKind.FAILED, "dag r1", "dag r1")
    begin(world, IncidentKind.CANARY, "the canary")
    waiting = write(world.ctx.db, incidents.awaited_runs)
    assert len(waiting) == 1002
    assert "dag r1" in waiting
    assert ended(world, "dag r1") == ["failed"]
    assert resolve(world, IncidentKind.CANARY, "the canary")
    assert subjects(world)[-1].startswith("over since 20")
    assert not resolve(world, IncidentKind.CANARY, "the canary")
    assert len(write(world.ctx.db, incidents.awaited_runs)) == 1001


def test_a_broken_configuration_is_mailed_again_each_day(world: World) -> None:
    def begin() -> bool:
        message = Message("broken", "Intro.", ())
        return write(
            world.ctx.shared,
            lambda s: incidents.open_incident(s, IncidentKind.CONFIG, "", message, countries=["uk", "de"]),
        )

    assert [begin(), begin()] == [True, False]
    older = sa.update(lis_incidents).values(notified_at=sa.func.timestampadd(sa.text("HOUR"), -25, NOW))
    world.write_all(world.ctx.shared, [older])
    assert [begin(), begin()] == [True, False]
    rows = read(world.ctx.shared, sa.select(lis_mails))
    assert [(row.subject, row.countries) for row in rows] == [("broken", ["de", "uk"])] * 2
    assert subjects(world) == []  # nothing of it is the country's


def test_a_breaker_that_opens_again_and_again_is_one_mail_and_its_end_another(world: World) -> None:
    def see(attempts: int, failures: int) -> None:
        note_results(world.ctx.db, "uk", {7: Tally(attempts, failures)}, BREAKER)
        world.sql("UPDATE lis_datasources SET not_before = '2026-01-01' WHERE not_before IS NOT NULL")

    for _ in range(3):
        see(40, 40)
    assert subjects(world) == ["[ImageSys] UK data source 7 fails and is left alone"]
    see(20, 1)
    see(20, 1)
    assert subjects(world)[1:] == ["[ImageSys] UK data source 7 works again"]


def test_a_mail_is_kept_where_the_move_it_tells_of_is_not(world: World) -> None:
    def work(connection: sa.Connection) -> None:
        incidents.open_incident(
            connection, IncidentKind.FAILED, "dag r1", Message("notified", "Intro.", ()), run="dag r1"
        )
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write(world.ctx.db, work)
    assert subjects(world) == []
    assert begin(world, IncidentKind.FAILED, "dag r1", "dag r1")


def refuse(*refused: str) -> tuple[list[str], Callable[[Row], None]]:
    """A server that takes some mails and refuses others."""
    taken: list[str] = []

    def send(mail: Row) -> None:
        if not refused or mail.subject in refused:
            raise ConnectionRefusedError("no server")
        taken.append(mail.subject)

    return taken, send


def test_mails_wait_for_the_server_and_each_goes_out_once(world: World) -> None:
    put(world, "a", "b", "c")
    assert deliver(world.ctx.db, refuse()[1]) == 0
    taken, send = refuse("none of them")
    assert deliver(world.ctx.db, send) == 3
    assert deliver(world.ctx.db, send) == 0
    assert sorted(taken) == ["a", "b", "c"]


def test_a_mail_that_is_refused_each_time_holds_no_other_up(world: World) -> None:
    put(world, "bad", "b", "c")
    taken, send = refuse("bad")
    assert deliver(world.ctx.db, send) == 0
    assert deliver(world.ctx.db, send) == 2
    assert taken == ["b", "c"]


def test_two_senders_at_once_send_nothing_twice(world: World) -> None:
    put(world, *[f"mail {n}" for n in range(30)])
    taken, send = refuse("none of them")
    in_threads(*[lambda: deliver(world.context().db, send) for _ in range(3)])
    assert sorted(taken) == sorted(f"mail {n}" for n in range(30))


def test_mails_that_a_slow_server_takes_minutes_for_are_not_sent_by_another_meanwhile(world: World) -> None:
    taken, other = refuse("none of them")

    def slowly(mail: Row) -> None:
        taken.append(mail.subject)
        world.sql("UPDATE lis_mails SET claimed_until = claimed_until - INTERVAL 200 SECOND")
        if mail.subject != "a":
            deliver(world.context().db, other)

    put(world, "a", "b", "c")
    deliver(world.ctx.db, slowly)
    assert taken == ["a", "b", "c"]


def test_a_mail_longer_than_64_kilobytes_is_kept_whole(world: World) -> None:
    failures = tuple(f"sync[n{number}]: {'ü' * 4000}" for number in range(20))
    message = Message("failed", "Intro.", (("Failed tasks", failures),))
    write(world.ctx.db, lambda s: outbox.put(s, message))
    (row,) = world.rows(sa.select(lis_mails))
    assert (row.text, row.html) == (message.text(), message.html())
    assert len(row.text.encode()) > 2 * 65_535


def test_a_mail_that_is_too_long_is_cut_and_says_so() -> None:
    short = Message("s", "Intro.", (("Title", ("<item>",)),))
    assert (short.written().text, short.written().html) == (short.text(), short.html())
    written = Message("s" * 300, "Intro.", (("Title", ("<x>" * LONGEST,)),)).written()
    assert len(written.subject) == 255
    assert written.text.endswith("more characters.)\n")
    assert len(written.text) < LONGEST + 100
    assert written.html.startswith("<pre>Intro.")
    assert "&lt;x&gt;" in written.html


def test_a_run_that_logged_thousands_of_messages_tells_a_thousand_and_counts_the_rest(world: World) -> None:
    world.sql(
        "INSERT INTO lis_messages (run, task, level, text, times, noted_at) "
        "SELECT 'dag r1', CONCAT('process.download[', seq DIV 50, ']'), 'ERROR', CONCAT('message ', seq), 2, "
        "UTC_TIMESTAMP(6) FROM seq_1_to_2345"
    )
    reported = write(world.ctx.db, lambda s: gathered.take_messages(s, "dag r1"))
    assert sum(len(items) for _, items in reported) == 1001
    assert reported[0][1][0] == "ERROR: message 1 (2 times)"
    assert reported[-1] == ("And more", ("1345 other messages: the tasks' logs have them.",))
    assert write(world.ctx.db, lambda s: gathered.take_messages(s, "dag r1")) == ()


def test_a_sender_that_died_keeps_its_mails_for_five_minutes_only(world: World) -> None:
    def die(mail: Row) -> None:
        raise SystemExit

    put(world, "a")
    with pytest.raises(SystemExit):
        deliver(world.ctx.db, die)
    _, send = refuse("none of them")
    assert deliver(world.ctx.db, send) == 0
    world.sql("UPDATE lis_mails SET claimed_until = claimed_until - INTERVAL 5 MINUTE")
    assert deliver(world.ctx.db, send) == 1


def test_a_mail_that_has_waited_says_when_it_was_written(world: World) -> None:
    written: list[dt.datetime | None] = []
    put(world, "old", "new")
    world.sql("UPDATE lis_mails SET created_at = created_at - INTERVAL 2 HOUR WHERE subject = 'old'")
    deliver(world.ctx.db, lambda mail: written.append(mail.written_at))
    assert [when is not None for when in written] == [True, False]
