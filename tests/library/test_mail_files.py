"""Mails and marks in files: what no database keeps is sent once all the same, whatever is down."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from imagesys_lib.alerts.marks import Marks
from imagesys_lib.alerts.message import LONGEST, Message
from imagesys_lib.alerts.spool import Kept, Spool
from tests.world import in_threads


def put(spool: Spool, *subjects: str) -> None:
    for subject in subjects:
        spool.put(Message(subject, "Intro.", ()), ["uk"])


def server(*refused: str, down: bool = False) -> tuple[list[str], Callable[[Kept], None]]:
    """A server that takes some mails and refuses others."""
    taken: list[str] = []

    def send(kept: Kept) -> None:
        if down or kept.mail.subject in refused:
            raise ConnectionRefusedError("no server")
        taken.append(kept.mail.subject)

    return taken, send


def test_kept_mails_go_out_once_and_in_order_when_a_server_is_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "mails")
    assert spool.deliver(server()[1]) == 0  # nothing was ever kept
    put(spool, "a", "b", "c")
    assert spool.deliver(server(down=True)[1]) == 0
    taken, send = server()
    assert spool.deliver(send) == 3
    assert spool.deliver(send) == 0
    assert sorted(taken) == ["a", "b", "c"]
    assert not list((tmp_path / "mails").glob("*.json"))


def test_a_mail_in_a_file_that_is_refused_each_time_holds_no_other_up(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    put(spool, "bad", "b", "c")
    taken, send = server("bad")
    assert [spool.deliver(send) for _ in range(3)] == [0, 2, 0]
    assert taken == ["b", "c"]


def test_what_is_no_mail_is_left_aside_and_holds_no_other_up(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    (tmp_path / "0000-1-cut.json").write_text("{")
    put(spool, "a")
    taken, send = server()
    assert spool.deliver(send) == 1
    assert taken == ["a"]
    assert [path.name for path in tmp_path.glob("*.bad")] == ["0000-1-cut.bad"]


def test_two_senders_at_once_send_no_file_twice(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    put(spool, *[f"mail {number}" for number in range(20)])
    taken, send = server()
    in_threads(*[lambda: spool.deliver(send) for _ in range(3)])
    assert sorted(taken) == sorted(f"mail {number}" for number in range(20))


def test_a_kept_mail_is_what_was_written(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    message = Message("[ImageSys] ü", "Intro & more.", (("Title", ("item",)),), {"item": "http://x.test/"})
    spool.put(message, ["uk", "de"])
    found: list[Kept] = []
    spool.deliver(found.append)
    assert (found[0].mail, found[0].countries) == (message.written(), ("de", "uk"))


def test_a_mail_that_is_too_long_is_cut_and_says_so() -> None:
    short = Message("s", "Intro.", (("Title", ("<item>",)),))
    assert (short.written().text, short.written().html) == (short.text(), short.html())
    written = Message("s" * 300, "Intro.", (("Title", ("<x>" * LONGEST,)),)).written()
    assert len(written.subject) == 255
    assert written.text.endswith("more characters.)\n")
    assert len(written.text) < LONGEST + 100
    assert written.html.startswith("<pre>Intro.")
    assert "&lt;x&gt;" in written.html


def test_a_mark_is_made_once_the_mail_is_kept_and_not_before(tmp_path: Path) -> None:
    marks, kept = Marks(tmp_path), iter((False, True, True))
    told = []

    def keep() -> bool:
        told.append("mail")
        return next(kept)

    for _ in range(4):
        marks.once("failed x", keep, lapses_hours=48)
    assert len(told) == 2  # the first was lost, the second kept
    assert marks.since("failed x")
    marks.once("failed y", keep, lapses_hours=48)
    assert len(told) == 3


def test_a_mark_lasts_while_the_trouble_does_and_lapses_after_it(tmp_path: Path) -> None:
    marks = Marks(tmp_path)
    told = []

    def trouble() -> None:
        marks.once("x", lambda: not told.append("mail"), lapses_hours=48)  # type: ignore[func-returns-value]

    def later(hours: float) -> None:
        (path,) = tmp_path.glob("imagesys-told-*")
        os.utime(path, (time.time() - hours * 3600,) * 2)

    trouble()
    since = marks.since("x")
    for _ in range(3):
        later(40)
        trouble()
    assert len(told) == 1
    assert marks.since("x") == since
    later(49)
    trouble()
    assert len(told) == 2
    marks.forget("x")
    assert marks.since("x") is None
    trouble()
    assert len(told) == 3


def test_a_mark_knows_the_runs_that_it_was_told_of_until_it_lapses(tmp_path: Path) -> None:
    marks = Marks(tmp_path)
    for name in ("r1", "r2", "r1"):
        marks.once("x", lambda: True, lapses_hours=24, run=name)
    told = marks.told("x", lapses_hours=24)
    assert told
    assert (told.since, told.runs) == (marks.since("x"), ("r1", "r2"))
    (path,) = tmp_path.glob("imagesys-told-*")
    os.utime(path, (time.time() - 25 * 3600,) * 2)
    assert marks.told("x", lapses_hours=24) is None
    assert marks.told("x") == told
    marks.once("x", lambda: True, lapses_hours=24, run="r3")
    assert (marks.told("x") or told).runs == ("r3",)


def test_many_who_tell_the_same_at_once_keep_one_mail(tmp_path: Path) -> None:
    marks = Marks(tmp_path)
    told: list[str] = []

    def keep() -> bool:
        time.sleep(0.05)
        told.append("mail")
        return True

    in_threads(*[lambda: marks.once("x", keep, lapses_hours=24) for _ in range(4)])
    assert told == ["mail"]
