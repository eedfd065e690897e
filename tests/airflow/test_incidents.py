"""Each incident against the real mail server: one mail when it begins, one when it is over, whatever is down."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.alerts.outbox import put
from imagesys_lib.config import Breaker
from imagesys_lib.db.engine import write
from imagesys_lib.db.schema import lis_mails
from imagesys_lib.fetch.politeness.datasources import Tally, note_results
from tests.airflow.mails import DAG_ID, Sink, count, ends, late, run
from tests.airflow.test_runs import context_of
from tests.support.world import World, in_threads

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("airflow_database")]


def test_a_late_run_is_reported_at_both_deadlines_and_once_more_when_it_is_done(
    sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for trouble in ("late", "missed"):
        for _ in range(2):  # the triggerer may be killed and call again
            late(run(), trouble)
    assert sink.subjects() == ["run of 2026-03-28 is late", "run of 2026-03-28 missed its deadline"]
    assert "Likely cause\n  - The run has not begun" in sink.texts()[0]
    assert "deadline 2026-03-29T07:00:00Z" in sink.texts()[1]
    for _ in range(2):
        ends(run(), well=True, monkeypatch=monkeypatch)
    assert sink.subjects()[2:] == ["run of 2026-03-28 has ended well"]
    assert "It was late, reported " in sink.texts()[2]


def test_a_run_that_fails_again_and_again_is_reported_once_and_resolved_once(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    late(run())
    for _ in range(3):
        ends(run(), well=False, monkeypatch=monkeypatch)
    late(run(state="failed"), "missed")  # a deadline that came when it had failed
    assert sink.subjects() == ["run of 2026-03-28 is late", "run of 2026-03-28 failed"]
    ends(run(), well=True, monkeypatch=monkeypatch)
    ends(run(), well=True, monkeypatch=monkeypatch)
    assert sink.subjects()[2:] == ["run of 2026-03-28 has ended well"]
    assert "It was late" not in sink.texts()[2]  # its failure ended that


def test_a_good_run_mails_nothing(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(run(), well=True, monkeypatch=monkeypatch)
    assert sink.subjects() == []


def test_a_backfill_whose_days_are_late_and_fail_is_one_mail_each(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    days = [run(day, "backfill") for day in (10, 11, 12)]
    for day in days:
        late(day)
    assert sink.subjects() == ["backfill is late"]
    for day in days[:2]:
        ends(day, well=False, monkeypatch=monkeypatch)
    assert sink.subjects()[1:] == ["backfill failed"]
    assert "Other days of this backfill" in sink.texts()[1]
    ends(days[2], well=True, monkeypatch=monkeypatch)  # late, but well in the end, while others are red
    ends(run(27), well=False, monkeypatch=monkeypatch)  # a daily run is none of its days
    for day in days[:2]:
        ends(day, well=True, monkeypatch=monkeypatch)
    assert Counter(sink.subjects()[2:]) == {"backfill has ended well": 1, "run of 2026-03-27 failed": 1}


def test_mails_of_an_incident_wait_for_a_server_that_is_down_and_go_out_once(
    sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagesys_airflow.operators.stages import HealOperator

    sink.server.stop()
    late(run())
    ends(run(), well=False, monkeypatch=monkeypatch)
    heal = HealOperator(task_id="heal", country="uk")
    heal.execute(context_of(heal))  # no run fails for a mail
    assert sink.subjects() == []
    world.sql("UPDATE lis_mails SET created_at = created_at - INTERVAL 1 HOUR")
    sink.server.start()
    for _ in range(2):
        heal.execute(context_of(heal))
    assert Counter(sink.subjects()) == {"run of 2026-03-28 is late": 1, "run of 2026-03-28 failed": 1}
    assert all(text.startswith("Written 20") for text in sink.texts())
    ends(run(), well=True, monkeypatch=monkeypatch)
    assert sink.subjects()[2:] == ["run of 2026-03-28 has ended well"]


def test_a_data_source_is_notified_when_it_is_left_alone_and_when_it_works_again(sink: Sink, world: World) -> None:
    from imagesys_airflow.operators.stages import HealOperator

    heal = HealOperator(task_id="heal", country="uk")
    settings = Breaker(source_percent=90, source_images=30)

    def see(attempts: int, failures: int) -> None:
        note_results(world.ctx.db, "uk", {7: Tally(attempts, failures)}, settings)
        world.sql("UPDATE lis_datasources SET not_before = '2026-01-01'")
        heal.execute(context_of(heal))

    for attempts, failures in ((40, 40), (20, 20), (20, 0), (20, 0)):
        see(attempts, failures)
    assert sink.subjects() == ["data source 7 fails and is left alone", "data source 7 works again"]
    assert "imagesys retry uk --datasource 7" in sink.texts()[0]


@pytest.fixture
def no_database(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection names a port where nothing listens."""
    from imagesys_airflow.alerts import mail as imagesys_mail

    monkeypatch.setattr(imagesys_mail, "_CONNECT_SECONDS", 1)
    connection = json.loads(os.environ["AIRFLOW_CONN_IMAGESYS_DB"])
    monkeypatch.setenv("AIRFLOW_CONN_IMAGESYS_DB", json.dumps({**connection, "port": 1}))


def test_without_a_database_mails_go_directly_and_a_backfill_is_still_one(
    sink: Sink, world: World, no_database: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late(run())
    assert sink.subjects() == ["run of 2026-03-28 is late"]
    assert "The database does not say: Database 127.0.0.1:1/imagesys_uk did not answer" in sink.texts()[0]
    assert "Likely cause\n  - The database is away" in sink.texts()[0]
    days = [run(day, "backfill") for day in (10, 11, 12)]
    in_threads(*[lambda day=day: ends(day, well=False, monkeypatch=monkeypatch) for day in days])
    assert sink.subjects()[1:] == ["backfill failed"]
    for path in tmp_path.glob("imagesys-mailed-*"):
        os.utime(path, (time.time() - 3601,) * 2)
    for _ in range(2):
        ends(days[0], well=False, monkeypatch=monkeypatch)
    assert sink.subjects()[2:] == ["backfill failed"]  # once an hour
    ends(days[0], well=True, monkeypatch=monkeypatch)
    assert len(sink.subjects()) == 3


def test_a_mail_that_no_server_took_while_the_database_was_away_is_tried_again_with_the_next_of_its_subject(
    sink: Sink, world: World, no_database: None
) -> None:
    sink.server.stop()
    late(run())
    sink.server.start()
    for _ in range(2):
        late(run())
    assert sink.subjects() == ["run of 2026-03-28 is late"]


def test_where_no_file_can_be_kept_a_mail_goes_all_the_same(
    sink: Sink, no_database: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagesys_airflow.alerts import mail as imagesys_mail

    (tmp_path / "file").touch()
    monkeypatch.setattr(imagesys_mail, "_HERE", tmp_path / "file")
    late(run())
    assert sink.subjects() == ["run of 2026-03-28 is late"]


def test_a_silent_database_holds_a_mail_up_for_seconds_only(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:

    from imagesys_airflow.alerts import incidents
    from imagesys_airflow.alerts import mail as imagesys_mail

    monkeypatch.setattr(imagesys_mail, "_CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(incidents, "_progress", lambda *_: time.sleep(60))
    late(run())
    [mail] = sink.server.mails(sink.since)
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert "The database does not say: no answer" in mail.get_body(("plain",)).get_content()


def test_what_tasks_log_from_the_level_on_is_one_mail_a_run(
    sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagesys_airflow.operators.country import CountryOperator
    from imagesys_airflow.operators.nodes import NodeOperator

    world.reconfigure(alerts={"mail_level": "warning"})
    log = logging.getLogger("imagesys_lib.stages.sync")

    class Talkative(CountryOperator):
        needs_preflight = False

        def work(self, job: Any) -> Any:
            log.info("not worth a mail")
            for _ in range(3):
                log.warning("n2 is slow")

    class TalkativeNode(Talkative, NodeOperator):
        pass

    for task in (TalkativeNode(task_id="sync", country="uk", node="n1"), Talkative(task_id="plan", country="uk")):
        task.execute(context_of(task))
    for _ in range(2):
        ends({**run(), "dag_run_id": "manual__1"}, well=True, monkeypatch=monkeypatch)
    assert sink.subjects() == ["run of 2026-03-28 logged messages"]
    assert "sync[n1]\n  - WARNING: n2 is slow (3 times)" in sink.texts()[0]
    assert "plan[0]\n" in sink.texts()[0]
    assert "not worth" not in sink.texts()[0]


def test_runs_whose_end_nobody_reported_are_resolved_by_the_next_heal(
    sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagesys_airflow.operators.stages import HealOperator

    for day in (26, 27, 28):
        ends(run(day), well=False, monkeypatch=monkeypatch)
    days = [run(day, "backfill") for day in (10, 11)]
    for day in days:
        ends(day, well=False, monkeypatch=monkeypatch)
    check = {**run(28), "dag_run_id": "scheduled__2026-03-28T05:00:00+00:00"}
    ends(check, well=False, monkeypatch=monkeypatch, dag_id="imagesys_check_uk")
    before = len(sink.subjects())
    states = {
        f"{DAG_ID} scheduled__2026-03-26": "success",  # marked by hand, say
        f"{DAG_ID} scheduled__2026-03-27": "failed",  # and that of the 28th was deleted
        **{f"{DAG_ID} {day['dag_run_id']}": "success" for day in days},
        f"imagesys_check_uk {check['dag_run_id']}": "success",
    }
    heal = HealOperator(task_id="heal", country="uk")
    context = context_of(heal)
    context["ti"].get_dr_count = count(states)
    for _ in range(2):
        heal.execute(context)
    reported = sink.subjects()[before:]
    assert Counter(subject.rpartition(" of ")[0] or subject for subject in reported) == {
        "run": 1,
        "backfill has ended well": 1,
        "weekly check": 1,
    }
    assert all(subject.endswith("has ended well") for subject in reported)
    still_open = world.rows(sa.text("SELECT subject FROM lis_incidents WHERE is_open = 1"))
    assert [row.subject for row in still_open] == [f"{DAG_ID} scheduled__2026-03-27"]


def test_a_good_end_that_a_silent_database_kept_from_being_notified_is_reported_by_the_next_heal(
    sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:

    from imagesys_airflow.alerts import mail as imagesys_mail
    from imagesys_airflow.operators.stages import HealOperator

    def silent(*_: Any, **__: Any) -> None:
        time.sleep(1)
        raise OSError("no answer")

    ends(run(), well=False, monkeypatch=monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(imagesys_mail, "_CONNECT_SECONDS", 0.3)
        patch.setattr(imagesys_mail, "check_connection", silent)
        ends(run(), well=True, monkeypatch=monkeypatch)
    assert sink.subjects() == ["run of 2026-03-28 failed"]
    heal = HealOperator(task_id="heal", country="uk")
    context = context_of(heal)
    context["ti"].get_dr_count = count({f"{DAG_ID} scheduled__2026-03-28": "success"})
    heal.execute(context)
    assert len(sink.subjects()) == 2
    assert sink.subjects()[1].endswith("has ended well")


def test_the_weekly_check_is_told_apart_from_the_daily_run(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    check = {**run(27), "data_interval_start": None, "data_interval_end": None}
    for well in (False, True):
        ends(check, well=well, monkeypatch=monkeypatch, dag_id="imagesys_check_uk")
    assert sink.subjects() == ["weekly check of 2026-03-28 failed", "weekly check of 2026-03-28 has ended well"]
    assert sink.texts()[0].startswith("The weekly check of United Kingdom for 2026-03-28 failed.")


def test_a_mail_goes_to_those_whom_the_configuration_names_when_it_is_sent(sink: Sink, world: World) -> None:
    from imagesys_airflow.alerts.mail import post
    from imagesys_lib.alerts.message import Message

    write(world.ctx.db, lambda connection: put(connection, Message("[ImageSys] UK hello", "Intro.", ())))
    post(world.reconfigure(alerts={"mail_to": ["new@example.test", "other@example.test"]}))
    [mail] = sink.server.mails(sink.since)
    assert mail["X-Sandbox-To"] == "new@example.test, other@example.test"
    assert world.scalar(sa.select(sa.func.count()).where(lis_mails.c.sent_at.is_(None))) == 0


def test_a_run_that_waits_for_its_date_is_one_mail_named_by_status_and_report_until_it_is_marked_failed(
    sink: Sink, world: World
) -> None:
    from imagesys_airflow.operators.stages import HealOperator

    waiting = {**run(), "dag_run_id": "manual__1", "run_type": "manual", "logical_date": "2199-01-01T00:00:00Z"}
    for trouble in ("late", "missed"):
        late(waiting, trouble)
    assert sink.subjects() == ["run of 2026-03-28 waits for a date in the future"]
    text = " ".join(sink.texts()[0].split())
    assert "logical date lies in the future: it waits until 2199-01-01 00:00 UTC and holds the only slot" in text
    assert "Mark it failed: open the run" in text
    reported = "UK: run imagesys_uk manual__1 was seen on 20"
    for command in ("status", "report"):
        (line,) = [line for line in world.cli(command, "uk").out.splitlines() if line.startswith(reported)]
        assert line.endswith("until it is marked failed in Airflow, it holds the DAG's only slot")

    heal = HealOperator(task_id="heal", country="uk")
    context = context_of(heal)
    context["ti"].get_dr_count = count({f"{DAG_ID} manual__1": "failed"})
    heal.execute(context)
    assert reported not in world.cli("status", "uk").out
    assert len(sink.subjects()) == 1  # whoever has marked it knows


def test_a_run_that_is_to_run_after_a_time_in_the_future_is_notified_alike(sink: Sink) -> None:
    late({**run(), "dag_run_id": "manual__1", "run_after": "2199-01-01T00:00:00Z"})
    assert sink.subjects() == ["run of 2026-03-28 waits for a date in the future"]
