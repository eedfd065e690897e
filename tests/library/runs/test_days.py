"""Days are never lost in silence: a scheduled run begins where the last completed ingest ended."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest

from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.report import render, report, run_note
from tests.support.world import DAY, World

URL = "http://127.0.0.11:1/{}.jpg".format
FIRST = DAY - dt.timedelta(days=20)


def day(number: int) -> dt.date:
    """Day 1 is the first."""
    return FIRST + dt.timedelta(days=number - 1)


@pytest.fixture
def six(world: World) -> World:
    """A listing for each of six days, and of two before; only the last of a few runs has images to name."""
    for number in range(-7, 7):
        world.put(f"L{number}", URL(number), at=dt.datetime.combine(day(number), dt.time(12)))
    return world


def ran(world: World, number: int, kind: RunKind = RunKind.SCHEDULED, *, well: bool = True, run_id: str = "") -> Run:
    """Run ingest for a day; one that does not go well ends before it has read anything."""
    run = world.run(kind, day(number), run_id=run_id or f"{kind.value}-{number}")
    runs.begin(world.ctx.db, run)
    if well:
        ingest(world.ctx, run)
    else:
        runs.forget_ingest(world.ctx.db, run)
    return run


def seen(world: World) -> set[int]:
    return {number for number in range(-7, 7) if URL(number) in world.images()}


def caught_up(world: World, run: Run) -> str:
    return report(world.ctx, run).caught_up


def through(first: int, last: int) -> str:
    return f"{day(first)} to {day(last)}"


def test_after_an_outage_the_next_run_reads_on_from_the_last_completed_ingest_and_says_so(six: World) -> None:
    ran(six, 1)
    run = ran(six, 6)
    assert seen(six) == {-1, 0, 1, 2, 3, 4, 5, 6}
    summary = report(six.ctx, run)
    assert summary.caught_up == through(2, 5)
    line = f"caught up with {through(2, 5)}, of which no completed ingest had read all"
    assert f"  {line}\n" in render(summary)
    assert f"- {line}\n" in run_note(summary)


def test_the_first_run_of_a_country_reads_its_day_and_the_look_back(six: World) -> None:
    run = ran(six, 6)
    assert seen(six) == {4, 5, 6}
    assert caught_up(six, run) == ""


def test_a_daily_run_after_a_good_one_has_nothing_to_catch_up_with(six: World) -> None:
    for number in (3, 4, 5, 6):
        run = ran(six, number)
        assert caught_up(six, run) == ""
        row = runs.load(six.ctx.db, run.run_id)
        assert row is not None
        assert row.read_from == runs.naive_utc(run.interval.start - dt.timedelta(hours=48))


STORIES: dict[str, tuple[Callable[[World], object], set[int], str]] = {
    "runs that failed in the middle": (
        lambda w: (ran(w, 1), ran(w, 2, well=False), ran(w, 3, well=False), ran(w, 5, well=False)),
        {-1, 0, 1, 2, 3, 4, 5, 6},
        through(2, 5),
    ),
    "the first run of all failed": (lambda w: ran(w, 1, well=False), {1, 2, 3, 4, 5, 6}, through(1, 5)),
    "two days of the outage were filled in": (
        lambda w: (ran(w, 1), ran(w, 2, RunKind.BACKFILL), ran(w, 3, RunKind.BACKFILL)),
        {-1, 0, 1, 2, 3, 4, 5, 6},
        "",  # what is left lies within the look-back
    ),
    "a day amid the outage was filled in": (
        lambda w: (ran(w, 1), ran(w, 5, RunKind.BACKFILL)),
        {-1, 0, 1, 2, 3, 4, 5, 6},
        through(2, 5),
    ),
    "a backfill took the place of a scheduled run amid the outage": (
        lambda w: (ran(w, 1), ran(w, 5, well=False), ran(w, 5, RunKind.BACKFILL, run_id="scheduled-5")),
        {-1, 0, 1, 2, 3, 4, 5, 6},
        through(2, 5),
    ),
    "a day was asked for by hand": (
        lambda w: (ran(w, 1), ran(w, 5, RunKind.MANUAL)),
        {-1, 0, 1, 2, 3, 4, 5, 6},
        through(2, 5),
    ),
    "an old backfill before the first run": (lambda w: ran(w, -5, RunKind.BACKFILL), {-5, 4, 5, 6}, ""),
    "a run of a later day has caught up before": (
        lambda w: (ran(w, 1), ran(w, 6, run_id="other")),
        set(range(-1, 7)),
        "",
    ),
    "its day had a good run before the outage": (
        lambda w: (ran(w, 1), ran(w, 4, well=False), ran(w, 4, run_id="scheduled-4")),
        {-1, 0, 1, 2, 3, 4, 5, 6},
        "",
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_days_that_no_ingest_has_read_are_read_by_the_next_scheduled_run(six: World, story: str) -> None:
    before, expected, reported = STORIES[story]
    before(six)
    run = ran(six, 6)
    assert seen(six) == expected
    assert caught_up(six, run) == reported


def test_a_run_that_catches_up_and_fails_leaves_the_days_to_the_next_one(six: World) -> None:
    ran(six, 1)
    failed = ran(six, 5, well=False)
    assert report(six.ctx, failed).lost
    run = ran(six, 6)
    assert caught_up(six, run) == through(2, 5)
    again = ran(six, 5)
    assert caught_up(six, again) == through(2, 4)


def test_a_backfill_and_a_run_by_hand_stay_exact(six: World) -> None:
    ran(six, -6)
    ran(six, 3, RunKind.BACKFILL)
    assert seen(six) == {-7, -6, 3}
    ran(six, 6, RunKind.MANUAL)
    assert seen(six) == {-7, -6, 3, 4, 5, 6}


def test_runs_of_before_it_was_kept_what_they_read_count(six: World) -> None:
    ran(six, 1)
    ran(six, 3)
    six.sql("UPDATE lis_runs SET read_from = NULL")
    assert caught_up(six, ran(six, 6)) == ""


def test_a_run_of_a_day_that_was_not_over_counts_up_to_when_it_began(six: World) -> None:
    ran(six, 1)
    early = ran(six, 2, RunKind.MANUAL)
    noon = dt.datetime.combine(day(2), dt.time(12))
    six.sql("UPDATE lis_runs SET started_at = :noon WHERE run_id = :run", noon=noon, run=early.run_id)
    six.put("evening", URL("evening"), at=noon + dt.timedelta(hours=6))
    run = ran(six, 6)
    assert URL("evening") in six.images()
    assert caught_up(six, run) == through(2, 5)
